"""Kill -9 whatever runs, at random, and see whether what is left in the end is as if nothing was.

A small collection is ingested, embedded, indexed, calibrated, localized, deleted, exported and
trained on by the commands, each killed several times on its way: its own process, a backend of
PostgreSQL, or the postmaster. When a backend or the postmaster was killed, the command must end by
itself and without a traceback. Then it runs to its end. After all commands, the database and the
files must hold what a run without kills leaves, coverage included. That again, from an empty
server, until enough kills were made or the time is over. Ends with 1 if anything differs.

    python benchmarks/storm.py
    python benchmarks/storm.py --kills 40 --seconds 300 --seed 7
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
from safetensors.numpy import load_file

TARGETS = ("process", "backend", "postmaster")
#: Tries to kill a command of one pass.
KILLS_EACH = 5
#: How long a command may go on after its database was killed: it may be computing what it has read.
END_S = 60
#: Exit codes of a command that did its work.
DONE = (0, 3)
#: A small network without trained weights: what it computes is the same every time.
MODEL = """
import sys, torch
from pathlib import Path
from torchvision.models import squeezenet1_1
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.preprocessing import Preprocessing

torch.manual_seed(0)
small = Preprocessing(resize=64, crop=64, mean=(124, 116, 104), std=(58, 57, 57))
weights = squeezenet1_1(weights=None).state_dict()
save_checkpoint(
    Path(sys.argv[1]), weights, architecture="torchvision/squeezenet1_1", preprocessing=small
)
"""
#: What must be equal, by name. Numbers of rows and moments are left out: they tell of the kills.
EXACT = {
    "photos": """
        SELECT c.name, p.uri, encode(p.sha256, 'hex'), ST_AsText(p.geom), p.author, p.taken_at::text
        FROM geosearch.all_photos AS p JOIN geosearch.all_collections AS c ON c.id = p.collection_id
    """,
    "rejects": "SELECT uri, reason FROM geosearch.all_rejects",
    "coverage": """
        SELECT c.name, v.cell_km, v.cell, v.photos
        FROM geosearch.all_coverage AS v
        JOIN geosearch.all_collections AS c ON c.id = v.collection_id
    """,
    "models": "SELECT regexp_replace(name, '.*/', ''), dimension FROM geosearch.models",
    "indexes": """
        SELECT regexp_replace(indexrelid::regclass::text, '_m[0-9]+', ''), indisvalid
        FROM pg_index WHERE indexrelid::regclass::text LIKE 'geosearch.embeddings%hnsw%'
    """,
}
#: What must be near: the order of the sums differs with the photos that are embedded at once.
NEAR = {
    "embeddings": """
        SELECT p.uri, e.embedding::real[]
        FROM geosearch.all_embeddings AS e JOIN geosearch.all_photos AS p ON p.id = e.photo_id
        JOIN geosearch.models AS m ON m.id = e.model_id
        ORDER BY m.fingerprint, p.uri
    """,
    "answers": """
        SELECT DISTINCT ON (photo_uri) photo_uri, ARRAY[ST_Y(estimate), ST_X(estimate)]
        FROM geosearch.all_localizations ORDER BY photo_uri, id DESC
    """,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=3, help="passes, each with its own server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    start = time.monotonic()
    storm = Storm(arguments.kills, start + arguments.seconds)
    with TemporaryDirectory(prefix="geosearch-storm-", dir="/tmp") as name:
        ground = Path(name)
        ground.chmod(0o711)
        prepare(ground)
        storm.expected, storm.durations = calm(ground)
        seeds = range(arguments.seed, arguments.seed + arguments.at_once)
        with ThreadPoolExecutor(arguments.at_once) as pool:
            list(pool.map(lambda seed: storm.rage(ground, random.Random(seed)), seeds))
    killed, passes, faults = storm.killed, storm.passes, storm.faults
    report = {"kills": dict(killed), "passes": passes, "faults": faults}
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"{sum(killed.values())} kills in {passes} passes, {time.monotonic() - start:.0f} s")
        for what, count in sorted(killed.items()):
            print(f"  {what:<32} {count:>4}")
        for fault in faults:
            print(fault)
    if faults or sum(killed.values()) < arguments.kills:
        sys.exit("FAILS")
    print("the state at the end of each pass is that of a run without kills")


@dataclass
class Storm:
    """How many kills are wanted, and until when; what came of them."""

    kills: int
    end: float
    expected: dict[str, Any] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    passes: int = 0

    def rages(self) -> bool:
        return sum(self.killed.values()) < self.kills and time.monotonic() < self.end

    def rage(self, ground: Path, rng: random.Random) -> None:
        """Pass after pass, each to its end."""
        while self.rages():
            with fresh_server(ground) as server:
                for step, command in enumerate(commands(ground, server)):
                    for _ in range(KILLS_EACH):
                        if self.rages():
                            duration = self.durations[step]
                            kill_once(server, command, duration, rng, self.killed, self.faults)
                    finish(server, command, self.faults)
                self.faults += differences(self.expected, state(server))
            self.passes += 1


def prepare(ground: Path) -> None:
    """Photos of two collections, labelled queries and a model, in `ground`."""
    run = [sys.executable, "-m", "geosearch", "sample", "space"]
    for name, references, queries, seed in (("kept", 150, 6, 0), ("gone", 60, 0, 1)):
        size = ["--references", str(references), "--queries", str(queries), "--seed", str(seed)]
        subprocess.run([*run, *size, "-o", ground / name], check=True, capture_output=True)
    size = ["--references", "0", "--queries", "40", "--seed", "2"]
    subprocess.run([*run, *size, "-o", ground / "labelled"], check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", MODEL, ground / "small.safetensors"], check=True)


def commands(ground: Path, server: Path) -> list[list[str]]:
    """The commands of a pass, in order; what they write lies in `out` beside the server."""
    out = server.parent / "out"
    model = ["--model", f"file:{ground}/small.safetensors"]
    queries = [str(path) for path in sorted((ground / "kept" / "queries").glob("*.jpg"))]
    return [
        ["ingest", f"{ground}/kept/references", "--collection", "kept"],
        ["ingest", f"{ground}/gone/references", "--collection", "gone"],
        ["embed", *model],
        ["index", "--force", *model],
        ["calibrate", f"{ground}/labelled/queries.csv", "--collection", "kept", *model],
        ["localize", *queries, "--collection", "kept", *model],
        ["collections", "delete", "gone", "--yes"],
        ["export", "photos", "-o", f"{out}/photos.geojson"],
        [
            *("train", "-o", f"{out}/new.safetensors", "--collection", "kept"),
            *("--backbone", f"file:{ground}/small.safetensors", "--loss", "contrastive"),
            *("--epochs", "2", "--batch-size", "16", "--workers", "1"),
        ],
    ]


@contextmanager
def fresh_server(ground: Path) -> Iterator[Path]:
    """The data directory of a new private server, and an empty folder `out` beside."""
    with TemporaryDirectory(prefix="pass-", dir=ground) as name:
        Path(name).chmod(0o711)
        server = Path(name) / "server"
        server.mkdir(mode=0o711)
        (server.parent / "out").mkdir()
        try:
            start(server, ["db", "upgrade"]).communicate()
            yield server
        finally:
            start(server, ["db", "stop"]).communicate()


def start(server: Path, command: list[str]) -> subprocess.Popen[str]:
    """A geosearch command on the private server in `server`."""
    variables = {name: value for name, value in os.environ.items() if "GEOSEARCH" not in name}
    variables |= {
        "GEOSEARCH_DATA_DIR": str(server),
        "GEOSEARCH_CACHE_DIR": str(server.parent.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "geosearch", *command],
        env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def calm(ground: Path) -> tuple[dict[str, Any], list[float]]:
    """The state after a pass without kills, and the seconds each command takes."""
    durations = []
    with fresh_server(ground) as server:
        for command in commands(ground, server):
            began = time.monotonic()
            faults: list[str] = []
            finish(server, command, faults)
            if faults:
                sys.exit("\n".join(["without any kill:", *faults]))
            durations.append(time.monotonic() - began)
        return state(server), durations


def kill_once(
    server: Path,
    command: list[str],
    duration: float,
    rng: random.Random,
    killed: Counter[str],
    faults: list[str],
) -> None:
    """Start the command and kill something at a random moment, unless it has ended before."""
    target, delay = rng.choice(TARGETS), rng.uniform(0.1, 1.0) * duration
    process = start(server, command)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=delay)
    if process.poll() is not None or not kill(target, server, process, rng):
        process.communicate()
        return
    killed[f"{command[0]}: {target}"] += 1
    try:
        said = process.communicate(timeout=END_S + 2 * duration)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        faults.append(f"{command[0]} did not end after the death of the {target}")
        return
    if "Traceback" in said:
        faults.append(f"{command[0]}, when the {target} was killed:\n{said}")


def kill(target: str, server: Path, process: subprocess.Popen[str], rng: random.Random) -> bool:
    """Whether there was such a target, which is now dead."""
    if target == "process":
        process.kill()
        return True
    with suppress(OSError, ValueError, psycopg.Error, ProcessLookupError):
        pid = int((server / "postgres" / "postmaster.pid").read_text().split()[0])
        if target == "backend":
            with connect(server) as connection:
                found = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
                    "AND pid <> pg_backend_pid()"
                ).fetchall()
            pid = rng.choice(found)[0] if found else 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def finish(server: Path, command: list[str], faults: list[str]) -> None:
    """Run the command to its end."""
    process = start(server, command)
    said = process.communicate()[1]
    gone_already = 4 if "delete" in command else 0  # it was killed after it had deleted
    if process.returncode not in (*DONE, gone_already):
        faults.append(f"{' '.join(command[:2])} ended with {process.returncode}:\n{said}")


def connect(server: Path) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=str(server / "socket"), user="geosearch", dbname="geosearch", autocommit=True
    )


def state(server: Path) -> dict[str, Any]:
    """What the database and the files hold, by name."""
    held: dict[str, Any] = {}
    start(server, ["db", "start"]).communicate()
    with connect(server) as connection:
        for name, query in EXACT.items():
            rows = connection.execute(query.encode()).fetchall()
            held[name] = sorted(json.dumps(row, sort_keys=True) for row in rows)
        for name, query in NEAR.items():
            rows = connection.execute(query.encode()).fetchall()
            held[name] = {str(row[0]): np.array(row[1]) for row in rows}
        row = connection.execute(
            "SELECT parameters FROM geosearch.all_calibrations ORDER BY id DESC LIMIT 1"
        ).fetchone()
        held["calibrations"] = None if row is None else sorted(row[0])
    for path in (server.parent / "out").iterdir():
        if path.suffix == ".safetensors":  # its description names the run
            weights = load_file(path)
            held["weights"] = {name: hash(value.tobytes()) for name, value in weights.items()}
        elif path.is_file():
            held[path.name] = path.stat().st_size
    return held


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    wrong = []
    if extra := found.keys() ^ expected.keys():
        return [f"there is one of {extra} in only one of both"]
    for name, wanted in expected.items():
        got = found[name]
        if name not in NEAR:
            if got != wanted:
                wrong.append(f"{name} differ: {str(got)[:500]} instead of {str(wanted)[:500]}")
        elif got.keys() != wanted.keys():
            wrong.append(f"{name}: {len(got)} instead of {len(wanted)}")
        elif any(not np.allclose(got[key], wanted[key], atol=3e-3) for key in wanted):
            wrong.append(f"{name} have other values")
    return wrong


if __name__ == "__main__":
    main()
