"""Every block of code of the documentation runs, or says on the page why the tests cannot run it.

The blocks of a page run in order, in a folder and a database of their own, which are as `world`
leaves them: photos of Switzerland in ~/Pictures, stored, embedded and answered, under the numbers
that the pages speak of. Questions are answered by yes. What would take minutes gets a smaller task.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import geosearch
from geosearch.database.connection import Database
from geosearch.database.server import PrivateServer
from geosearch.settings import CacheSettings
from scripts.reference.command_pages import examples
from tests.code_blocks import LANGUAGES, PAGES, ROOT, Block, blocks_of
from tests.conftest import server_folder
from tests.json_schemas import commands
from tests.test_web_api import serving

#: Pages whose blocks other tests run, with other data.
ELSEWHERE = {
    "docs/my-photos.md": "test_my_photos.py",
    "docs/python.md": "test_python_reference.py",
    "docs/sql.md": "test_sql_cookbook.py",
    "docs/web.md": "test_web_api.py",
}
#: Commands that get a smaller task, by options added at the end.
SMALLER = {
    "geosearch audit": "--near 46.8,8.2,60",
    "geosearch sample space": "--references 30 --queries 10",
    "geosearch sample trip": "--photos 12 --references 12",
    "geosearch train": "--epochs 1 --batch-size 8 --validation 0.2",
}
#: Commands whose examples in help are run: quick ones that find here what they name.
EXAMPLES = (
    *("rejects", "runs", "photos list", "photos show", "photos delete", "models list"),
    *("models delete", "embeddings export", "explain", "show", "reproduce", "write-back"),
    *("review ", "evaluations list", "calibrations list", "calibrations show", "export", "layers"),
    *("borders list", "collections list", "collections private", "collections reviewed"),
    *("collections delete", "collections rename", "roles", "tokens create", "tokens list"),
)
FILES = """
geosearch sample space --references 60 --queries 30 --window 46.8,8.2,300 -o views
ln -s "$PWD/views/references" ~/Pictures
mkdir -p inbox photos more ~/Takeout ~/darktable
cp views/references/00000[1-4].jpg photos/
cp views/references/000005.jpg more/
cp views/references/000006.jpg ~/Takeout/
cp views/references/000007.jpg ~/darktable/
cp views/queries/00002[5-8].jpg inbox/
cp views/queries/000029.jpg other.jpg
for name in unknown holiday photo query; do cp views/queries/000030.jpg $name.jpg; done
head -n 25 views/queries.csv | sed 's/^queries/views\\/queries/' > queries.csv
cp queries.csv labelled.csv
cp queries.csv fresh.csv
"""
#: Run 4 is the ingest of `clients`.
STORED = """
geosearch ingest ~/Pictures --collection mine
geosearch ingest inbox --collection mine
geosearch ingest queries.csv --collection holidays
geosearch ingest photos --collection clients
"""
FACTS = """
UPDATE geosearch.all_photos SET
    author = CASE WHEN id % 2 = 0 THEN 'ann' ELSE 'ada' END,
    taken_at = '2019-06-01 12:00+00'::timestamptz + id * interval '1 hour',
    licence = 'CC0', accuracy_m = 10;
"""
MODELS = """
geosearch embeddings import vectors.npy --model dinov2 --collection mine --match row
geosearch embeddings import vectors.npy --model other --collection mine --match row
"""
#: A model that a page deletes.
RENAMED = "UPDATE geosearch.models SET name = 'torchvision/resnet50' WHERE name LIKE '%:other'"
#: Commands whose rows get the numbers that pages speak of: table, number, command.
NUMBERED = [
    ("calibrations", 3, "calibrate queries.csv"),
    ("localizations", 1, "localize unknown.jpg"),
    ("localizations", 17, "localize inbox/000025.jpg inbox/000026.jpg"),
    ("localizations", 31, "localize inbox/000027.jpg"),
    ("evaluations", 1, "evaluate queries.csv --method nearest"),
    ("evaluations", 7, "evaluate queries.csv"),
    ("evaluations", 8, "evaluate queries.csv --k 20"),
    ("evaluations", 9, "evaluate queries.csv --k 10"),
    ("evaluations", 12, "sweep queries.csv --method nearest,density"),
    ("partitions", 1, "partition counties --collection mine --max 30"),
]


class World:
    """The private server that pages are about, and a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = PrivateServer(folder / "data", durable=False)
        self.environment = {
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "GEOSEARCH_CACHE_DIR": str(CacheSettings().folder()),
            "GEOSEARCH_DATA_DIR": str(folder / "data"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, script: str, folder: Path) -> str:
        """Run a script, whose questions somebody answers with yes: what it printed."""
        asking, terminal = pty.openpty()
        os.write(asking, b"y\n" * 20)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=self.environment,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        os.close(asking)
        os.close(terminal)
        assert ran.returncode == 0, f"exit code {ran.returncode}\n{script}\n{ran.stdout[-2000:]}"
        return ran.stdout

    def do(self, statement: str, database: str = "geosearch") -> list[Any]:
        """What a statement gives."""
        url = self.server.url.replace("/geosearch?", f"/{database}?")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def renew(self, database: str, template: str) -> None:
        """Make a database what another is."""
        self.do(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", "postgres")
        self.do(f"CREATE DATABASE {database} TEMPLATE {template}", "postgres")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """All that `FILES`, `STORED`, `FACTS` and `NUMBERED` say, and what more there is to read."""
    with server_folder() as folder, contextlib.ExitStack() as ending:
        made = World(folder)
        (folder / "data").mkdir(mode=0o711)
        (folder / "work").mkdir()
        (folder / "home").mkdir()
        command = subprocess.Popen(
            [sys.executable, "-m", "tests.forking_command", folder],
            cwd=ROOT,
            env=made.environment,
        )
        ending.callback(command.terminate)
        made.server.start()
        ending.callback(made.server.stop)
        wait_until((folder / "geosearch").exists)
        work = folder / "work"
        made.run(FILES + "geosearch db upgrade\n" + STORED, work)
        made.do(FACTS)
        made.run("geosearch embed", work)
        write_files(made, work)
        for table, number, words in NUMBERED:
            made.do(
                f"SELECT setval(pg_get_serial_sequence('geosearch.all_{table}', 'id'), "
                f"{number}, false)"
            )
            made.run(f"geosearch {words}", work)
        made.run(MODELS, work)
        made.do(RENAMED)
        made.do("CREATE ROLE alice; CREATE ROLE ann LOGIN")
        made.renew("prepared", "geosearch")
        yield made


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for a process that was started."""
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def write_files(world: World, folder: Path) -> None:
    """Tables, tracks and vectors that pages name."""
    photos = world.do(
        """
        SELECT p.uri, ST_Y(p.geom), ST_X(p.geom), encode(p.sha256, 'hex'), p.id
        FROM geosearch.photos AS p JOIN geosearch.collections AS c ON c.id = p.collection_id
        WHERE c.name = 'mine' ORDER BY p.id
        """
    )
    placed = [row for row in photos if row[1] is not None]
    for name, head, encoding in (
        ("survey.csv", "uri,lat,lon", "utf-8"),
        ("better.csv", "uri,lat,lon", "utf-8"),
        ("bilder.csv", "uri,Breite,Länge", "cp1252"),
    ):
        lines = [head, *(f"{uri},{lat},{lon}" for uri, lat, lon, *_ in placed)]
        (folder / name).write_text("\n".join(lines), encoding=encoding)
    vectors = np.random.default_rng(1).normal(size=(len(photos), 16)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", vectors[:3])
    (folder / "uris.txt").write_text("\n".join(row[0] for row in photos))
    columns = {"sha256": [row[3] for row in photos], "vector": vectors.tolist()}
    pq.write_table(pa.table(columns), folder / "vectors.parquet")
    track = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><time>2019-06-01T{hour:02}:00:00Z</time></trkpt>'
        for hour, (_, lat, lon, *_) in enumerate(placed[:20])
    )
    (folder / "walk.gpx").write_text(
        f'<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{track}'
        "</trkseg></trk></gpx>"
    )


@pytest.fixture
def place(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder and database for a page."""
    world.renew("geosearch", "prepared")
    folder = world.folder / "page"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.folder / "work", folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE])
def test_the_blocks_of_a_page_run(world: World, place: Path, page: str) -> None:
    blocks = [block for block in blocks_of(page) if block.not_run is None]
    texts = "".join(block.text for block in blocks)
    names: dict[str, Any] = {}
    failed = {}
    with contextlib.ExitStack() as ending:
        if any(block.language == "python" for block in blocks):
            names["gs"] = ending.enter_context(geosearch.connect())
        if "localhost:8000" in texts:
            database = ending.enter_context(Database(world.server.url))
            names["address"], _ = ending.enter_context(serving(database))
        for block in blocks:
            began = time.monotonic()
            try:
                run(block, world, place, names)
            except Exception as error:
                failed[str(block)] = f"{type(error).__name__}: {error}"
            print(f"{block}: {time.monotonic() - began:.1f} s")
    assert failed == {}, "\n".join(f"{where}: {why}" for where, why in failed.items())


def run(block: Block, world: World, folder: Path, names: dict[str, Any]) -> None:
    """Run one block; an error says what is wrong with it."""
    if block.language == "sh":
        script = smaller(block.text).replace("localhost:8000", names.get("address", ""))
        world.run(script, folder)
    elif block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)
    elif block.language == "sql":
        world.do(block.text)
    else:
        raise AssertionError(f"{block.language} is not run: say why in a comment before the block")


def smaller(script: str) -> str:
    """The script with the options of `SMALLER`."""
    for command, options in SMALLER.items():
        script = re.sub(rf"^({command}\b[^#\n]*)", rf"\1 {options} ", script, flags=re.MULTILINE)
    return script


@pytest.mark.system
@pytest.mark.timeout(900)
def test_examples_in_help_run(world: World, place: Path) -> None:
    failed = {}
    for name, command in commands():
        for line in examples(command) if name.startswith(EXAMPLES) else ():
            began = time.monotonic()
            try:
                world.run(line, place)
            except AssertionError as error:
                failed[line] = str(error)
            print(f"{line}: {time.monotonic() - began:.1f} s")
    assert failed == {}, "\n".join(failed.values())


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    for block in blocks_of(page):
        assert block.language, f"{block}: say in which language it is"
        if block.language not in LANGUAGES or (block.language == "text" and page not in ELSEWHERE):
            assert block.not_run, f"{block}: it is not run: say why in a comment before it"


@pytest.mark.parametrize("page", PAGES)
def test_code_stands_between_fences(page: str) -> None:
    """Code that is only indented would be missed."""
    outside = re.sub(
        r"^ *```.*?^ *```$", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert re.findall(r"\n\n {4}(?:geosearch|python|pip|curl|SELECT)\b.*", outside) == []


def test_most_blocks_are_run() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    run = [block for block in blocks if block.not_run is None]
    assert len(run) / len(blocks) > 0.65


@pytest.mark.parametrize(("page", "file"), ELSEWHERE.items())
def test_blocks_that_run_elsewhere_do(page: str, file: str) -> None:
    source = (Path(__file__).parent / file).read_text(encoding="utf-8")
    assert f'blocks_of("{page}")' in source
