"""A run of write-back that is killed leaves each file old or new; the next one goes on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from geosearch.client import Geosearch, connect
from geosearch.database.connection import Database
from geosearch.images import open_image
from geosearch.ingest import ingest
from geosearch.ingest.positions import Position
from geosearch.ingest.sidecars import read_sidecars
from geosearch.ingest.xmp import xmp_position
from geosearch.write_back.own_files import position_in

from .photo_files import photo
from .rows import fetch

pytestmark = pytest.mark.system

#: Of each kind.
KILLS = int(os.environ.get("GEOSEARCH_TEST_KILLS", "8"))
PLACES = ((46.9999999999, -7.4474321), (-33.5, 151.25))
RUN = """
import sys
from geosearch.client import connect
with connect(sys.argv[1]) as gs:
    print("ready", flush=True)
    gs.write_back(collection="mine", overwrite=True, embed=sys.argv[2] == "embed")
"""


def started(database: Database, kind: str) -> subprocess.Popen[bytes]:
    """A run of its own, which has just begun to write."""
    root = Path(__file__).parent.parent
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, database.url, kind],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        start_new_session=True,  # with its exiftool
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    return run


#: What a run does, by the names of what does it: it is killed before each.
STEPS = (
    (psycopg.Connection, "execute"),
    (Path, "write_bytes"),
    (Path, "replace"),
    (os, "link"),
    (shutil, "rmtree"),
    (fcntl, "flock"),
    (subprocess, "run"),
)


def killed_at(database: Database, kind: str, moment: int) -> bool:
    """Whether a run of its own, which is to be killed at this of its moments, has so many."""
    run = os.fork()
    if run:
        return os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]) == -signal.SIGKILL
    moments = count()

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*given: Any, **more: Any) -> Any:
            if next(moments) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*given, **more)

        return watching

    try:
        for owner, name in STEPS:
            setattr(owner, name, watched(getattr(owner, name)))
        with connect(database.url) as gs:
            gs.write_back(collection="mine", overwrite=True, embed=kind == "embed")
    finally:
        os._exit(0)


@pytest.mark.parametrize("kind", ["sidecar", "embed"])
def test_a_kill_at_any_moment_is_mended_by_the_next_run_wherever_the_photo_is_then(
    database: Database, tmp_path: Path, kind: str
) -> None:
    """Where it goes back to what the file says still, too: then nothing is written."""
    if kind == "embed" and shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / "a.jpg"
    path.write_bytes(photo())
    ingest(database, [tmp_path], collection="mine")
    gs, place = Geosearch(database), 0
    gs.correct_positions(*PLACES[place], collection="mine")
    gs.write_back(collection="mine", embed=kind == "embed")
    for number in count():
        moment, goes_back = divmod(number, 2)
        gs.correct_positions(*PLACES[1 - place], collection="mine")
        killed = killed_at(database, kind, moment)
        if goes_back and killed:
            gs.correct_positions(*PLACES[place], collection="mine")
        else:
            place = 1 - place
        done = gs.write_back(collection="mine", overwrite=True, embed=kind == "embed")
        assert (done.failures, done.written + done.there) == ((), 1), moment
        written = path if kind == "embed" else tmp_path / "a.jpg.xmp"
        found = position_in(path.read_bytes(), read_sidecars([str(written)] * (kind != "embed")))
        assert found is not None
        assert found.is_at(Position(*PLACES[place], "corrected")), moment
        assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")], moment
        assert fetch(
            database,
            "SELECT p.sha256, w.sha256, w.new -> 'lat', w.written_at IS NOT NULL"
            " FROM geosearch.photos AS p JOIN geosearch.write_backs AS w ON w.photo_id = p.id"
            " ORDER BY w.id DESC LIMIT 1",
        ) == [(sha256(path), sha256(written), PLACES[place][0], True)], moment
        # Of what was killed before it came to be, nothing is said to have been.
        assert fetch(
            database,
            "SELECT count(*) FROM geosearch.write_backs WHERE written_at IS NULL OR reason <> ''",
        ) == [(0,)]
        if not killed:
            break
    assert moment > 10


def sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("kind", ["sidecar", "embed"])
def test_no_kill_leaves_half_a_file(database: Database, tmp_path: Path, kind: str) -> None:
    if kind == "embed" and shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    rng = random.Random(1)
    files = {
        f"{n}.jpg": photo(shade=n, size=(320, 240)) for n in range(40 if kind == "sidecar" else 6)
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    ingest(database, [tmp_path], collection="mine")
    gs = Geosearch(database)
    gs.correct_positions(*PLACES[0], collection="mine")
    first = started(database, kind)
    begun = time.monotonic()
    assert first.wait() == 0
    whole = time.monotonic() - begun
    between = 0
    for kill in range(1, KILLS + 1):
        gs.correct_positions(*PLACES[kill % 2], collection="mine")
        run = started(database, kind)
        time.sleep(rng.uniform(0, whole))
        with suppress(ProcessLookupError):  # it was faster
            os.killpg(run.pid, signal.SIGKILL)
        between += run.wait() != 0
        for name, data in files.items():
            path = tmp_path / name
            now, side = path.read_bytes(), tmp_path / f"{name}.xmp"
            if kind == "sidecar":
                assert now == data
                beside = read_sidecars([str(side)])
                assert beside.defect is None
                found = xmp_position(beside.xmp)
            else:
                assert open_image(now).tobytes() == open_image(data).tobytes()
                assert path.with_name(f"{name}_original").read_bytes() == data
                found = position_in(now)
            assert found is not None
            assert any(
                abs(found.lat - lat) < 1e-7 and abs(found.lon - lon) < 1e-7 for lat, lon in PLACES
            )
    assert between  # else they came too late
    gs.correct_positions(*PLACES[1], collection="mine")
    done = gs.write_back(collection="mine", overwrite=True, embed=kind == "embed")
    assert done.failures == ()
    assert done.written + done.there == len(files)
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
    for uri, sha256 in fetch(database, "SELECT uri, sha256 FROM geosearch.photos"):
        assert hashlib.sha256(Path(uri).read_bytes()).digest() == sha256
    assert fetch(database, "SELECT FROM geosearch.write_backs WHERE written_at IS NULL") == []
    summary = ingest(database, [tmp_path], collection="mine")
    assert (summary.added, summary.unlocated) == (0, 0)
