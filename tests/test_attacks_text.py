"""Text from strangers: what it may have opened, and what it does where it is shown."""

from __future__ import annotations

import csv
import http.server
import json
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geosearch.borders.border_files import read_borders
from geosearch.cli.console import Table, note, print_json, say
from geosearch.database.connection import Database
from geosearch.errors import GeosearchError, InputError, ModelError, PhotoRejected
from geosearch.export.table import write_csv
from geosearch.features.backbones import load_backbone
from geosearch.features.external_vectors import read_vectors
from geosearch.features.given_queries import Given, given_queries
from geosearch.ingest.sources import candidates
from geosearch.layers.layer import PHOTOS
from geosearch.layers.layer_rows import LayerRows
from geosearch.layers.styles import read_style
from geosearch.notebook.answer_html import answer_html
from geosearch.notebook.frames import Records
from geosearch.retrieval.filters import Filter, where
from geosearch.retrieval.neighbours import NO_NEIGHBOURS
from geosearch.settings import image_settings
from geosearch.storage import is_public, open_stream, read_bytes
from geosearch.untrusted import for_json, for_terminal, for_xml
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.html_parts import Tags

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


@pytest.fixture
def area_file(tmp_path: Path) -> Path:
    file = tmp_path / "area.geojson"
    file.write_text(json.dumps(SQUARE))
    return file


@pytest.fixture
def unsettled() -> Iterator[None]:
    """Settings read anew in this test and after it."""
    image_settings.cache_clear()
    yield
    image_settings.cache_clear()


def test_only_the_condition_itself_names_a_file_that_is_opened(area_file: Path) -> None:
    area = where(within=SQUARE)
    assert where(within=str(area_file)) == where(within=area_file) == area
    for stored in ({"within": str(area_file)}, {"not": {"within": str(area_file)}}):
        with pytest.raises(InputError, match="neither WKT nor GeoJSON"):
            Filter.from_json(stored)
    for geometry in (SQUARE, json.dumps(SQUARE), "POLYGON((0 0,1 0,1 1,0 0))"):
        assert Filter.from_json({"within": geometry}) == area


#: Each opens what it is told to.
OPENERS: tuple[Callable[[str], object], ...] = (
    lambda path: where(within=path),
    read_borders,
    lambda path: load_backbone(f"file:{path}"),
    lambda path: list(candidates(path)),
    read_bytes,
)


@pytest.mark.parametrize("opening", OPENERS)
@pytest.mark.parametrize(
    "kind", ["/dev/zero", "/proc/kmsg", "/sys/kernel/uevent_seqnum", "link", "pipe", "folder"]
)
def test_what_is_no_regular_file_is_refused_at_once(
    opening: Callable[[str], object], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "photos.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:  # by a link too: a name with the right ending is all it takes
        path.symlink_to("/proc/self/status" if kind == "link" else kind)
    if kind == "folder" and opening is OPENERS[3]:
        assert opening(str(path)) == []
        return
    with pytest.raises(GeosearchError) as raised:
        opening(str(path))
    assert isinstance(raised.value, InputError | ModelError | PhotoRejected)


def test_a_file_is_read_no_further_than_the_limit(
    area_file: Path, monkeypatch: pytest.MonkeyPatch, unsettled: None
) -> None:
    monkeypatch.setenv("GEOSEARCH_MAX_BYTES", "20")
    with pytest.raises(InputError, match="over GEOSEARCH_MAX_BYTES=20"):
        where(within=str(area_file))


@pytest.mark.parametrize("text", ["a\0b", "[" * 100_000, "{" * 100_000, "\xff", "x" * 5000])
def test_any_text_for_an_area_is_refused_in_words(text: str, tmp_path: Path) -> None:
    file = tmp_path / "area.geojson"
    file.write_text(text, encoding="latin-1")
    for area in (text, str(file)):
        with pytest.raises(InputError, match="within"):
            where(within=area)


@pytest.mark.parametrize("option", ["--within", "--filter", "--parameters"])
def test_a_device_for_an_option_ends_with_a_sentence(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    ran = CommandLine("postgresql://nowhere.invalid/", capsys)(
        "localize", "photo.jpg", option, "/dev/zero"
    )
    assert ran.code == 2
    assert "regular file" in ran.err


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2001:4860:4860::8888", True), ("127.0.0.1", False),
        ("10.0.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:169.254.169.254", False), ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False),
        ("64:ff9b::a9fe:a9fe", False), ("100.64.0.1", False),
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_known(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    "uri", ["local:///proc/self/status", "FILE:///dev/zero", "ftp://10.0.0.1/a.jpg", "sftp://h/a"]
)
def test_protocols_that_reach_elsewhere_are_opened_only_by_a_setting(
    uri: str, unsettled: None
) -> None:
    with pytest.raises(OSError, match="GEOSEARCH_PRIVATE_URLS"):
        open_stream(uri)


@pytest.fixture
def private_site() -> Iterator[str]:
    """A server in this machine's own network, whose /away leads to another address of it."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            away = self.path == "/away"
            self.send_response(302 if away else 200)
            if away:
                self.send_header(
                    "Location", f"http://127.0.0.2:{self.connection.getsockname()[1]}/"
                )
            self.send_header("Content-Length", "0" if away else "6")
            self.end_headers()
            self.wfile.write(b"" if away else b"secret")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_urls_of_private_networks_are_opened_only_by_a_setting(
    private_site: str, monkeypatch: pytest.MonkeyPatch, unsettled: None
) -> None:
    pytest.importorskip("aiohttp")
    for uri in (private_site, private_site.replace("127.0.0.1", "localhost")):
        with pytest.raises(PhotoRejected, match="GEOSEARCH_PRIVATE_URLS"):
            read_bytes(f"{uri}/secret")
    with monkeypatch.context() as patched:
        patched.setattr("geosearch.storage.is_public", lambda address: address == "127.0.0.1")
        assert read_bytes(f"{private_site}/secret") == b"secret"
        with pytest.raises(PhotoRejected, match=r"127\.0\.0\.2 is in a private network"):
            read_bytes(f"{private_site}/away")
    monkeypatch.setenv("GEOSEARCH_PRIVATE_URLS", "yes")
    image_settings.cache_clear()
    assert read_bytes(f"{private_site}/away") == b"secret"


def test_a_query_at_a_url_is_fetched_with_the_same_care(
    private_site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unsettled: None
) -> None:
    pytest.importorskip("aiohttp")

    def fetched(uri: str) -> bytes | str:
        (query,) = given_queries(uri)
        assert isinstance(query, Given)
        assert query.read is not None
        try:
            return query.read()
        except PhotoRejected as refused:
            return refused.message

    (tmp_path / "asked.csv").write_text(f"uri\n{private_site}/secret.jpg\n")
    os.mkfifo(tmp_path / "pipe.jpg")
    for uri in (f"{private_site}/secret.jpg", f"{private_site}/", str(tmp_path / "asked.csv")):
        assert "GEOSEARCH_PRIVATE_URLS" in str(fetched(uri))
    for uri in ("ftp://10.0.0.1/a.jpg", "local:///etc/passwd", "FILE:///dev/zero"):
        assert "GEOSEARCH_PRIVATE_URLS" in str(fetched(uri))
    for uri in ("/dev/zero", "file:///proc/self/environ", str(tmp_path / "pipe.jpg")):
        assert fetched(uri) == "not a regular file"
    with pytest.raises(InputError, match="cannot read the manifest"):
        given_queries(f"{private_site}/asked.csv")
    monkeypatch.setattr("geosearch.storage.is_public", lambda address: address == "127.0.0.1")
    assert fetched(f"{private_site}/secret.jpg") == b"secret"
    assert "127.0.0.2 is in a private network" in str(fetched(f"{private_site}/away"))
    monkeypatch.setenv("GEOSEARCH_MAX_BYTES", "5")
    image_settings.cache_clear()
    assert "over GEOSEARCH_MAX_BYTES=5" in str(fetched(f"{private_site}/secret.jpg"))


def npy(descr: str, shape: str, order: str = "False", data: bytes = bytes(96)) -> bytes:
    """A .npy file with this header."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


class Program:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("owned",)


WHOLE = npy("'<f4'", "(4, 6)")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy("'|O'", "(1,)", data=pickle.dumps(Program())), "objects of Python"),
        (pickle.dumps(Program()), "does not begin as a .npy file"),
        (b"", "does not begin as a .npy file"),
        (b"PK\x03\x04", "several arrays"),
        (WHOLE[:40], "no whole header"),
        (WHOLE[:-1], "ends before its 4 rows"),
        (b"\x93NUMPY\x09\x00" + WHOLE[8:], "no whole header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + WHOLE[10:], "no whole header"),
        (npy("'<f4'", "(4, 6"), "no whole header"),
        (npy("__import__('os').mkdir('owned')", "(4, 6)"), "no whole header"),
        (npy("'<f4'", "(9223372036854775807, 6)"), "ends before its 9,223,372,036,854,775,807"),
        (npy("'<f4'", "(10**9, 10**9)"), "no whole header"),
        (npy("'<f4'", "(1, 1000000000)"), "rows of 1,000,000,000 numbers"),
        (npy("'<f4'", "(-4, 6)"), "or has none"),
        (npy("'<f4'", "(0, 6)"), "or has none"),
        (npy("'<f4'", "(24,)"), r"float32 of shape \(24,\)"),
        (npy("'<i4'", "(4, 6)"), "int32 of shape"),
        (npy("'<c8'", "(2, 6)"), "complex64 of shape"),
        (npy("[('a', '<f4')]", "(4, 6)"), "of shape"),
        (npy("'<f4'", "(4, 6)", "True"), "column by column"),
    ],
)
def test_a_hostile_file_of_vectors_is_refused_in_words_and_runs_nothing(
    data: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(InputError, match=says) as refused:
        list(read_vectors(tmp_path / "x.npy", "row"))
    assert refused.value.remedy
    assert not re.search(r"Error\b|pickle|Traceback|object at", str(refused.value))
    assert not (tmp_path / "owned").exists()


def test_vectors_of_any_order_of_bytes_are_read(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float64).reshape(4, 6)
    for kind in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        np.save(tmp_path / "x.npy", values.astype(kind))
        (block,) = read_vectors(tmp_path / "x.npy", "row")
        assert block.vectors.dtype == np.float32
        assert (block.vectors == values).all()


@given(st.integers(0, len(WHOLE) - 97), st.binary(min_size=1, max_size=6))
def test_a_broken_header_of_vectors_gives_rows_or_an_error_of_ours(at: int, put: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        path.write_bytes(WHOLE[:at] + put + WHOLE[at + len(put) :])
        with suppress(InputError):
            for block in read_vectors(path, "row"):
                assert block.vectors.size <= 96


HOSTILE = ("[/x][red]", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "safe\u202egpj.exe", "a\rb", "\udcff")


def test_a_name_of_a_collection_breaks_no_list_and_moves_no_cursor(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connection() as connection:
        for name in HOSTILE[:-1]:  # PostgreSQL has no lone surrogates
            connection.execute("INSERT INTO geosearch.collections (name) VALUES (%s)", (name,))
    command = CommandLine(database.url, capsys)
    for ran in (command("collections", "list"), command("collections", "list", "--json")):
        assert ran.code == 0
        assert "[/x][red]" in ran.out
        assert all(line.isprintable() for line in ran.out.split("\n"))
    assert {row["name"] for row in ran.json()} == set(HOSTILE[:-1])


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_said_holds_no_command_to_a_terminal(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("name", text=["name"])
    table.add_row(text)
    say(text)
    note(text)
    print_json({"name": text})
    table.print()
    for shown in capsys.readouterr():
        assert all(line.isprintable() for line in shown.split("\n"))
        shown.encode()


@given(st.text(st.characters(), max_size=30))
def test_text_made_safe_is_the_same_text(text: str) -> None:
    shown = for_terminal(text, keep="")
    assert len(for_terminal(shown, keep="")) == len(shown)
    assert not set(shown) & set("\x1b\x9b\x07\r\n\u202e\u2066")
    assert json.loads(for_json(json.dumps(text, ensure_ascii=False))) == text
    assert "<" not in for_xml(text)


@pytest.mark.parametrize("safe", [True, False])
def test_text_in_csv_is_no_formula_for_a_spreadsheet(tmp_path: Path, safe: bool) -> None:
    titles = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "plain", "", None, "a=b"]
    schema = pa.schema([("title", pa.string()), ("width", pa.int32()), ("geometry", pa.binary())])
    point = shapely.Point(-1, -2).wkb
    batch = pa.record_batch([titles, [-5] * len(titles), [point] * len(titles)], schema=schema)
    path = tmp_path / "photos.csv"
    write_csv(path, LayerRows(PHOTOS, schema, (item for item in (batch,))), safe=safe)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mark = "'" if safe else ""
    assert [row["title"] for row in rows] == [
        f"{mark}=HYPERLINK(1)", f"{mark}+1", f"{mark}-1", f"{mark}@SUM(1)", f"{mark}\t=1", "plain",
        "", "", "a=b",
    ]  # fmt: skip
    assert {(row["width"], row["lat"], row["lon"]) for row in rows} == {("-5", "-2", "-1")}


@pytest.mark.parametrize(
    "name", ["photos", "estimates", "neighbours", "lines", "errors", "regions", "coverage"]
)
def test_map_tips_show_every_value_as_text(name: str) -> None:
    tip = ElementTree.fromstring(read_style(name)).findtext("mapTip")
    assert tip
    values = re.findall(r"\[% (.*?) %\]", tip)
    assert values
    for value in values:
        assert value.startswith("replace(replace(replace(replace(")
        assert value.endswith(""", '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;')""")
    # Only paths and http(s) become links: a uri may be of any scheme.
    assert "'file://', '')" not in tip


SCRIPTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</style><iframe src=https://evil.example>",
    "<!--",
    "&lt;b&gt;",
    "safe\u202egpj.exe\x1b[2J",
)


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_notebook_shows_names_of_strangers_as_text(text: str) -> None:
    """Names of photos, of neighbours and of places; the values of rows and names of columns."""
    asked = make_answer([46.0, 46.1], [8.0, 8.1], photo=f"/photos/{text}")
    near = replace(asked.neighbours, uri=(text, f"s3://bucket/{text}"))
    asked = replace(asked, neighbours=near, place_name=text)
    nowhere = replace(asked, neighbours=NO_NEIGHBOURS)
    for html in (
        answer_html(asked, Image.new("RGB", (4, 4)), {1: b"<script>alert(1)</script>"}),
        answer_html(nowhere, None, {}),
        Records([{text: text}], [text])._repr_html_(),
    ):
        page = Tags(html)
        assert {tag for tag, _ in page.found} <= PLAIN
        for _, attributes in page.found:
            assert attributes.keys() <= {"alt", "style", "src"}
            assert (attributes.get("src") or DATA).startswith(DATA)
            assert "url(" not in (attributes.get("style") or "")
        assert for_terminal(Path(text).name, keep="")[:10] in page.text
        assert not set("\x1b\u202e") & set(html)


#: What a notebook is given, and the one kind of address in it.
PLAIN = {"div", "img", "figure", "b", "br", "table", "thead", "tbody", "tr", "th", "td"}
DATA = "data:image/webp;base64,"
