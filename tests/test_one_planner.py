"""One planner: in 1,000 random cases Python and SQL choose the same plan and find the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import shapely
from pgvector import HalfVector
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.role_grants import grant_role
from geosearch.retrieval import leaves, nearest
from geosearch.retrieval.facts import forget
from geosearch.retrieval.filters import EVERYTHING, Filter, Near, Photos, where
from geosearch.retrieval.indexes import build_index, find_index
from geosearch.retrieval.leaves import FAMILIES, LEAF_OPTIONS, grow_leaves
from geosearch.retrieval.tuning import EF_SEARCHES, RANKS, Point, Tuning, save_tuning
from tests.rows import (
    START,
    add_embeddings,
    add_model,
    add_varied_photos,
    looks,
    places,
    set_rule,
)
from tests.test_sql_nearest import call

#: Ten blocks of a hundred cases; what was measured is drawn anew ten times in a block.
BLOCKS, MEASURED, CASES = 10, 10, 10
#: Photos, dimension, whether there is an index, and what its leaves are by.
MODELS = (
    (3000, 16, True, FAMILIES),
    (3000, 24, True, ("place",)),
    (1100, 8, True, ()),
    (900, 12, False, ()),
    (260, 4100, True, ()),
)
#: So small, they have two levels.
LEAF_ROWS, LEVEL_FACTOR = 60, 4
COLLECTIONS = ("open", "shut")


@dataclass
class World:
    """Models over the same photos, and the database as seen by its owner and by a reader."""

    owner: Database
    reader: Database
    models: list[int]


@pytest.fixture(scope="module")
def world(module_database: Database) -> Iterator[World]:
    rng = np.random.default_rng(1)
    login = f"geosearch_test_reader_{uuid4().hex[:10]}"
    with module_database.connection() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        grant_role(connection, "reader", login)
        count = max(model[0] for model in MODELS)
        lat, lon = places(rng, count)
        photos = []
        for collection, part in zip(COLLECTIONS, np.array_split(np.arange(count), 2), strict=True):
            photos += add_varied_photos(connection, rng, lat[part], lon[part], collection)
        models = []
        for number, (rows, dimension, *_) in enumerate(MODELS):
            model = add_model(connection, dimension, f"test/{number}")
            chosen = np.sort(rng.choice(count, rows, replace=False))
            vectors = looks(rng, lat[chosen], lon[chosen], dimension)
            add_embeddings(connection, model, [photos[row] for row in chosen], vectors)
            models.append(model)
        set_private(connection, "shut", private=True)
        connection.execute("ANALYZE geosearch.embeddings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ROWS", LEAF_ROWS)
        patch.setattr(leaves, "LEVEL_FACTOR", LEVEL_FACTOR)
        for model, (_, dimension, indexed, families) in zip(models, MODELS, strict=True):
            if indexed:
                build_index(module_database, model, dimension)
                grow_leaves(module_database, model, dimension, families)
    with Database(make_conninfo(module_database.url, user=login)) as reader:
        yield World(module_database, reader, models)
    with module_database.connection() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(login)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def measure(world: World, rng: np.random.Generator) -> None:
    """Say that the indexes were measured, with random figures, or that they never were."""
    with world.owner.connection() as connection:
        connection.execute("DELETE FROM geosearch.tunings")
        cuts = connection.execute(
            "SELECT DISTINCT model_id, family, level FROM geosearch.leaves ORDER BY 1, 2, 3"
        ).fetchall()
        for model, (rows, *_) in zip(world.models, MODELS, strict=True):
            index = find_index(connection, model)
            if index is None:
                continue
            of = [(None, None, index.definition, 1.0)]
            of += [(*cut[1:], LEAF_OPTIONS, 0.05) for cut in cuts if cut[0] == model]
            for family, level, definition, cost in of:
                if rng.random() < 0.75:
                    tuning = draw_tuning(rng, rows, definition, cost)
                    save_tuning(connection, model, replace(tuning, family=family, level=level), 1)
    for database in (world.owner, world.reader):
        forget(database)


def draw_tuning(rng: np.random.Generator, rows: int, definition: str, cost: float) -> Tuning:
    """Random figures of an index over so many photos, whose searches cost so much of the usual."""
    points = []
    for ef_search in EF_SEARCHES:
        ranks = (*(rank for rank in RANKS if rank < ef_search - 1), ef_search - 1)
        lost = np.sort(rng.exponential(0.03, len(ranks)))
        recalls = tuple(np.clip(1 - lost, 0, 1).tolist())
        ms = float(0.002 * cost * ef_search * rng.uniform(0.5, 2))
        points.append(Point(ef_search, ranks, recalls, ms))
    return Tuning(
        target=float(rng.uniform(0.85, 0.99)),
        k=100,
        sample=50,
        rows=rows,
        # Now and then of an index that was built in another way.
        index_definition=definition + " " * int(rng.random() < 0.1),
        exact_fixed_ms=float(rng.uniform(0.01, 0.5)),
        exact_row_ms=float(10 ** rng.uniform(-3, -1)),
        points=tuple(points),
    )


def draw_filter(rng: np.random.Generator, reader: bool) -> tuple[dict[str, Any], Filter]:
    """Arguments of `geosearch.nearest`, and the filter of Python that says the same."""
    arguments: dict[str, Any] = {}
    python: dict[str, Any] = {}
    wanted = EVERYTHING
    names = ["within", "near", "after", "before", "collections", "authors", "licences"]
    names += ["exclude_authors", "accuracy_m", "photos"]
    for name in rng.choice(names, rng.choice(4, p=(0.15, 0.4, 0.3, 0.15)), replace=False):
        lat, lon = float(np.degrees(np.arcsin(rng.uniform(-1, 1)))), float(rng.uniform(-180, 180))
        if name == "within":
            half = rng.uniform(1, 120)
            area = shapely.box(lon - half, lat - half / 2, lon + half, lat + half / 2)
            area = area.intersection(shapely.box(-180, -90, 180, 90))
            python["within"] = area
            arguments["within"] = f"SRID=4326;{area.wkt}"
        elif name == "near":
            near = lat, lon, float(10 ** rng.uniform(1.5, 4.25))
            wanted &= Near(*near)
            arguments |= {"near": f"SRID=4326;POINT({lon!r} {lat!r})", "near_km": near[2]}
        elif name == "after":
            moment = START + timedelta(days=int(rng.integers(0, 1450)))
            python["after"] = arguments["taken_after"] = moment
        elif name == "before":
            moment = START + timedelta(days=int(rng.integers(1500, 3100)))
            python["before"] = arguments["taken_before"] = moment
        elif name == "collections":
            chosen = [str(rng.choice(COLLECTIONS[:1] if reader else COLLECTIONS))]
            python[name] = arguments[name] = chosen
        elif name in ("authors", "exclude_authors", "licences"):
            kind, most = ("CC", 4) if name == "licences" else ("author", 8)
            chosen = [f"{kind} {n}" for n in rng.integers(1, most, rng.integers(1, 4))]
            python[name] = arguments[name.replace("exclude", "not")] = chosen
        elif name == "accuracy_m":
            python[name] = arguments[name] = int(rng.integers(5, 90))
        else:
            ids = [int(photo) for photo in rng.integers(1, 3000, 5)]
            wanted &= ~Photos(*ids)
            arguments["not_photos"] = ids
    return arguments, wanted & where(**python)


def agree(world: World, rng: np.random.Generator) -> str:
    """Ask one random question in both ways, compare all of both answers, and tell the reason."""
    number = int(rng.choice(len(MODELS), p=(0.3, 0.3, 0.2, 0.1, 0.1)))
    model = world.models[number]
    as_reader = bool(rng.random() < 0.3)
    database = world.reader if as_reader else world.owner
    arguments, wanted = draw_filter(rng, as_reader)
    if rng.random() < 0.3:
        if rng.random() < 0.3:
            wanted |= draw_filter(rng, as_reader)[1]
        arguments = {"filter": Jsonb(wanted.to_json())}
    k = int(np.exp(rng.uniform(0, np.log(1000.5))))
    exact = bool(rng.random() < 0.05)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 1))), rng.uniform(-180, 180, 1)
    query = looks(rng, lat, lon, MODELS[number][1])[0]
    found = nearest(database, model, query, k, wanted, exact=exact)
    with database.connection() as connection:
        rows = call(
            connection,
            "nearest",
            query=HalfVector(query),
            model=f"test/{number}",
            k=k,
            exact=exact,
            **arguments,
        )
    asked = f"model {number}, k {k}, {wanted}: {found.plan}"
    assert [row["photo_id"] for row in rows] == found.photo_id.tolist(), asked
    np.testing.assert_allclose([row["distance"] for row in rows], found.distance, atol=1e-12)
    assert rows or found.plan.matches == 0, asked
    for row in rows[:1]:
        said = (row["strategy"], row["matches"], row["reason"])
        assert said == (found.plan.strategy, found.plan.matches, found.plan.reason), asked
        assert row["expected_recall"] == pytest.approx(found.plan.expected_recall, abs=1e-9), asked
    return f"{found.plan.strategy}: {found.plan.reason}"


@pytest.mark.parametrize("block", range(BLOCKS))
def test_python_and_sql_agree_on_plan_rows_and_recall(world: World, block: int) -> None:
    rng = np.random.default_rng([13, block])
    reasons: Counter[str] = Counter()
    set_rule(world.owner, few_least=(500, 20)[block % 2], places=(500, 200)[block % 3 == 0])
    for _ in range(MEASURED):
        measure(world, rng)
        for _ in range(CASES):
            reasons[agree(world, rng)[:20]] += 1
    print(reasons)
    assert reasons.total() == MEASURED * CASES
    # No way of answering is left out.
    assert len(reasons) > 5
    assert any(reason.startswith("leaves") for reason in reasons)
