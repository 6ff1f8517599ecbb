"""Answers by geocells: probabilities, places, regions, filters, and searches in likely cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.evaluation import Labelled, QuerySet, evaluate, evaluate_each
from geosearch.export.map import draw_map
from geosearch.export.surface import write_density
from geosearch.features.model_rows import Model, find_model
from geosearch.geocells import (
    Classifier,
    Geocells,
    find_partition,
    load_classifiers,
    make_partition,
    quadtree,
    require_classifiers,
    store_classifiers,
)
from geosearch.geocells.classifier_fit import fit_classifiers, tempered
from geosearch.localization import Localization, Parameters, Request, load, reproduce
from geosearch.localization.answer_rows import save
from geosearch.localization.localizing import answer_query, chosen_parameters
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter, where
from geosearch.retrieval.duplicates import NOTHING
from geosearch.sphere import Array, great_circle_km, lat_lon
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos

MODEL, DIMENSION = "test/places", 24
REFERENCES, QUERIES = 600, 30
WORLD = where(collections="world")


@dataclass
class World:
    """Reference photos and queries whose embeddings tell, more or less, where they are."""

    database: Database
    model: Model
    lat: Array
    lon: Array
    vectors: NDArray[np.float32]
    queries: QuerySet

    def answer(
        self, request: Request | Parameters, passing: Filter = EVERYTHING, query: int = 0
    ) -> Localization:
        """The answer for one of the queries, recorded and not yet read back."""
        with self.database.connection() as connection:
            chosen = chosen_parameters(connection, self.model, passing, request)
        given = answer_query(
            self.database,
            self.model,
            Query("/query.jpg", bytes(32), self.vectors[REFERENCES + query]),
            chosen,
            passing,
        )
        given = given.with_truth(*self.queries.queries[query].truth)
        with self.database.connection() as connection:
            (key,) = save(connection, [given])
        return replace(given, id=key)


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(11)
    # Photos in towns: a place has looks of its own, and some of its neighbourhood's.
    towns = rng.normal(size=(40, 3))
    points = towns[rng.integers(0, 40, REFERENCES + QUERIES)]
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    points += 0.03 * rng.normal(size=points.shape)
    lat, lon = lat_lon(points)
    looks = np.cos(
        points @ rng.normal(scale=2.5, size=(3, DIMENSION)) + rng.uniform(0, 6, DIMENSION)
    )
    looks += 0.35 * rng.normal(size=looks.shape)
    vectors = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)
    with module_database.connection() as connection:
        key = add_model(connection, DIMENSION, MODEL)
        photos = add_photos(connection, lat[:REFERENCES], lon[:REFERENCES], collection="world")
        asked = add_photos(connection, lat[REFERENCES:], lon[REFERENCES:], collection="queries")
        add_embeddings(connection, key, [*photos, *asked], vectors)
        model = find_model(connection, MODEL)
    for name, options in {
        "coarse": {"kind": "clusters", "cells": 10},
        "fine": {"max_photos": 30, "min_photos": 5},
    }.items():
        make_partition(module_database, name, where=WORLD, **options)  # type: ignore[arg-type]
    fit_classifiers(module_database, ["coarse", "fine"], model=MODEL, where=WORLD, epochs=15)
    queries = [
        Labelled(f"/query/{number}.jpg", (float(lat[row]), float(lon[row])), None, photo.photo_id)
        for number, (row, photo) in enumerate(
            zip(range(REFERENCES, REFERENCES + QUERIES), asked, strict=True)
        )
    ]
    return World(
        module_database, model, lat, lon, vectors, QuerySet("queries", tuple(queries), stored=True)
    )


@pytest.fixture(scope="module")
def geocells(world: World) -> Geocells:
    with world.database.connection() as connection:
        return Geocells.of(load_classifiers(connection, world.model.id))


def _classifier(photos: int, cells: int, seed: int, weights: float = 1.0) -> Classifier:
    """A classifier with random weights over a quadtree of random photos."""
    rng = np.random.default_rng(seed)
    lat, lon = lat_lon(rng.normal(size=(photos, 3)))
    partition = quadtree(f"p{seed}", lat, lon, max_photos=photos // cells)
    shape = len(partition), DIMENSION
    bias = np.log(partition.photos / photos).astype(np.float32)
    return Classifier(partition, (weights * rng.normal(size=shape)).astype(np.float32), bias)


def test_a_classifier_is_the_softmax_of_a_linear_map() -> None:
    item = _classifier(200, 8, seed=0)
    embeddings = np.random.default_rng(1).normal(size=(5, DIMENSION)).astype(np.float32)
    expected = softmax(embeddings.astype(float) @ item.weights.T.astype(float) + item.bias, axis=1)
    np.testing.assert_allclose(np.exp(item.log_probabilities(embeddings)), expected, rtol=1e-9)


def test_one_partition_alone_keeps_its_probabilities() -> None:
    item = _classifier(200, 8, seed=0)
    embeddings = np.random.default_rng(1).normal(size=(5, DIMENSION)).astype(np.float32)
    np.testing.assert_allclose(
        Geocells.of([item]).log_masses(embeddings), item.log_probabilities(embeddings), atol=1e-9
    )


def test_several_partitions_are_pooled_by_their_densities_of_photos() -> None:
    coarse, fine = _classifier(300, 4, seed=1), _classifier(400, 16, seed=2)
    embedding = np.random.default_rng(3).normal(size=(1, DIMENSION)).astype(np.float32)
    (masses,) = np.exp(Geocells.of([fine, coarse]).log_masses(embedding))
    expected = []
    for cell in range(len(fine.partition)):
        photos = fine.partition.photos[cell]
        ratios = []
        for item in (coarse, fine):
            (within,) = item.partition.locate(fine.partition.lat[cell], fine.partition.lon[cell])
            (probabilities,) = np.exp(item.log_probabilities(embedding))
            share = item.partition.photos[within] / item.partition.photos.sum()
            ratios.append(probabilities[within] / share)
        expected.append(photos * np.sqrt(ratios[0] * ratios[1]))
    np.testing.assert_allclose(masses, np.array(expected) / sum(expected), rtol=1e-9)


def test_classifiers_that_know_nothing_say_where_photos_are() -> None:
    # However many fine cells a coarse one is divided into.
    items = [_classifier(300, cells, seed=4, weights=0.0) for cells in (2, 10, 60)]
    geocells = Geocells.of(items)
    embedding = np.ones((1, DIMENSION), np.float32)
    (masses,) = np.exp(geocells.log_masses(embedding))
    np.testing.assert_allclose(masses, geocells.cells.photos / 300, rtol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_regions_are_the_smallest_areas_of_whole_cells_that_hold_their_level(
    geocells: Geocells, world: World, share: float
) -> None:
    likely = geocells.likely(world.vectors[REFERENCES])
    cells, mass = likely.cells, likely.mass
    region = likely.region(share)
    assert region.geometry.is_valid
    inside = np.array(
        [region.geometry.contains(polygon.representative_point()) for polygon in cells.polygons()]
    )
    assert mass[inside].sum() >= share
    assert region.area_km2 == pytest.approx(cells.area_km2[inside].sum())
    density = mass / cells.area_km2
    assert density[inside].min() >= density[~inside].max()
    assert mass[inside].sum() - mass[inside][density[inside].argmin()] < share


def test_the_level_of_a_place_says_which_regions_hold_it(geocells: Geocells, world: World) -> None:
    likely = geocells.likely(world.vectors[REFERENCES + 1])
    regions = {level: likely.region(level).geometry for level in (0.1, 0.5, 0.8, 0.95)}
    lat, lon = lat_lon(np.random.default_rng(2).normal(size=(60, 3)))
    for place in zip(lat.tolist(), lon.tolist(), strict=True):
        level_of = likely.level_of(*place)
        for level, geometry in regions.items():
            assert geometry.intersects(shapely.Point(place[1], place[0])) == (level > level_of)


def test_the_likeliest_cells_are_the_fewest_that_hold_a_share(
    geocells: Geocells, world: World
) -> None:
    embeddings = world.vectors[REFERENCES : REFERENCES + 5]
    within = geocells.within(embeddings, 0.8)
    for row, embedding in zip(within, embeddings, strict=True):
        likely = geocells.likely(embedding)
        chosen = likely.likeliest(0.8)
        assert set(np.flatnonzero(row)) == set(chosen)
        assert likely.mass[chosen].sum() >= 0.8 > likely.mass[chosen[:-1]].sum()
        assert (np.diff(likely.mass[chosen]) <= 0).all()


def test_an_answer_is_the_medoid_of_the_likeliest_cell(world: World, geocells: Geocells) -> None:
    answer = world.answer(Request("geocell"))
    (masses,) = np.exp(geocells.log_masses(answer.query.embedding[None]))
    best = int(masses.argmax())
    assert (answer.lat, answer.lon) == (geocells.cells.lat[best], geocells.cells.lon[best])
    assert answer.agreement == pytest.approx(masses[best])
    assert answer.modes[0].mass == answer.agreement
    assert sum(mode.mass for mode in answer.modes) <= 1 + 1e-9
    assert answer.radius_km[0.5] < answer.radius_km[0.9]
    assert answer.regions.keys() == {0.5, 0.9}
    assert len(answer.neighbours) == 0
    assert answer.plan["strategy"] == "none"
    assert answer.parameters.partitions == ("coarse", "fine")
    truth = world.queries.queries[0].truth
    error = float(great_circle_km(geocells.cells.lat[best], geocells.cells.lon[best], *truth))
    assert answer.truth == truth
    assert answer.error_km == pytest.approx(error)


def test_answers_are_better_than_chance(world: World) -> None:
    result = evaluate(
        world.database, world.queries, model=MODEL, parameters=Request("geocell"), where=WORLD
    )
    truths = np.array([query.truth for query in world.queries.queries])
    rng = np.random.default_rng(0)
    chance = rng.permutation(truths)
    random = great_circle_km(truths[:, 0], truths[:, 1], chance[:, 0], chance[:, 1])
    assert result.accuracy.within[750] > 3 * (random <= 750).mean()
    assert result.accuracy.n == QUERIES
    assert result.unanswered == 0


def test_an_answer_reads_back_as_it_was_given_and_reproduces(world: World) -> None:
    given = world.answer(Request("geocell"))
    assert given.id is not None
    read = load(world.database, given.id)
    assert read.to_json() == given.to_json()
    for level, region in given.regions.items():
        assert read.regions[level].area_km2 == region.area_km2
        assert read.regions[level].geometry.symmetric_difference(region.geometry).area < 1e-9
    again = reproduce(world.database, given.id)
    assert (again.same, again.shift_km, again.changes) == (True, 0.0, ())


def test_one_of_several_partitions_can_be_asked_for(world: World) -> None:
    answer = world.answer(Request("geocell", partitions=("coarse",)))
    assert answer.parameters.partitions == ("coarse",)
    with world.database.connection() as connection:
        coarse = find_partition(connection, "coarse")
    assert answer.lat in coarse.lat
    with pytest.raises(NotFoundError, match="no classifier over other"):
        world.answer(Request("geocell", partitions=("other",)))


def test_a_filter_leaves_the_cells_of_photos_that_pass(world: World) -> None:
    whole = world.answer(Request("geocell"))
    assert whole.lon is not None
    west, east = (0.0, 180.0) if whole.lon < 0 else (-180.0, 0.0)  # the other half of the world
    other = world.answer(Request("geocell"), where(bbox=(west, -90, east, 90)) & WORLD)
    assert other.lat is not None
    assert west <= (other.lon or 0.0) <= east
    row = np.flatnonzero((world.lat == other.lat) & (world.lon == other.lon))
    assert len(row) == 1
    assert row[0] < REFERENCES
    assert other.id is not None
    assert reproduce(world.database, other.id).same
    with pytest.raises(NotFoundError, match="no photo passes"):
        world.answer(Request("geocell"), where(near=(0, 0, 0.001)))


@pytest.mark.parametrize("exact", [True, False])
def test_a_restricted_search_finds_the_nearest_in_the_likely_cells(
    world: World, geocells: Geocells, exact: bool
) -> None:
    request = Request("nearest", 20, exact=exact, restrict_cells=0.7)
    answer = world.answer(request, WORLD, query=3)
    (allowed,) = geocells.within(answer.query.embedding[None], 0.7)
    inside = allowed[geocells.cells.locate(world.lat[:REFERENCES], world.lon[:REFERENCES])]
    stored = world.vectors[:REFERENCES].astype(np.float16).astype(float)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    similarity = np.where(inside, stored @ answer.query.embedding, -2)
    expected = world.lat[:REFERENCES][np.argsort(-similarity)[: min(20, inside.sum())]]
    assert 0 < inside.sum() < REFERENCES
    np.testing.assert_allclose(np.sort(answer.neighbours.lat), np.sort(expected))
    assert answer.plan["matches"] == inside.sum()
    # What was searched is in the filter, so that the answer is reproduced by it alone.
    assert "within" in str(answer.where.to_json())
    assert answer.parameters.to_json()["restrict_cells"] == 0.7
    assert answer.id is not None
    assert load(world.database, answer.id).to_json() == answer.to_json()
    assert reproduce(world.database, answer.id).same


def test_methods_are_compared_on_the_same_queries(world: World) -> None:
    requests = [Request("geocell"), Request("nearest", 1), Request("density", 10)]
    for exact in (False, True):
        results = evaluate_each(
            world.database,
            world.queries,
            [replace(request, exact=exact) for request in requests],
            model=MODEL,
            where=WORLD,
            exclusions=NOTHING,
        )
        alone = [
            evaluate(
                world.database,
                world.queries,
                model=MODEL,
                parameters=replace(request, exact=exact),
                where=WORLD,
                exclusions=NOTHING,
            )
            for request in requests
        ]
        for result, single in zip(results, alone, strict=True):
            np.testing.assert_allclose(result.errors_km, single.errors_km, rtol=1e-6, atol=1e-6)
    assert results[0].parameters["k"] == 0
    assert results[0].sweep_id == results[2].id  # whose answers are kept
    assert alone[0].sweep_id is None


@pytest.mark.parametrize("exact", [True, False])
def test_an_evaluation_restricts_each_query_to_its_own_cells(world: World, exact: bool) -> None:
    result = evaluate(
        world.database,
        world.queries,
        model=MODEL,
        parameters=Request("nearest", 1, exact=exact, restrict_cells=0.9),
        where=WORLD,
        exclusions=NOTHING,
    )
    for query in (0, 7, 20):
        answer = world.answer(Request("nearest", 1, restrict_cells=0.9), WORLD, query)
        assert result.errors_km[query] == pytest.approx(answer.error_km, abs=1e-6)
    with pytest.raises(InputError, match="same cells"):
        evaluate_each(
            world.database,
            world.queries,
            [Request("nearest", 1, restrict_cells=0.9), Request("nearest", 1)],
            model=MODEL,
        )


def test_the_share_of_truths_in_regions_is_recorded(world: World) -> None:
    result = evaluate(
        world.database,
        world.queries,
        model=MODEL,
        parameters=Request("geocell"),
        regions=True,
    )
    with world.database.connection() as connection:
        rows = connection.execute(
            """
            SELECT truth_level, (
                SELECT ST_Intersects(r.geom, l.truth) FROM geosearch.localization_regions AS r
                WHERE r.localization_id = l.id AND r.level > 0.7
            )
            FROM geosearch.localizations AS l WHERE evaluation_id = %s
            """,
            (result.id,),
        ).fetchall()
    assert len(rows) == QUERIES
    assert all(inside == (level < 0.9) for level, inside in rows)
    assert sum(inside for _, inside in rows) > 0


def test_the_same_seed_fits_the_same_classifier(world: World) -> None:
    def fitted(seed: int) -> NDArray[np.float32]:
        (made,) = fit_classifiers(
            world.database, ["again"], model=MODEL, where=WORLD, seed=seed, epochs=3
        )
        assert made.photos + made.held_out == REFERENCES
        return made.classifier.weights

    make_partition(world.database, "again", kind="clusters", cells=5, where=WORLD)
    first = fitted(1)
    np.testing.assert_array_equal(first, fitted(1))
    assert not np.array_equal(first, fitted(2))
    with world.database.connection() as connection:
        (again,) = (
            item
            for item in load_classifiers(connection, world.model.id)
            if item.partition.name == "again"
        )
        connection.execute("DELETE FROM geosearch.partitions WHERE name = 'again'")
        with pytest.raises(NotFoundError, match="'again' is not in the database"):
            store_classifiers(connection, world.model.id, [again])
        names = {item.partition.name for item in load_classifiers(connection, world.model.id)}
    assert names == {"coarse", "fine"}


def test_a_fit_knows_most_of_the_photos_held_out(world: World) -> None:
    calls: list[tuple[int, int | None]] = []
    (made,) = fit_classifiers(
        world.database,
        ["coarse"],
        model=MODEL,
        where=WORLD,
        epochs=20,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert made.held_out == REFERENCES // 10
    assert made.accuracy > 0.5  # of ten cells
    assert made.loss < np.log(10)
    assert calls[-1] == (20, 20)


def test_a_temperature_makes_a_classifier_as_sure_as_it_is_right() -> None:
    rng = np.random.default_rng(8)
    item = _classifier(400, 12, seed=5, weights=0.4)
    embeddings = rng.normal(size=(4000, DIMENSION)).astype(np.float32)
    shares = np.exp(item.log_probabilities(embeddings)).cumsum(axis=1)
    cells = (shares < rng.uniform(size=(4000, 1))).sum(axis=1)  # drawn as the classifier says
    boastful = replace(item, weights=3 * item.weights, bias=3 * item.bias)
    cooled = tempered(boastful, embeddings, cells)
    assert cooled.provenance["temperature"] == pytest.approx(3.0, rel=0.1)
    np.testing.assert_allclose(cooled.weights, item.weights, rtol=0.1)
    assert tempered(item, embeddings, cells).provenance["temperature"] == pytest.approx(1, rel=0.1)
    third = np.float32(1 / 3)
    timid = replace(item, weights=third * item.weights, bias=third * item.bias)
    assert tempered(timid, embeddings, cells).provenance["temperature"] < 1.01


def test_an_answer_by_a_classifier_that_was_replaced_cannot_be_reproduced(world: World) -> None:
    answer = world.answer(Request("geocell"))
    with world.database.connection() as connection:
        store_classifiers(
            connection, world.model.id, load_classifiers(connection, world.model.id)[-1:]
        )
    assert answer.id is not None
    again = reproduce(world.database, answer.id)
    assert not again.same
    assert again.changes == (
        f"there is no classifier {answer.parameters.classifiers[-1]} any more",
    )
    assert world.answer(Request("geocell")).lat == answer.lat


def test_a_model_without_classifiers_names_the_ways_to_get_some(database: Database) -> None:
    with database.connection() as connection:
        add_model(connection, DIMENSION, "test/plain")
        plain = find_model(connection, "test/plain")
        with pytest.raises(NotFoundError, match=r"(?s)geosearch train.*partitions fit"):
            require_classifiers(connection, plain)
        with pytest.raises(NotFoundError, match="geosearch train"):
            chosen_parameters(connection, plain, EVERYTHING, Request("density", restrict_cells=0.5))


def test_classifiers_go_with_their_model(database: Database) -> None:
    lat, lon = lat_lon(np.random.default_rng(0).normal(size=(30, 3)))
    with database.connection() as connection:
        key = add_model(connection, DIMENSION)
        add_photos(connection, lat, lon)
    partition = make_partition(database, "p", max_photos=10)
    weights = np.ones((len(partition), DIMENSION), np.float32)
    item = Classifier(partition, weights, np.zeros(len(partition), np.float32), {"seed": 1})
    with database.connection() as connection:
        store_classifiers(connection, key, [item])
        (found,) = load_classifiers(connection, key)
        np.testing.assert_array_equal(found.weights, weights)
        assert found.provenance == {"seed": 1}
        connection.execute("DELETE FROM geosearch.models WHERE id = %s", (key,))
        assert load_classifiers(connection, key) == []


def test_what_cannot_be_is_refused() -> None:
    partition = _classifier(50, 2, seed=0).partition
    count = len(partition)
    with pytest.raises(InputError, match="cannot have weights"):
        Classifier(partition, np.zeros((count + 1, 3), np.float32), np.zeros(count, np.float32))
    with pytest.raises(InputError, match="not finite"):
        Classifier(partition, np.full((count, 3), np.nan, np.float32), np.zeros(count, np.float32))
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(InputError, match="restrict_cells"):
            Parameters(restrict_cells=share)
    with pytest.raises(InputError, match="does without"):
        Parameters("geocell", restrict_cells=0.5)
    with pytest.raises(InputError, match="partitions: coarse,fine: nothing uses them"):
        Request("density", partitions=("coarse", "fine"))
    with pytest.raises(InputError, match="k 20 weighting uniform: method geocell goes by no"):
        Request("geocell", k=20, weighting="uniform")


def test_a_map_shows_the_likely_cells(world: World, tmp_path: Path) -> None:
    answer = world.answer(Request("geocell"))
    draw_map(answer, tmp_path / "cells.png")
    assert answer.place is not None
    draw_map(replace(answer, place=replace(answer.place, regions={})), tmp_path / "none.png")
    pictures = []
    for name in ("cells", "none"):
        with Image.open(tmp_path / f"{name}.png") as image:
            pictures.append(np.asarray(image.convert("RGB"), int))
    assert (np.abs(pictures[0] - pictures[1]).max(axis=2) > 30).mean() > 0.001
    with pytest.raises(NotFoundError, match="geocells, not a density"):
        write_density(answer, tmp_path / "density.tif")


def test_commands_fit_evaluate_and_show(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    geosearch = CommandLine(world.database.url, capsys)
    ran = geosearch(
        "partitions", "fit", "coarse", "fine", "--model", MODEL, "--collection", "world",
        "--epochs", 5, "--json",
    )  # fmt: skip
    assert [item["partition"] for item in ran.json()] == ["coarse", "fine"]
    asked = ("evaluate", "--leave-one-out", "--collection", "queries", "--model", MODEL, "--json")
    by_cells = geosearch(*asked, "--method", "geocell").json()
    assert by_cells["parameters"]["partitions"] == ["coarse", "fine"]
    restricted = ("--method", "nearest", "--parameters", '{"restrict_cells": 0.9}')
    assert geosearch(*asked, *restricted).json()["parameters"]["restrict_cells"] == 0.9
    table = geosearch(
        "evaluate", "--leave-one-out", "--collection", "queries", "--model", MODEL,
        "--method", "geocell", "--parameters", '{"partitions": ["fine"]}',
    )  # fmt: skip
    assert "geocell, test/places" in table.out
    shown = geosearch("show", world.answer(Request("geocell")).id)
    assert "the probability of the likeliest cell" in shown.out
    assert "none: the method needs no neighbours" in shown.out
    missing = geosearch("partitions", "fit", "nowhere", "--model", MODEL)
    assert (missing.code, "there is no partition 'nowhere'" in missing.err) == (4, True)
