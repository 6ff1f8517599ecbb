"""A run of write-back that is killed leaves each file old or new; the next one goes on."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.images import open_image
from geosearch.ingest import ingest
from geosearch.ingest.sidecars import read_sidecars
from geosearch.ingest.xmp import xmp_position
from geosearch.write_back.own_files import position_in

from .photo_files import photo
from .rows import fetch

pytestmark = pytest.mark.system

#: In each of two rounds of each kind.
KILLS = int(os.environ.get("GEOSEARCH_TEST_KILLS", "6"))
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


@pytest.mark.parametrize("kind", ["sidecar", "embed"])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_kill_leaves_half_a_file(
    database: Database, tmp_path: Path, kind: str, seed: int
) -> None:
    if kind == "embed" and shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    rng = random.Random(seed)
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
