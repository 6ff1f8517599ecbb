"""Answers over HTTP, beside the same call in the library.

First the first answer of a server that says it is ready, beside those after it. Then one photo
after the other by either way, in turns: what HTTP adds. Then many clients at once beside as many
threads in the library, in short turns: answers per second, how long each took, and the server's
memory after its first minute and at the end. At last each bound, and whether it holds.

    python benchmarks/serve.py                     each way serves 32 clients for 5 minutes
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from arguments import read_arguments
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.density import modes
from geosearch.sample.space import SpaceSample, write_space_sample

#: Seconds for which many clients ask by one way before it is the other's turn.
TURN_S = 15
#: What must hold: the least and the most of figures.
BOUNDS = {
    "first_ms": (0, 1000),
    "first_ratio": (0, 2),
    "http_adds_ms": (-np.inf, 15),
    "ratio": (0.9, np.inf),
    "errors": (0, 0),
    "memory_ratio": (0.95, 1.05),
}

Ask = Callable[[Path], None]


def main() -> None:
    arguments = read_arguments(
        __doc__, references=300, queries=20, rounds=100, clients=32, seconds=300
    )
    with space(arguments.references, arguments.queries) as (gs, folder):
        modes.expect_many()  # as the server does while it starts
        photos = sorted((folder / "queries").glob("*.jpg"))
        with server(gs.database) as (address, process):
            result = first(address, photos)
            result |= alone(gs, address, process, photos, arguments.rounds)
            result |= together(gs, address, process, photos, arguments.clients, arguments.seconds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.references} references, {os.cpu_count()} cores")
    for name, value in result.items():
        print(f"{name:<28}{value:>10,.2f}")
    for name, (least, most) in BOUNDS.items():
        verdict = "holds" if least <= result[name] <= most else "MISSED"
        print(f"{verdict}: {name} is {result[name]:,.2f}, bounds {least:g} to {most:g}")


@contextmanager
def space(references: int, queries: int) -> Iterator[tuple[Geosearch, Path]]:
    """geosearch with so many views of the Earth, embedded, and the folder of these and of the
    queries.
    """
    with scratch_database() as database, tempfile.TemporaryDirectory() as name:
        write_space_sample(SpaceSample(references, queries), Path(name))
        with Geosearch(database) as gs:
            gs.ingest(Path(name) / "references", collection="space")
            gs.embed()
            yield gs, Path(name)


@contextmanager
def server(database: Database) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of `geosearch serve` over the database, ready, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "geosearch", "serve", "--port", "0", "--json"],
        env=os.environ | {"GEOSEARCH_DATABASE_URL": database.url, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = urlsplit(json.loads(process.stdout.readline())["address"]).netloc
        state = ""
        while state != "ready":
            time.sleep(0.2)
            connection = http.client.HTTPConnection(address)
            connection.request("GET", "/api/v1/status")
            state = json.loads(connection.getresponse().read())["state"]
        yield address, process
    finally:
        process.terminate()
        process.wait()


def asking(address: str) -> Ask:
    """What asks the server, over one connection that is kept."""
    connection = http.client.HTTPConnection(address)

    def ask(photo: Path) -> None:
        head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="q.jpg"\r\n\r\n'
        body = head + photo.read_bytes() + b"\r\n--x--\r\n"
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/api/v1/localize", body, form)
        answered = connection.getresponse()
        found = json.loads(answered.read())
        assert answered.status == 200, found
        assert found["localization_id"] is not None

    return ask


def first(address: str, photos: list[Path]) -> dict[str, float]:
    """Milliseconds of the first answer of a server that says it is ready, and of those after it."""
    ask = asking(address)
    took = [timed(ask, photo) for photo in photos]
    later = statistics.median(took[1:])
    return {"first_ms": took[0], "later_p50_ms": later, "first_ratio": took[0] / later}


def alone(
    gs: Geosearch,
    address: str,
    process: subprocess.Popen[str],
    photos: list[Path],
    rounds: int,
) -> dict[str, float]:
    """Median milliseconds of one answer at a time by either way, in turns, and mean milliseconds
    of processor time: of this process, and of the server and this process, PostgreSQL's left out.
    """
    ways: dict[str, Ask] = {"library": lambda photo: asked(gs, photo), "http": asking(address)}
    took: dict[str, list[float]] = {way: [] for way in ways}
    busy: dict[str, list[float]] = {way: [] for way in ways}
    for number, photo in zip(range(rounds + 3), itertools.cycle(photos), strict=False):
        for way, ask in ways.items():
            before = processor_ms(process.pid)
            ms = timed(ask, photo)
            if number >= 3:  # both are warm then
                took[way].append(ms)
                busy[way].append(processor_ms(process.pid) - before)
    library, over_http = (statistics.median(took[way]) for way in ways)
    added = statistics.median(
        ours - theirs for theirs, ours in zip(took["library"], took["http"], strict=True)
    )
    return {
        "library_p50_ms": library,
        "http_p50_ms": over_http,
        "http_adds_ms": over_http - library,
        "http_adds_ms_paired": added,
        "library_processor_ms": statistics.mean(busy["library"]),
        "http_processor_ms": statistics.mean(busy["http"]),
    }


def together(
    gs: Geosearch,
    address: str,
    process: subprocess.Popen[str],
    photos: list[Path],
    clients: int,
    seconds: int,
) -> dict[str, float]:
    """Answers per second of as many threads by either way, in turns."""
    ways: dict[str, Callable[[], Ask]] = {
        "library": lambda: lambda photo: asked(gs, photo),
        "http": lambda: asking(address),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    spent = dict.fromkeys(ways, 0.0)
    errors, memory = 0, []
    turns = max(1, seconds // TURN_S)
    for _ in range(turns):
        for way, make in ways.items():
            started = time.perf_counter()
            found, failed = crowd(make, photos, clients, started + seconds / turns)
            spent[way] += time.perf_counter() - started
            took[way] += found
            errors += failed
        memory.append(resident_mb(process.pid))
    early = memory[: 60 // TURN_S][-1]
    rates = {way: len(took[way]) / spent[way] for way in ways}
    return {
        "clients": clients,
        "library_answers_per_s": rates["library"],
        "http_answers_per_s": rates["http"],
        "ratio": rates["http"] / rates["library"],
        "http_busy_p50_ms": float(np.percentile(took["http"], 50)),
        "http_busy_p95_ms": float(np.percentile(took["http"], 95)),
        "errors": errors,
        "memory_first_mb": early,
        "memory_last_mb": memory[-1],
        "memory_ratio": memory[-1] / early,
    }


def crowd(
    make: Callable[[], Ask], photos: list[Path], clients: int, until: float
) -> tuple[list[float], int]:
    """Milliseconds of all answers that so many threads got until then, and the errors."""
    took: list[float] = []
    errors: list[Exception] = []

    def work(first: int) -> None:
        ask = make()
        for number in itertools.count(first):
            if time.perf_counter() > until:
                return
            try:
                took.append(timed(ask, photos[number % len(photos)]))
            except Exception as error:
                errors.append(error)
                ask = make()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        print(f"{len(errors)} errors, the first: {errors[0]!r}", file=sys.stderr)
    return took, len(errors)


def asked(gs: Geosearch, photo: Path) -> None:
    """The same answer in the library, as JSON too."""
    assert json.dumps(gs.localize(photo).to_json())


def timed(ask: Ask, photo: Path) -> float:
    """Milliseconds of one answer."""
    started = time.perf_counter()
    ask(photo)
    return 1000 * (time.perf_counter() - started)


def processor_ms(server: int) -> float:
    """Processor time that this process and the server have taken, milliseconds."""
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return 1000 * (time.process_time() + ticks / os.sysconf("SC_CLK_TCK"))


def resident_mb(pid: int) -> float:
    """Memory of a process, megabytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
