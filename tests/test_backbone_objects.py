"""A backbone that is loaded already stands wherever a spec does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import geosearch
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError, ModelError
from geosearch.features import Backbone, load_backbone
from geosearch.features.embedded_ingest import EmbeddedIngest
from geosearch.retrieval.indexes import find_index
from geosearch.training.training_options import Training
from tests.photo_files import photos_at
from tests.test_embed import DESCRIPTION, MeanColours, backbone

PLACES = [(10 + number % 4 / 10, 20 + number // 4) for number in range(24)]


@pytest.fixture
def gs(database: Database, tmp_path: Path) -> Iterator[Geosearch]:
    """A database with photos at `PLACES`, `0.jpg` and so on, embedded by an object alone."""
    photos_at(tmp_path, PLACES, size=(32, 24))
    with geosearch.connect(database.url) as opened:
        made = opened.ingest(tmp_path, collection="mine", embed=backbone())
        assert isinstance(made, EmbeddedIngest)
        assert made.embedding.embedded == len(PLACES)
        yield opened


def test_everything_that_takes_a_spec_takes_a_backbone(gs: Geosearch, tmp_path: Path) -> None:
    model: Backbone = backbone()
    assert gs.embed(model).pending == 0
    assert gs.index(model, force=True).rows == len(PLACES)
    asked = tmp_path / "5.jpg"
    assert gs.nearest(asked, model=model).lat[0] == pytest.approx(PLACES[5][0])
    assert gs.localize(asked, model=model).lon == pytest.approx(PLACES[5][1], abs=1)
    (one,) = gs.localize_many([asked], model=model, k=1)
    assert not isinstance(one, geosearch.Failure)
    assert (one.lat, one.lon) == pytest.approx(PLACES[5], abs=1e-6)
    (stored,) = gs.localize_stored([one.neighbours.photo_id[0]], model=model, record=False)
    assert not isinstance(stored, geosearch.Failure)
    assert gs.reproduce(one.id or 0).same
    assert len(gs.evaluate(None, model=model).errors_km) == len(PLACES)
    assert gs.duplicates(model=model) == []
    exported = gs.export_embeddings(tmp_path / "out.npy", model=model)
    assert np.load(tmp_path / "out.npy").shape == (exported.rows, 12)
    whitened = gs.whiten(model, dim=4, force=True)
    assert whitened.base == DESCRIPTION.name
    # From here on its name is known, also to models that are made of it.
    assert len(gs.nearest(asked, model=whitened.model)) == 20
    assert len(gs.nearest(asked, model=DESCRIPTION.name)) == 20
    assert gs.whiten(DESCRIPTION.name, name="again", dim=5, force=True).dimension == 5


def test_what_is_no_model_is_refused(gs: Geosearch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model"):
        gs.localize(tmp_path / "5.jpg", model=7)  # type: ignore[arg-type]
    with (
        geosearch.connect(gs.database.url) as other,
        pytest.raises(ModelError, match="unknown model"),
    ):
        other.nearest(tmp_path / "5.jpg", model=DESCRIPTION.name)


def test_a_training_begins_with_the_model_of_a_backbone() -> None:
    model = load_backbone(at_once=False)
    begun = Training(backbone=model)  # type: ignore[arg-type]
    assert begun == Training(backbone=model.description.name)


class Wide:
    """Random outputs, as many as MegaLoc has, of the colours of a photo."""

    device = "cpu"
    dimension = 8448

    def __init__(self) -> None:
        self.weights = np.random.default_rng(0).normal(size=(12, self.dimension))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = (MeanColours()(pixels) - 0.29) @ self.weights
        unit: NDArray[np.float32] = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
        return unit.astype(np.float32)


@pytest.mark.system
def test_embeddings_of_8448_numbers_are_indexed_by_their_signs_with_known_recall(
    database: Database, tmp_path: Path
) -> None:
    photos_at(tmp_path, [(n % 20, n // 20) for n in range(120)], size=(32, 24))
    description = replace(DESCRIPTION, name="test/wide", dimension=Wide.dimension)
    model = Backbone(description, Wide())
    with geosearch.connect(database.url) as gs:
        gs.ingest(tmp_path, collection="mine")
        assert gs.embed(model).embedded == 120
        indexed = gs.index(model, force=True, k=10, recall=0.95)
        with database.connection() as connection:
            index = find_index(connection, gs.embed(model).model_id)
        assert index is not None
        assert index.quantized
        assert indexed.measured is not None
        # Of what the index finds: so few are faster compared one by one.
        assert min(indexed.measured.curve[-1].recalls) >= 0.95
        asked = tmp_path / "77.jpg"
        near, exact = (gs.nearest(asked, 10, model=model, exact=each) for each in (False, True))
        assert near.photo_id[0] == exact.photo_id[0]
        assert np.isin(near.photo_id, exact.photo_id).mean() >= 0.8
        assert near.distance[:1] == pytest.approx([0], abs=1e-3)
        answer = gs.localize(asked, model=model, exclude_self=True, k=10)
        assert len(answer.neighbours) == 10
