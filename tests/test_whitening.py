"""Whitened models: fitted to stored embeddings, refused where worse, the same in Python and SQL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosearch.database.collection_rows import ensure_collection, set_private
from geosearch.database.connection import Database
from geosearch.database.copying import copy_embeddings
from geosearch.defaults import DEFAULT_MODEL
from geosearch.deletion.record_deletion import delete_model
from geosearch.deletion.renaming import rename_collection, rename_model
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.features import backbones
from geosearch.features.backbones import resolve
from geosearch.features.description import Source
from geosearch.features.embedding_run import embed_pending
from geosearch.features.model_rows import find_model, register_model
from geosearch.features.unit_vectors import normalised
from geosearch.features.whitening import WhitenedBackbone, Whitening, find_backbone
from geosearch.features.whitening_fit import whiten
from tests.command_line import CommandLine
from tests.rows import add_photos, fetch

Embeddings = NDArray[np.float32]

#: Pairs of photos, each at one place of its own.
PAIRS = 120


#: Of the default model, as if its embeddings were shorter: fits take no time then.
DESCRIPTION = replace(resolve(DEFAULT_MODEL).description, dimension=40)


@pytest.fixture(autouse=True)
def _short_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "resolve", lambda _: Source(DESCRIPTION, dict))


def put(database: Database, *, loud: bool, collection: str = "test", seed: int = 0) -> Embeddings:
    """Pairs of photos as the default model may embed them; their embeddings, in order.

    What tells places apart lies along 12 directions, beside two others: `loud` ones drown it.
    """
    rng = np.random.default_rng(seed)
    place = np.repeat(np.arange(PAIRS), 2)
    embeddings = np.full((2 * PAIRS, DESCRIPTION.dimension), 0.02)
    embeddings[:, :12] += 0.2 * rng.normal(size=(PAIRS, 12))[place]
    embeddings[:, 12:14] += (0.6 if loud else 0.01) * rng.normal(size=(2 * PAIRS, 2))
    embeddings += 0.002 * rng.normal(size=embeddings.shape)
    with database.connection() as connection:
        model = register_model(connection, DESCRIPTION)
        lat = (place // 11 * 2.0 - 10).astype(np.float64)
        lon = (place % 11 * 3.0 + np.tile([0, 0.01], PAIRS)).astype(np.float64)
        keys = add_photos(connection, lat, lon, collection=collection)
        made = normalised(embeddings.astype(np.float32))
        copy_embeddings(connection, model.id, keys, made)
    return made


def pairs_found(embeddings: Embeddings) -> float:
    """The share of photos whose nearest neighbour is the other of their pair."""
    alike = embeddings @ embeddings.T - 2 * np.eye(len(embeddings))
    return float((alike.argmax(axis=1) == np.arange(len(embeddings)) ^ 1).mean())


def stored(database: Database, model: str) -> Embeddings:
    with database.connection() as connection:
        key = find_model(connection, model).id
    rows = fetch(
        database,
        "SELECT embedding FROM geosearch.embeddings WHERE model_id = %s ORDER BY photo_id",
        key,
    )
    return np.stack([row[0].to_numpy() for row in rows]).astype(np.float32)


def test_a_whitened_model_finds_places_that_louder_directions_hid(database: Database) -> None:
    put(database, loud=True)
    made = whiten(database, collections=["test"], dim=14)
    assert made.model == f"whitened:{DEFAULT_MODEL}"
    assert (made.references, made.held_out) == (2 * PAIRS, 2 * PAIRS)
    assert made.hits > made.base_hits + 0.2
    assert made.gain[1] > 0
    vectors = stored(database, made.model)
    assert vectors.shape == (2 * PAIRS, 14)
    assert pairs_found(vectors) > pairs_found(stored(database, DEFAULT_MODEL)) + 0.3


def test_python_and_sql_whiten_as_what_is_stored(database: Database) -> None:
    put(database, loud=True)
    made = whiten(database, dim=14, power=0.5)
    backbone = find_backbone(database, made.model, at_once=False)
    assert isinstance(backbone, WhitenedBackbone)
    base, vectors = stored(database, DEFAULT_MODEL), stored(database, made.model)
    assert np.abs(backbone.whitening.apply(base) - vectors).max() < 1e-3
    rows = fetch(
        database,
        "SELECT geosearch.whiten(embedding, %s) FROM geosearch.embeddings WHERE model_id = "
        "geosearch.find_model(%s) ORDER BY photo_id LIMIT 20",
        made.model,
        DEFAULT_MODEL,
    )
    assert np.abs(np.stack([row[0].to_numpy() for row in rows]) - vectors[:20]).max() < 2e-3
    ((first,),) = fetch(
        database,
        "SELECT array_agg(photo_id ORDER BY rank) FROM geosearch.nearest_to_photo("
        "(SELECT min(id) FROM geosearch.photos), %s, 1)",
        made.model,
    )
    assert len(first) == 1


def test_what_is_no_whitened_model_is_said_in_sql(database: Database) -> None:
    put(database, loud=True)
    with pytest.raises(Exception, match="is not a whitened one"):
        fetch(database, "SELECT geosearch.whiten('[1,2]', %s)", DEFAULT_MODEL)


def test_a_whitening_that_may_be_worse_is_refused_unless_forced(database: Database) -> None:
    put(database, loud=False)
    with pytest.raises(InputError, match="may be worse than packaged/efficientnet-lite0"):
        whiten(database, dim=2)
    assert fetch(database, "SELECT FROM geosearch.models WHERE name LIKE 'whitened:%%'") == []
    assert whiten(database, dim=2, force=True).gain[0] < 0


def test_too_few_references_and_a_taken_name_are_refused(database: Database) -> None:
    with pytest.raises(NotFoundError, match="nothing is embedded"):
        whiten(database, dim=14)
    put(database, loud=True)
    with database.connection() as connection:
        keys = add_photos(connection, np.arange(9.0), np.arange(9.0), collection="few")
        model = register_model(connection, DESCRIPTION)
        copy_embeddings(connection, model.id, keys, np.eye(9, 40, dtype=np.float32))
    with pytest.raises(InputError, match="too few to fit 40 dimensions"):
        whiten(database, collections=["few"], dim=40)
    whiten(database, dim=14)
    with pytest.raises(InputError, match="there is a model"):
        whiten(database, dim=13)
    assert whiten(database, dim=13, name="short").model == "whitened:short"


def test_later_photos_are_whitened_as_far_as_the_model_itself_embedded_them(
    database: Database,
) -> None:
    put(database, loud=True)
    made = whiten(database, collections=["test"], dim=14)
    put(database, loud=True, collection="later", seed=1)
    with database.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="not embedded")
    backbone = find_backbone(database, made.model, at_once=False)
    summary = embed_pending(database, backbone)
    assert (summary.pending, summary.embedded) == (2 * PAIRS, 2 * PAIRS)
    assert embed_pending(database, backbone).pending == 0


def test_whitened_models_go_before_what_they_come_of(database: Database) -> None:
    put(database, loud=True)
    made = whiten(database, dim=14)
    with pytest.raises(DatabaseError, match=f"is what {made.model} whitens"):
        delete_model(database, DEFAULT_MODEL)
    assert delete_model(database, made.model).goes["whitenings"] == 1
    assert delete_model(database, DEFAULT_MODEL).goes["embeddings"] == 2 * PAIRS


def test_names_of_whitened_models_tell_them_apart(database: Database) -> None:
    put(database, loud=True)
    made = whiten(database, dim=14, collections=["test"])
    for old, new in ((made.model, "other"), (DEFAULT_MODEL, "whitened:other")):
        with pytest.raises(InputError, match="begin with whitened:"):
            rename_model(database, old, new)
    rename_model(database, made.model, "whitened:other")
    rename_collection(database, "test", "tests")
    backbone = find_backbone(database, "whitened:other", at_once=False)
    assert backbone.description.dimension == 14
    filters = fetch(database, "SELECT filter FROM geosearch.whitenings")
    assert filters == [({"collections": ["tests"]},)]


def test_what_is_fitted_to_a_private_collection_embeds_no_other(database: Database) -> None:
    put(database, loud=True)
    put(database, loud=True, collection="clients", seed=1)
    with database.connection() as connection:
        set_private(connection, "clients", True)
    with pytest.raises(InputError, match="private collection 'clients' rests on no other"):
        whiten(database, dim=14)
    assert fetch(database, "SELECT FROM geosearch.whitenings") == []
    made = whiten(database, dim=14, collections=["clients"], name="clients")
    assert made.photos == 2 * PAIRS
    with database.connection() as connection:
        clients = ensure_collection(connection, "clients")
    assert fetch(database, "SELECT collection_ids FROM geosearch.whitenings") == [([clients],)]
    backbone = find_backbone(database, made.model, at_once=False)
    assert embed_pending(database, backbone).pending == 0
    with pytest.raises(InputError, match="embeds no other"):
        embed_pending(database, backbone, collection="test")
    public = whiten(database, dim=14, collections=["test"])
    assert public.photos == 4 * PAIRS


def test_the_command_says_what_it_found_on_held_out_references(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, loud=True)
    command = CommandLine(database.url, capsys)
    result = command("whiten", "--dim", 14, "--collection", "test")
    assert result.code == 0, result.err
    assert "240 held-out references" in result.out
    assert "240 photos embedded" in result.out
    again = command("whiten", "--dim", 13, "--collection", "test", "--name", "other", "--json")
    assert again.code == 0, again.err
    assert again.json()["photos"] == 240


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_at_power_one_half_all_directions_vary_alike(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 3, 4)
    points = (rng.normal(size=(500, 4)) * spread).astype(np.float32)
    mean = points.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((points - mean).T.astype(float)))
    whitening = Whitening(mean, axes.T.astype(np.float32), values, 0.5)
    along = (points - mean) @ whitening.axes.T / values**0.5
    assert np.allclose(np.cov(along.T), np.eye(4), atol=1e-3)
    lengths = np.linalg.norm(replace(whitening, power=power).apply(points), axis=1)
    assert np.allclose(lengths, 1, atol=1e-5)
