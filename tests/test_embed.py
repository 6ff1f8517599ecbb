"""The embedding pipeline against a real database: what is stored, rejected, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geosearch.database.connection import Database
from geosearch.errors import InputError, ModelError, NotFoundError, Reason
from geosearch.features import Backbone, Description, embed, embed_files, embed_query
from geosearch.features.extraction import Rejected
from geosearch.features.model_rows import (
    find_model,
    list_models,
    register_model,
    require_model,
)
from geosearch.features.preprocessing import Preprocessing
from geosearch.ingest import ingest
from geosearch.query import Query
from tests.command_line import CommandLine
from tests.photo_files import gps, photo, photos_at
from tests.rows import fetch


class MeanColours:
    """A network one can compute by hand: the mean colour of each quarter, 12 numbers."""

    device = "cpu"

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.before = before

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.before()
        half = pixels.shape[1] // 2
        quarters = [
            part.mean(axis=(1, 2))
            for part in (
                pixels[:, :half, :half],
                pixels[:, :half, half:],
                pixels[:, half:, :half],
                pixels[:, half:, half:],
            )
        ]
        colours = np.concatenate(quarters, axis=1).astype(np.float32)
        lengths = np.linalg.norm(colours, axis=1, keepdims=True)
        unit: NDArray[np.float32] = colours / np.maximum(lengths, 1e-12)
        return unit


DESCRIPTION = Description(
    name="test/mean-colours",
    architecture="mean-colours",
    weights_source="none",
    weights_sha256="00",
    preprocessing=Preprocessing(16, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    pooling="avg",
    dimension=12,
    licence=None,
)


def backbone(before: Callable[[], object] = lambda: None) -> Backbone:
    return Backbone(DESCRIPTION, MeanColours(before))


def write_photos(folder: Path, count: int) -> list[Path]:
    return photos_at(folder, [(1 + n / 10, -n / 10) for n in range(count)], size=(32, 24))


def put(database: Database, folder: Path, count: int, collection: str = "test") -> list[Path]:
    """`count` photos on disk and in the database."""
    paths = write_photos(folder, count)
    assert ingest(database, [folder], collection=collection).added == count
    return paths


def stored(database: Database) -> dict[str, NDArray[np.float32]]:
    """File name → embedding, checking that no photo has two."""
    with database.connection() as connection:
        rows = connection.execute(
            """
            SELECT uri, embedding::real[]
            FROM geosearch.embeddings JOIN geosearch.photos ON photos.id = photo_id
            """
        ).fetchall()
    assert len({uri for uri, _ in rows}) == len(rows)
    return {Path(uri).name: np.asarray(value, dtype=np.float32) for uri, value in rows}


def rejects(database: Database) -> dict[str, tuple[str, str]]:
    """File name → (stage, reason) of the embedding's rejects."""
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT uri, stage, reason FROM geosearch.rejects WHERE model_id IS NOT NULL"
        ).fetchall()
    return {Path(uri).name: (stage, reason) for uri, stage, reason in rows}


def test_every_located_photo_gets_its_embedding_and_copies_of_its_columns(
    database: Database, tmp_path: Path
) -> None:
    paths = put(database, tmp_path / "photos", 40)
    seen: list[tuple[int, int | None]] = []

    summary = embed(
        database,
        backbone(),
        batch_size=7,
        workers=3,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert (summary.pending, summary.embedded, summary.rejected, summary.gone) == (40, 40, 0, 0)
    assert seen[0] == (0, 40)
    assert seen[-1] == (40, 40)
    vectors = stored(database)
    for path in paths:
        expected = embed_query(backbone(), path.read_bytes())
        assert vectors[path.name] == pytest.approx(expected, abs=1e-3)  # float16
    with database.connection() as connection:
        different = connection.execute(
            """
            SELECT count(*)
            FROM geosearch.embeddings AS e JOIN geosearch.photos AS p ON p.id = e.photo_id
            WHERE NOT ST_Equals(e.geom, p.geom)
                OR (e.collection_id, e.accuracy_m, e.taken_at, e.author, e.licence)
                IS DISTINCT FROM (p.collection_id, p.accuracy_m, p.taken_at, p.author, p.licence)
            """
        ).fetchone()
        run = connection.execute(
            """
            SELECT kind, model_id, counts ->> 'embedded', finished_at >= started_at
            FROM geosearch.runs WHERE id = %s
            """,
            (summary.run_id,),
        ).fetchone()
    assert different == (0,)
    assert run == ("embed", summary.model_id, "40", True)


def test_a_second_run_has_nothing_to_do_and_a_third_does_what_came_since(
    database: Database, tmp_path: Path
) -> None:
    put(database, tmp_path / "a", 5)
    assert embed(database, backbone()).embedded == 5
    again = embed(database, backbone())
    assert (again.pending, again.embedded) == (0, 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "new.jpg").write_bytes(photo(gps(1, 1), shade=99))
    ingest(database, [tmp_path / "b"], collection="test")
    assert embed(database, backbone()).embedded == 1
    assert len(stored(database)) == 6


def test_only_the_collection_asked_for_is_embedded(database: Database, tmp_path: Path) -> None:
    put(database, tmp_path / "a", 3, "first")
    put(database, tmp_path / "b", 4, "second")
    assert embed(database, backbone(), collection="second").embedded == 4
    with pytest.raises(NotFoundError, match="third"):
        embed(database, backbone(), collection="third")


def test_photos_without_a_position_are_embedded_apart(database: Database, tmp_path: Path) -> None:
    (tmp_path / "unlocated.jpg").write_bytes(photo(size=(300, 200)))
    (tmp_path / "located.jpg").write_bytes(photo(gps(1, 2), size=(300, 200)))
    ingest(database, [tmp_path], collection="test")
    assert embed(database, backbone()).embedded == 2
    assert embed(database, backbone()).pending == 0
    assert fetch(
        database,
        "SELECT uri, e.photo_id IS NOT NULL, q.photo_id IS NOT NULL"
        " FROM geosearch.photos AS p LEFT JOIN geosearch.embeddings AS e ON e.photo_id = p.id"
        " LEFT JOIN geosearch.queries AS q ON q.photo_id = p.id"
        " WHERE (e.photo_id IS NULL) <> (q.photo_id IS NULL) ORDER BY p.id",
    ) == [
        (str(tmp_path / "located.jpg"), True, False),
        (str(tmp_path / "unlocated.jpg"), False, True),
    ]


def test_photos_that_fail_are_reject_rows_and_stop_nothing(
    database: Database, tmp_path: Path
) -> None:
    paths = put(database, tmp_path, 6)
    missing, changed, corrupt, black = paths[:4]
    kept = missing.read_bytes()
    missing.unlink()
    changed.write_bytes(photo(gps(0, 1), shade=77))
    corrupt.write_bytes(kept[:200])
    black.write_bytes(photo(gps(0, 2), size=(8, 8), format="JPEG", shade=3))
    _blacken(black)
    _accept(database, corrupt)
    _accept(database, black)

    first = embed(database, backbone())

    assert (first.pending, first.embedded, first.rejected) == (6, 2, 4)
    found = rejects(database)
    assert found[missing.name] == ("read", Reason.UNREADABLE)
    assert found[changed.name] == ("read", Reason.UNREADABLE)
    assert found[corrupt.name][0] == "decode"
    assert found[black.name] == ("embed", Reason.EXTRACTION_FAILED)

    # What could not be read is tried again, the rest only when asked for; no row doubles.
    missing.write_bytes(kept)
    second = embed(database, backbone())
    assert (second.pending, second.embedded, second.rejected, second.skipped) == (2, 1, 1, 2)
    assert set(rejects(database)) == {changed.name, corrupt.name, black.name}
    third = embed(database, backbone(), retry=True)
    assert (third.pending, third.embedded, third.rejected, third.skipped) == (3, 0, 3, 0)
    assert len(rejects(database)) == 3


def _blacken(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (16, 16)).save(path)


def _accept(database: Database, path: Path) -> None:
    """Make the photo's row expect the file as it is now."""
    with database.connection() as connection:
        changed = connection.execute(
            "UPDATE geosearch.photos SET sha256 = sha256(%s) WHERE uri = %s",
            (path.read_bytes(), str(path)),
        )
        assert changed.rowcount == 1


def test_a_photo_deleted_during_the_run_is_left_out(database: Database, tmp_path: Path) -> None:
    paths = put(database, tmp_path, 5)

    def delete() -> None:
        with database.connection() as connection:
            connection.execute("DELETE FROM geosearch.photos WHERE uri = %s", (str(paths[2]),))

    summary = embed(database, backbone(before=delete))
    assert (summary.pending, summary.embedded, summary.gone) == (5, 4, 1)
    assert set(stored(database)) == {path.name for path in paths} - {paths[2].name}


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_numbers_below_one_are_refused(database: Database, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: 0"):
        embed(database, backbone(), **{name: 0})  # type: ignore[arg-type]


KILLED = """
import sys, time
from pathlib import Path
from geosearch.database.connection import Database
from geosearch.database import leases
from geosearch.features import embed, embedding_run
from tests.test_embed import backbone

leases._TERM_S, leases._RENEWED_S = 1.5, 0.3
embedding_run.CHUNK = 4
with Database(sys.argv[1]) as database:
    embed(database, backbone(before=lambda: time.sleep(0.05)), batch_size=2, workers=2)
"""


def test_a_run_killed_in_the_middle_loses_and_doubles_nothing(
    database: Database, tmp_path: Path
) -> None:
    paths = put(database, tmp_path, 120)
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, database.url],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    try:
        deadline = time.monotonic() + 60
        while len(stored(database)) < 20:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL

    rest = embed(database, backbone())

    assert 0 < rest.pending <= 100
    assert rest.embedded == rest.pending
    vectors = stored(database)
    assert set(vectors) == {path.name for path in paths}
    for path in paths:
        expected = embed_query(backbone(), path.read_bytes())
        assert vectors[path.name] == pytest.approx(expected, abs=1e-3)
    with database.connection() as connection:
        runs = connection.execute(
            "SELECT finished_at IS NULL FROM geosearch.runs WHERE kind = 'embed' ORDER BY id"
        ).fetchall()
    assert runs == [(True,), (False,)]


def test_models_with_different_weights_have_rows_of_their_own(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connection() as connection:
        first = register_model(connection, DESCRIPTION)
        same = register_model(connection, replace(DESCRIPTION, name="test/other-name"))
        other = register_model(connection, replace(DESCRIPTION, weights_sha256="11", dimension=5))
        with pytest.raises(ModelError, match="16,001 numbers"):
            register_model(connection, replace(DESCRIPTION, dimension=16_001))
        assert same == first
        assert other.id != first.id
        assert [model.id for model in list_models(connection)] == [first.id, other.id]
        assert require_model(connection, DESCRIPTION) == first
        # By name: the newest; by id: that one.
        assert find_model(connection, "test/mean-colours") == other
        assert find_model(connection, str(first.id)) == first
        # A file by any way to it.
        monkeypatch.chdir(tmp_path)
        tuned = replace(DESCRIPTION, name=f"file:{tmp_path}/tuned.safetensors", weights_sha256="12")
        tuned_row = register_model(connection, tuned)
        for spec in (tuned.name, "file:tuned.safetensors", "file:./a/../tuned.safetensors"):
            assert find_model(connection, spec) == tuned_row
        assert first.preprocessing == DESCRIPTION.preprocessing.to_json()
        assert "torch" in first.framework
        with pytest.raises(NotFoundError, match="nothing is embedded") as error:
            find_model(connection, "test/unknown")
        assert "test/mean-colours" in (error.value.remedy or "")
        with pytest.raises(NotFoundError, match="geosearch embed --model") as error:
            require_model(connection, replace(DESCRIPTION, pooling="max"))
        assert "Models here: test/mean-colours" in (error.value.remedy or "")


def test_embed_files_keeps_the_order_and_says_what_is_wrong(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 40)
    paths[17].write_bytes(b"no photo")
    found = list(embed_files(backbone(), map(str, paths)))
    assert [item.uri for item in found] == [str(path) for path in paths]
    bad = found.pop(17)
    assert isinstance(bad, Rejected)
    assert (bad.stage, bad.rejection.reason) == ("decode", Reason.UNDECODABLE)
    for item, path in zip(found, paths[:17] + paths[18:], strict=True):
        assert isinstance(item, Query)
        assert item.embedding.tolist() == embed_query(backbone(), path.read_bytes()).tolist()


def test_the_commands_embed_and_list_models(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(database.url, capsys)
    assert "geosearch ingest adds photos" in command("embed", "--device", "cpu").out
    paths = put(database, tmp_path, 3)
    paths[1].unlink()

    result = command("embed", "--collection", "test", "--device", "cpu", "--json")

    assert result.code == 3
    summary = result.json()
    assert summary["model"] == "packaged/efficientnet-lite0"
    assert (summary["pending"], summary["embedded"], summary["rejected"]) == (3, 2, 1)
    listed = command("models", "list", "--json")
    assert listed.code == 0
    (model,) = listed.json()
    assert (model["name"], model["dimension"], model["photos"]) == (summary["model"], 1280, 2)
    assert model["weights_sha256"].startswith("579344248a93")
    assert "579344248a93" in command("models", "list").out


def test_an_edited_photo_ingested_again_is_embedded_anew(
    database: Database, tmp_path: Path
) -> None:
    edited, *_ = put(database, tmp_path, 3)
    embed(database, backbone())
    before = stored(database)
    edited.write_bytes(photo(gps(0, 1), shade=77))
    ingest(database, [tmp_path], collection="test")
    summary = embed(database, backbone())
    assert (summary.pending, summary.embedded, summary.rejected) == (1, 1, 0)
    after = stored(database)
    assert after.keys() == before.keys()
    assert {name for name in after if (after[name] != before[name]).any()} == {edited.name}
