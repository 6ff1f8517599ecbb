"""Embeddings of photos in no database, in files that an import takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from geosearch.database.connection import Database
from geosearch.errors import InputError, ModelError
from geosearch.features.embedding_files import embed_into_files
from geosearch.features.embedding_import import import_embeddings
from geosearch.features.extraction import embed_query
from tests.command_line import CommandLine
from tests.sleeping_backbone import install
from tests.test_embed import backbone, stored, write_photos

MODEL, COUNT = "sleeping/0", 7


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "plugin")
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Of photos with other positions than their files say; one is missing, one row is unusable."""
    paths = write_photos(tmp_path / "photos", COUNT)
    paths[4].unlink()
    lines = [f"{path.name},{10 + n},20,Ann" for n, path in enumerate(paths)]
    file = tmp_path / "photos" / "list.csv"
    file.write_text("\n".join(["uri,lat,lon,author", *lines, "x.jpg,99,0,Bob"]))
    return file


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.iterdir()) for row in pq.read_table(file).to_pylist()]


def test_files_say_of_each_photo_what_the_manifest_does_and_its_embedding(
    manifest: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    output = tmp_path / "vectors"
    done = embed_into_files(
        manifest, output, model=MODEL, rows=3, progress=lambda at, _: seen.append(at)
    )
    assert (done.parts, done.photos, done.rejected, done.unusable) == (3, COUNT, 1, 1)
    assert (done.model, done.dimension, seen[-1]) == (MODEL, 12, COUNT)
    found = rows(output)
    assert [row["uri"] for row in found] == [
        str(manifest.parent / f"{number}.jpg") for number in range(COUNT)
    ]
    assert {(row["lat"] - 10, row["lon"], row["author"]) for row in found} == {
        (number, 20, "Ann") for number in range(COUNT)
    }
    missing = found.pop(4)
    assert (missing["embedding"], missing["sha256"]) == (None, None)
    assert "No such file" in missing["error"]
    for row in found:
        expected = embed_query(backbone(), Path(row["uri"]).read_bytes())
        assert row["embedding"] == pytest.approx(expected.tolist())
        assert row["error"] is None


def test_only_files_that_are_missing_are_made(manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors"
    made = embed_into_files(manifest, output, model=MODEL, rows=3)
    whole = {file: file.read_bytes() for file in output.iterdir()}
    lost = min(whole)
    lost.unlink()
    again = embed_into_files(manifest, output, model=MODEL, rows=3)
    assert (again.parts, again.were_there, again.photos) == (1, made.parts - 1, 3)
    assert {file: file.read_bytes() for file in output.iterdir()} == whole
    # Other photos, or another model, are other files.
    manifest.write_text(manifest.read_text().replace("10,20,Ann", "10,21,Ann"))
    assert embed_into_files(manifest, output, model=MODEL, rows=3).parts == 1
    assert embed_into_files(manifest, output, model=f"{MODEL}+views5", rows=3).were_there == 0


def test_an_object_store_takes_them_too(manifest: Path) -> None:
    done = embed_into_files(manifest, "memory://vectors/run", model=MODEL, rows=4)
    assert (done.parts, done.were_there) == (2, 0)
    store = fsspec.filesystem("memory")
    names = store.ls("memory://vectors/run", detail=False)
    with store.open(names[0], "rb") as stream:
        assert len(pq.read_table(stream)) == 4
    assert embed_into_files(manifest, "memory://vectors/run", model=MODEL, rows=4).were_there == 2


def test_an_import_brings_the_photos_and_their_embeddings(
    database: Database, manifest: Path, tmp_path: Path
) -> None:
    output = tmp_path / "vectors"
    embed_into_files(manifest, output, model=MODEL, rows=3)
    files = sorted(output.iterdir())
    done = import_embeddings(database, files, model="mine", collection="all", photos=True)
    assert (done.rows, done.embedded, done.rejected) == (COUNT, COUNT - 1, 1)
    for name, vector in stored(database).items():
        expected = embed_query(backbone(), (manifest.parent / name).read_bytes())
        assert np.allclose(vector, expected, atol=1e-3)


def test_the_command_says_what_it_made(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine("", capsys)
    asked = ("embeddings", "make", manifest, "-o", tmp_path / "vectors", "--model", MODEL)
    said = run(*asked)
    assert said.code == 3  # some were rejected
    assert f"{COUNT} photos in 1 file of {tmp_path}/vectors, 1 rejected" in " ".join(
        said.out.split()
    )
    assert run(*asked, "--json").json()["were_there"] == 1


def test_what_cannot_be_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model"):
        embed_into_files(manifest, tmp_path / "vectors", model="no/model")
    with pytest.raises(InputError, match="rows: 0"):
        embed_into_files(manifest, tmp_path / "vectors", model=MODEL, rows=0)
    with pytest.raises(InputError, match="cannot be read"):
        embed_into_files(manifest, manifest / "in-a-file", model=MODEL)
