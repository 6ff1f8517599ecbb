"""Embedding on a real Ray cluster of two nodes on loopback, which are killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from psycopg import sql

from geosearch.database.connection import Database
from geosearch.errors import ModelError
from tests.conftest import free_port
from tests.rows import fetch
from tests.sleeping_backbone import SHORT_LEASES, install
from tests.test_embed import put, write_photos

pytestmark = [
    pytest.mark.rested,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

ROOT = Path(__file__).parent.parent
HEAD, WORKER = "127.0.0.2", "127.0.0.3"
#: Photos, and seconds that the network takes for each.
COUNT, SECONDS = 48, 0.3
MODEL = f"sleeping/{SECONDS}"


class Node:
    """A node of a cluster: `ray start`, and all that this starts."""

    def __init__(self, environment: dict[str, str], said: Path, *options: str) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block"]
        command += ["--object-store-memory=80000000", "--disable-usage-stats", *options]
        with said.open("w") as stream:
            self.process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=subprocess.STDOUT
            )

    def family(self) -> list[int]:
        """The ids of its processes."""
        children: dict[int, list[int]] = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(file.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
            children.setdefault(parent, []).append(int(file.parent.name))
        family = [self.process.pid]
        for member in family:
            family += children.get(member, [])
        return family

    def at_work_on(self, task: str) -> list[int]:
        """The ids of those that run a task."""
        return [each for each in self.family() if f"ray::{task}" in _title(each)]

    def kill(self) -> None:
        """End it as a power cut would."""
        for member in self.family():
            kill(member)
        self.process.wait()


def _title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


class World:
    """Clusters that this test starts, and commands that use them."""

    def __init__(self, url: str, folder: Path) -> None:
        install(folder / "plugin")
        self.environment = os.environ | {
            "PYTHONPATH": f"{folder / 'plugin'}:{ROOT}",
            "GEOSEARCH_DATABASE_URL": url,
            "OMP_NUM_THREADS": "1",
            SHORT_LEASES: "yes",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A busy machine takes its time to start a node; a lost head is soon given up.
            "RAY_agent_register_timeout_ms": "100000",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }
        self.folder = folder
        self.nodes: list[Node] = []
        self.address = ""

    def start(self, cpus: int = 2) -> Node:
        """A new cluster, by its head."""
        port = free_port(HEAD)
        self.address = f"{HEAD}:{port}"
        # A socket's path is to be short.
        options = ["--head", f"--port={port}", "--include-dashboard=false"]
        return self._node(cpus, HEAD, *options, f"--temp-dir={self.folder}/ray{len(self.nodes)}")

    def join(self) -> Node:
        """One more node of the cluster."""
        return self._node(1, WORKER, f"--address={self.address}")

    def _node(self, cpus: int, host: str, *options: str) -> Node:
        own = (f"--num-cpus={cpus}", f"--node-ip-address={host}")
        for _ in range(4):  # Ray gives up a start that takes long
            said = self.folder / f"node{len(self.nodes)}.txt"
            node = Node(self.environment, said, *own, *options)
            self.nodes.append(node)
            while node.process.poll() is None:
                if "Ray runtime started" in said.read_text():
                    return node
                time.sleep(0.1)
        raise AssertionError("no node of Ray starts here")

    @contextmanager
    def command(self, *arguments: object, model: str = MODEL) -> Iterator[subprocess.Popen[str]]:
        """A command at work on the cluster."""
        command = [sys.executable, "-m", "geosearch", *map(str, arguments)]
        command += ["--model", model, "--ray", self.address, "--json"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    with TemporaryDirectory(prefix="gs-", dir="/tmp") as folder:
        made = World(database.url, Path(folder))
        yield made
        for node in made.nodes:
            if node.process.poll() is None:
                node.kill()


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a command printed that did its work."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(said)
    return result


def count(database: Database, table: str = "embeddings") -> int:
    with database.connection() as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("geosearch", table))
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def holders(database: Database) -> int:
    """How many processes have claimed photos."""
    return len(fetch(database, "SELECT DISTINCT holder FROM geosearch.claims"))


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), "it ended before the kill"
        time.sleep(0.05)


def test_nodes_are_killed_and_nothing_is_lost_or_doubled(
    world: World, database: Database, tmp_path: Path
) -> None:
    put(database, tmp_path / "first", COUNT)
    head = world.start()
    worker = world.join()

    # A worker dies: the others do what it had claimed, and the command what it was asked.
    with world.command("embed") as process:
        wait_until(lambda: holders(database) == 3, process)
        worker.kill()
        done = ended(process)
    assert count(database) == COUNT
    assert [done[name] for name in ("embedded", "rejected", "gone")] == [COUNT, 0, 0]

    # The head dies: the command ends with an error, and goes on with another head.
    put(database, tmp_path / "second", COUNT, "second")
    with world.command("embed") as process:
        wait_until(lambda: holders(database) > 0, process)
        head.kill()
        assert process.wait(60) != 0
    assert count(database) < 2 * COUNT
    head = world.start()
    with world.command("embed") as process:
        ended(process)
    assert count(database) == 2 * COUNT

    # What a node says of what was asked is said here.
    with world.command("embed", model="nothing/known") as process:
        assert process.wait(60) == ModelError.exit_code

    # Into files, where a process dies that makes one.
    more = write_photos(tmp_path / "third", COUNT)
    output = world.folder / "vectors"
    make = ("embeddings", "make", tmp_path / "third", "-o", output, "--rows", 4)
    with world.command(*make) as process:
        wait_until(lambda: len(list(output.glob("*.parquet"))) > 1, process)
        wait_until(lambda: len(head.at_work_on("write_part")) > 0, process)
        kill(head.at_work_on("write_part")[0])
        made = ended(process)
    assert (made["parts"], made["photos"]) == (COUNT / 4, COUNT)
    uris = [
        uri for file in output.glob("*.parquet") for uri in pq.read_table(file)["uri"].to_pylist()
    ]
    assert sorted(uris) == sorted(map(str, more))
    assert count(database, "claims") == count(database, "leases") == 0
