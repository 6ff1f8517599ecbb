"""Embeddings made elsewhere: read from what others write, and written for others to read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo
from safetensors.numpy import load_file, save_file

from geosearch.client import Geosearch
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.errors import DatabaseError, InputError, ModelError, NotFoundError, Reason
from geosearch.features import external_vectors
from geosearch.features.embedding_import import Imported

from .command_line import CommandLine
from .photo_files import photo
from .rows import add_photos, fetch

COUNT, DIMENSION = 30, 6
Vectors = NDArray[np.float32]


class World:
    """A collection of photos, and vectors for them."""

    def __init__(self, database: Database, name: str) -> None:
        rng = np.random.default_rng(4)
        self.database, self.gs, self.name = database, Geosearch(database), name
        with database.connection() as connection:
            lat, lon = rng.uniform(40, 50, COUNT), rng.uniform(0, 10, COUNT)
            self.photos = add_photos(connection, lat, lon, collection=name)
            connection.execute(
                "UPDATE geosearch.all_photos SET source_id = 'id' || id WHERE collection_id = %s",
                (self.photos[0].collection_id,),
            )
        self.vectors = rng.normal(size=(COUNT, DIMENSION)).astype(np.float32)

    @property
    def uris(self) -> list[str]:
        return [f"/photo/{self.name}/{number}.jpg" for number in range(COUNT)]

    def keys(self, match: str) -> list[str]:
        return {
            "uri": self.uris,
            "source_id": [f"id{photo.photo_id}" for photo in self.photos],
            "sha256": [hashlib.sha256(uri.encode()).hexdigest() for uri in self.uris],
        }[match]

    def bring(self, *files: Path, **options: Any) -> Imported:
        return self.gs.import_embeddings(files, model=self.name, collection=self.name, **options)

    def stored(self) -> dict[int, Vectors]:
        rows = fetch(
            self.database,
            "SELECT photo_id, embedding FROM geosearch.embeddings AS e"
            " JOIN geosearch.models AS m ON m.id = model_id WHERE m.name = %s",
            f"external:{self.name}",
        )
        return {key: vector.to_numpy().astype(np.float32) for key, vector in rows}

    def check(self, vectors: Vectors | None = None) -> None:
        """All photos have their vectors, at length 1."""
        wanted = self.vectors if vectors is None else vectors
        units = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        stored = self.stored()
        assert set(stored) == {each.photo_id for each in self.photos}
        for each, unit in zip(self.photos, units, strict=True):
            assert stored[each.photo_id] == pytest.approx(unit, abs=2e-3)

    def rejects(self) -> dict[str, str]:
        rows = fetch(
            self.database,
            "SELECT regexp_replace(r.uri, '.*/', ''), reason FROM geosearch.rejects AS r"
            " JOIN geosearch.models AS m ON m.id = model_id WHERE m.name = %s",
            f"external:{self.name}",
        )
        return dict(rows)


@pytest.fixture
def world(module_database: Database, request: pytest.FixtureRequest) -> World:
    return World(module_database, request.node.name)


Writer = Callable[[Path, World, str], tuple[Path, dict[str, Any]]]


def with_keys(folder: Path, world: World, match: str) -> dict[str, Any]:
    if match == "row":
        return {}
    (folder / "keys.txt").write_text("\n".join(world.keys(match)) + "\n")
    return {"keys": folder / "keys.txt"}


def npy(folder: Path, world: World, match: str) -> tuple[Path, dict[str, Any]]:
    np.save(folder / "x.npy", world.vectors.astype(np.float16 if match == "row" else np.float64))
    return folder / "x.npy", with_keys(folder, world, match)


def safetensors(folder: Path, world: World, match: str) -> tuple[Path, dict[str, Any]]:
    save_file({"mean": world.vectors[0], "x": world.vectors}, folder / "x.safetensors")
    return folder / "x.safetensors", with_keys(folder, world, match)


def parquet(kind: pa.DataType) -> Writer:
    def write(folder: Path, world: World, match: str) -> tuple[Path, dict[str, Any]]:
        columns: dict[str, Any] = {"embedding": pa.array(world.vectors.tolist(), kind)}
        if match != "row":
            name = {"uri": "image_path", "source_id": "id"}.get(match, match)
            columns[name] = world.keys(match)
        pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=7)
        return folder / "x.parquet", {}

    return write


def clip_retrieval(folder: Path, world: World, match: str) -> tuple[Path, dict[str, Any]]:
    for number, half in enumerate((slice(0, 12), slice(12, None))):
        for name in ("img_emb", "metadata"):
            (folder / "clip" / name).mkdir(parents=True, exist_ok=True)
        np.save(folder / f"clip/img_emb/img_emb_{number}.npy", world.vectors[half])
        names = {"source_id": "id"}
        keys = {names.get(match, match): world.keys(match)[half]} if match != "row" else {"a": []}
        if match != "row":
            pq.write_table(pa.table(keys), folder / f"clip/metadata/metadata_{number}.parquet")
    return folder / "clip", {}


def text(separator: str, quote: str, header: str = "") -> Writer:
    def write(folder: Path, world: World, match: str) -> tuple[Path, dict[str, Any]]:
        lines = [f"{quote}{json.dumps(each.tolist())}{quote}" for each in world.vectors]
        if match != "row":
            lines = [
                f"{key}{separator}{line}"
                for key, line in zip(world.keys(match), lines, strict=True)
            ]
        (folder / "x.tsv").write_text(header + "\n".join(lines) + "\n")
        return folder / "x.tsv", {}

    return write


LIST, LARGE = pa.list_(pa.float32()), pa.large_list(pa.float64())
FIXED = pa.list_(pa.float32(), DIMENSION)


@pytest.mark.parametrize(
    ("write", "match"),
    [
        *((npy, match) for match in ("uri", "row")),
        *((safetensors, match) for match in ("sha256", "row")),
        *((parquet(LIST), match) for match in ("uri", "source_id", "sha256", "row")),
        *((parquet(LARGE), "source_id"), (parquet(FIXED), "uri"), (parquet(FIXED), "row")),
        *((clip_retrieval, match) for match in ("uri", "source_id", "row")),
        *((text("\t", ""), match) for match in ("uri", "row")),
        *((text(",", '"', "key,embedding\n"), match) for match in ("source_id", "row")),
    ],
)
def test_every_format_is_read(
    world: World, tmp_path: Path, write: Writer, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_vectors, "BLOCK", 8)  # several blocks
    path, options = write(tmp_path, world, match)
    done = world.bring(path, match=match, **options)
    assert (done.rows, done.embedded, done.there, done.rejected) == (COUNT, COUNT, 0, 0)
    world.check()
    again = world.bring(path, match=match, **options)
    assert (again.embedded, again.there, again.model_id) == (0, COUNT, done.model_id)


def test_what_is_no_embedding_is_a_reject_of_its_row_and_is_mended(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = world.vectors.tolist()
    rows[3], rows[4], rows[5] = [0.0] * DIMENSION, [1.0] * (DIMENSION + 1), None
    rows[6][2], rows[7][0], rows[8][1] = float("nan"), float("inf"), None
    rows[9] = [1e30] * DIMENSION
    keys: list[Any] = [*world.uris]
    keys[10], keys[11] = None, "/nowhere.jpg"
    table = {"embedding": pa.array(rows, pa.list_(pa.float32())), "uri": keys}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    run = CommandLine(world.database.url, capsys)
    asked = ("--model", world.name, "--collection", world.name)
    ran = run("embeddings", "import", tmp_path / "x.parquet", *asked, "--json")
    assert ran.code == 3
    assert (ran.json()["embedded"], ran.json()["rejected"]) == (COUNT - 8, 8)
    assert world.rejects() == {
        "x.parquet#4": Reason.EXTRACTION_FAILED,
        "x.parquet#5": Reason.BAD_ROW,
        "x.parquet#6": Reason.BAD_ROW,
        "x.parquet#7": Reason.NOT_A_NUMBER,
        "x.parquet#8": Reason.NOT_A_NUMBER,
        "x.parquet#9": Reason.NOT_A_NUMBER,
        "x.parquet#11": Reason.MISSING,
        "x.parquet#12": Reason.MISSING,
    }
    vectors = world.vectors.copy()
    vectors[9] = 1
    pq.write_table(
        pa.table({"embedding": vectors.tolist(), "uri": world.uris}), tmp_path / "x.parquet"
    )
    ran = run("embeddings", "import", tmp_path / "x.parquet", *asked)
    assert ran.code == 0
    assert "8 of 30 rows, 22 were there" in ran.out
    world.check(vectors)
    assert world.rejects() == {}


def test_of_several_rows_of_a_photo_the_first_to_come_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_vectors, "BLOCK", 5)  # in two blocks at work at once, too
    table = {"uri": world.uris * 3, "embedding": world.vectors.tolist() * 3}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    done = world.bring(tmp_path / "x.parquet")
    assert (done.rows, done.embedded, done.there) == (3 * COUNT, COUNT, 2 * COUNT)
    world.check()


def test_an_ingester_imports_and_nobody_else_but_the_owner(world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    for role in ("reader", "analyst", "ingester"):
        url = make_conninfo(world.database.url, options=f"-c role=geosearch_{role}")
        with Database(url) as database:
            gs = Geosearch(database)
            asked = {"model": world.name, "collection": world.name, "match": "row"}
            if role == "ingester":
                assert gs.import_embeddings(tmp_path / "x.npy", **asked).embedded == COUNT  # type: ignore[arg-type]
                continue
            with pytest.raises(DatabaseError):
                gs.import_embeddings(tmp_path / "x.npy", **asked)  # type: ignore[arg-type]
    world.check()
    with world.database.connection() as connection:
        set_private(connection, world.name, private=True)
    with Database(url) as database, pytest.raises(NotFoundError):
        Geosearch(database).import_embeddings(tmp_path / "x.npy", **asked)  # type: ignore[arg-type]
    assert world.bring(tmp_path / "x.npy", match="row").there == COUNT


def test_other_lengths_are_other_models_rows_and_names_other_models(
    world: World, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    first = world.bring(tmp_path / "x.npy", match="row")
    np.save(tmp_path / "y.npy", world.vectors[:, :4])
    done = world.bring(tmp_path / "y.npy", match="row", dimension=DIMENSION)
    assert (done.model_id, done.rejected) == (first.model_id, COUNT)
    done = world.bring(tmp_path / "y.npy", match="row")
    assert done.embedded == COUNT
    assert done.model_id != first.model_id


def test_it_is_a_model_as_others_but_that_no_photo_is_embedded(
    world: World, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    world.bring(tmp_path / "x.npy", match="row", licence="CC0-1.0")
    name = f"external:{world.name}"
    answers = world.gs.evaluate(None, model=name, collection=world.name, k=5)
    assert len(answers.errors_km) == COUNT
    (tmp_path / "a.jpg").write_bytes(photo())
    with pytest.raises(ModelError, match="made elsewhere"):
        world.gs.localize(tmp_path / "a.jpg", model=name)
    with pytest.raises(NotFoundError):
        world.gs.localize(tmp_path / "a.jpg", model="external:nobody")


def test_a_table_with_positions_brings_its_photos_too(world: World, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / f"photos/{number}.jpg").write_bytes(photo(shade=number))
    table = {
        "uri": [f"photos/{number}.jpg" for number in range(3)],
        "lat": [46.5, 47.5, 48.5],
        "lon": [7.5, 8.5, 9.5],
        "embedding": world.vectors[:3].tolist(),
    }
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    done = world.bring(tmp_path / "x.parquet", photos=True)
    assert (done.embedded, done.rejected) == (3, 0)


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_rows_that_are_counted_are_those_of_photos_without_a_position_too(
    world: World, tmp_path: Path, ending: str
) -> None:
    """What is exported of a collection comes back by counting; what does not fit is refused."""
    np.save(tmp_path / "x.npy", world.vectors)
    fetch(
        world.database,
        "UPDATE geosearch.all_photos SET geom = NULL, position_source = NULL WHERE id = ANY(%s)"
        " RETURNING id",
        [photo.photo_id for photo in world.photos[3:6]],
    )
    assert world.bring(tmp_path / "x.npy", match="row").embedded == COUNT
    file = tmp_path / f"out{ending}"
    model, other = f"external:{world.name}", f"{world.name} again"
    done = world.gs.export_embeddings(file, model=model, collection=world.name)
    assert done.rows == COUNT
    if ending == ".parquet":
        known = [place is not None for place in pq.read_table(file).column("geometry").to_pylist()]
        assert known == [number not in (3, 4, 5) for number in range(COUNT)]
    asked = {"model": other, "collection": world.name, "match": "row"}
    assert world.gs.import_embeddings(file, **asked).embedded == COUNT  # type: ignore[arg-type]
    ((alike,),) = fetch(
        world.database,
        "SELECT count(*) FROM geosearch.all_queries AS a JOIN geosearch.all_queries AS b"
        " USING (photo_id) WHERE a.model_id < b.model_id AND a.embedding <-> b.embedding < 1e-3"
        " AND a.photo_id = ANY(%s)",
        [photo.photo_id for photo in world.photos],
    )
    assert alike == 3
    np.save(tmp_path / "x.npy", world.vectors[:-2])
    with pytest.raises(InputError, match=r"28 rows, and .* 30 photos") as refused:
        world.gs.import_embeddings(tmp_path / "x.npy", **asked)  # type: ignore[arg-type]
    assert "`keys`" in str(refused.value) or "keys" in (refused.value.remedy or "")


def test_an_import_that_is_refused_leaves_no_model_behind(world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    np.save(tmp_path / "few.npy", world.vectors[:4])
    table = {"embedding": world.vectors.tolist(), "uri": world.uris}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    (tmp_path / "header.txt").write_text("\n".join(["uri", *world.uris]))
    (tmp_path / "keys.txt").write_text("\n".join(world.uris))
    for file, options, says in (
        ("x.npy", {"keys": tmp_path / "header.txt"}, "30 rows, and more keys: 31"),
        ("x.npy", {"keys": tmp_path / "keys.txt", "match": "row"}, "keys are for"),
        ("x.parquet", {"keys": tmp_path / "keys.txt"}, "keys are for"),
        ("x.npy", {"match": "row", "dimension": 9}, "6 numbers, and `?dimension`? is 9"),
        ("x.parquet", {"dimension": 9}, "6 numbers, and `?dimension`? is 9"),
        ("few.npy", {"match": "row"}, "4 rows, and"),
        ("x.npy", {"match": "uri"}, "which photo"),
        ("x.parquet", {"column": "uri"}, "which column"),
        ("x.npy", {"match": "row", "dimension": 20_000}, "out of range"),
    ):
        with pytest.raises(InputError, match=says) as refused:
            world.bring(tmp_path / file, **options)
        assert refused.value.remedy
    name = f"external:{world.name}"
    assert fetch(world.database, "SELECT id FROM geosearch.models WHERE name = %s", name) == []


@pytest.mark.parametrize("name", ["", " ", "external:", "a\0b"])
def test_a_model_has_a_name(world: World, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    with pytest.raises(InputError, match="is no name"):
        world.gs.import_embeddings(
            tmp_path / "x.npy", model=name, collection=world.name, match="row"
        )


def npz() -> bytes:
    stream = BytesIO()
    np.savez(stream, np.ones((2, 2), np.float32))
    return stream.getvalue()


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + bytes(64)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.npy", b"no"),
        ("x.npy", b"\x93NUMPY\x01\x00v\x00{'shape': (9, 9)}"),
        ("x.safetensors", (10**9).to_bytes(8, "little")),
        ("x.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("x.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
        ("x.parquet", b"PAR1"),
        ("x.npy", b"PK\x03\x04 and no more"),
        ("x.npy", npz()),
        (
            "x.safetensors",
            header('{"x": {"dtype": "F32", "shape": [1e999, 2], "data_offsets": [0, 8]}}'),
        ),
        (
            "x.safetensors",
            header('{"x": {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}}'),
        ),
        ("x.safetensors", header("[" * 100_000)),
        ("x.tsv", b"nothing\n"),
        ("x.tsv", b""),
    ],
)
def test_files_that_hold_no_vectors_are_refused_by_name(
    world: World, tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as refused:
        world.bring(tmp_path / name, match="uri" if name.endswith(("tsv", "parquet")) else "row")
    assert refused.value.remedy


def test_a_broken_table_of_clip_retrieval_is_refused_by_name(world: World, tmp_path: Path) -> None:
    folder, _ = clip_retrieval(tmp_path, world, "uri")
    broken = folder / "metadata" / "metadata_1.parquet"
    whole = pq.read_table(broken)
    pq.write_table(pa.concat_tables([whole, whole[:1]]), broken)
    with pytest.raises(InputError, match="more keys"):
        world.bring(folder)
    broken.write_bytes(b"PAR1 no PAR1")
    with pytest.raises(InputError, match="metadata_1") as refused:
        world.bring(folder)
    assert refused.value.remedy


def test_a_key_that_is_no_text_is_a_reject_of_its_row(world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    keys = [each.encode() for each in world.uris]
    keys[2] = b"/photo/\xff.jpg"
    (tmp_path / "keys.txt").write_bytes(b"\n".join(keys) + b"\n")
    for match, others in (("uri", COUNT - 1), ("source_id", 0), ("sha256", 0)):
        done = world.bring(tmp_path / "x.npy", keys=tmp_path / "keys.txt", match=match)
        assert done.rejected == COUNT - others
        assert world.rejects()["x.npy#3"] == Reason.MISSING


@pytest.mark.parametrize(
    ("match", "keys", "vectors", "said"),
    [
        ("uri", "nowhere.jpg", 1.0, r"names a photo of .* its uri: .*nowhere\.jpg(.|\n)*/photo/"),
        ("sha256", "00", 1.0, "by its sha256: the first says '00'"),
        ("row", None, np.nan, "no row is a vector that can be used"),
    ],
)
def test_where_no_row_can_be_used_no_model_is_made(
    world: World, tmp_path: Path, match: str, keys: str | None, vectors: float, said: str
) -> None:
    np.save(tmp_path / "x.npy", world.vectors * vectors)
    options: dict[str, Any] = {"match": match}
    if keys is not None:
        options["keys"] = tmp_path / "keys.txt"
        options["keys"].write_text(f"{keys}\n" * COUNT)
    with pytest.raises(InputError, match=said):
        world.bring(tmp_path / "x.npy", **options)
    assert not fetch(
        world.database, "SELECT FROM geosearch.models WHERE name = %s", f"external:{world.name}"
    )
    assert not world.rejects()


def test_a_photo_named_in_the_last_block_is_enough(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_vectors, "BLOCK", 8)
    np.save(tmp_path / "x.npy", world.vectors)
    (tmp_path / "keys.txt").write_text("nowhere.jpg\n" * (COUNT - 1) + world.uris[0] + "\n")
    done = world.bring(tmp_path / "x.npy", keys=tmp_path / "keys.txt")
    assert (done.embedded, done.rejected) == (1, COUNT - 1)


def test_a_file_of_other_kinds_is_not_taken_for_text(world: World, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", world.vectors)
    (tmp_path / "x.jpg").write_bytes(photo())
    for name in ("x.npz", "x.jpg"):
        with pytest.raises(InputError, match="holds no vectors as pgvector writes them"):
            world.bring(tmp_path / name, match="row")


def test_keys_are_exported_to_a_name_of_their_own(world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    world.bring(tmp_path / "x.npy", match="row")
    (tmp_path / "notes.txt").write_text("mine")
    done = world.gs.export_embeddings(
        tmp_path / "notes.npy", model=f"external:{world.name}", collection=world.name
    )
    assert done.keys == str(tmp_path / "notes.npy.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_objects_and_columns_are_refused_and_what_is_not_there(
    world: World, tmp_path: Path
) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(tmp_path / "columns.npy", np.asfortranarray(world.vectors))
    np.save(tmp_path / "x.npy", world.vectors)
    (tmp_path / "few.txt").write_text("one\n")
    for name in ("objects.npy", "columns.npy", "nowhere.npy"):
        with pytest.raises(InputError, match=name):
            world.bring(tmp_path / name, match="row")
    with pytest.raises(InputError, match="which photo"):
        world.bring(tmp_path / "x.npy")
    with pytest.raises(InputError, match="fewer keys"):
        world.bring(tmp_path / "x.npy", keys=tmp_path / "few.txt")


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".safetensors", ".tsv"])
def test_what_is_exported_is_what_was_imported(world: World, tmp_path: Path, ending: str) -> None:
    np.save(tmp_path / "x.npy", world.vectors)
    world.bring(tmp_path / "x.npy", match="row")
    file = tmp_path / f"out{ending}"
    done = world.gs.export_embeddings(file, model=f"external:{world.name}", collection=world.name)
    assert (done.rows, done.dimension) == (COUNT, DIMENSION)
    other = f"{world.name} again"
    keys = {"keys": done.keys} if done.keys else {}
    again = world.gs.import_embeddings(file, model=other, collection=world.name, **keys)  # type: ignore[arg-type]
    assert (again.embedded, again.rejected) == (COUNT, 0)
    ((same,),) = fetch(
        world.database,
        "SELECT bool_and(a.embedding <-> b.embedding < 1e-3) FROM geosearch.embeddings AS a"
        " JOIN geosearch.embeddings AS b USING (photo_id)"
        " WHERE a.model_id = %s AND b.model_id = %s",
        again.model_id,
        again.model_id - 1,
    )
    assert same
    if ending == ".parquet":
        table = pq.read_table(file)
        assert json.loads(pq.read_metadata(file).metadata[b"geo"])["primary_column"] == "geometry"
        assert table.column("uri").to_pylist() == world.uris
    if ending == ".safetensors":
        assert load_file(file)["embeddings"].shape == (COUNT, DIMENSION)
    with pytest.raises(InputError, match="no format"):
        world.gs.export_embeddings(tmp_path / "x.zip", model=f"external:{world.name}")
