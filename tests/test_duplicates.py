"""What a query must not find: its own file, its near-duplicates, photos of its author."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.query import Query
from geosearch.retrieval import Filter, nearest
from geosearch.retrieval.duplicates import (
    NOTHING,
    ExactOthers,
    Excluded,
    Exclusions,
    Found,
    nearest_others,
)
from geosearch.retrieval.filters import EVERYTHING, Photos, where
from geosearch.retrieval.indexes import build_index
from tests.command_line import CommandLine
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos, set_rule

COUNT, DIMENSION, K = 400, 16, 10
#: Photos 0 to 39 are copies, a hundredth apart, of the embedding of photo 0.
COPIES = 40
EVERY = Exclusions(same_bytes=True, duplicate_distance=0.01, same_author=True)


@dataclass
class World:
    database: Database
    model: int
    photo_id: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def sha256(self, number: int) -> bytes:
        """That of a photo's file, as the rows have it."""
        return hashlib.sha256(f"/photo/test/{number}.jpg".encode()).digest()

    def query(self, number: int) -> Query:
        """A photo as a query."""
        return Query(
            f"{number}.jpg", self.sha256(number), self.vectors[number], self.author(number)
        )

    def author(self, number: int) -> str | None:
        """Every fifth photo has one of four authors."""
        return f"author {number % 4}" if number % 5 == 0 else None

    def distances(self, number: int) -> NDArray[np.float64]:
        """Cosine distances (COUNT,) from a photo to all, of what is stored."""
        stored = self.vectors.astype(np.float16).astype(np.float64)
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        return np.asarray(1 - stored @ stored[number])

    def search(self, number: int, exclusions: Exclusions, k: int = K) -> Found:
        return nearest_others(
            self.database, self.model, self.query(number), k, EVERYTHING, exclusions, exact=True
        )


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(11)
    drawn = rng.normal(size=(COUNT, DIMENSION))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn[:COPIES] = drawn[0] + 0.01 * rng.normal(size=(COPIES, DIMENSION))
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    made = World(module_database, 0, np.zeros(0, np.int64), vectors)
    with module_database.connection() as connection:
        made.model = add_model(connection, DIMENSION)
        photos = add_photos(
            connection,
            rng.uniform(-80, 80, COUNT),
            rng.uniform(-180, 180, COUNT),
            authors=[made.author(number) for number in range(COUNT)],
        )
        add_embeddings(connection, made.model, photos, vectors)
    made.photo_id = np.array([photo.photo_id for photo in photos])
    return made


def test_without_exclusions_the_search_is_the_plain_one(world: World) -> None:
    found = world.search(3, NOTHING)
    plain = nearest(world.database, world.model, world.vectors[3], K, exact=True)
    np.testing.assert_array_equal(found.neighbours.photo_id, plain.photo_id)
    assert found.neighbours.photo_id[0] == world.photo_id[3]
    assert found.where == EVERYTHING
    assert found.excluded is None


@pytest.mark.parametrize("number", [0, 7, 45, 60, 399])
@pytest.mark.parametrize("k", [1, K, 60])
def test_k_neighbours_remain_and_every_excluded_photo_is_counted_once(
    world: World, number: int, k: int
) -> None:
    found = world.search(number, EVERY, k)
    numbers = range(COUNT)
    own = np.array([n == number for n in numbers])
    author = world.author(number)
    theirs = np.array([author is not None and world.author(n) == author for n in numbers]) & ~own
    near = (world.distances(number) < 0.01) & ~own & ~theirs
    assert found.excluded == Excluded(1, int(near.sum()), int(theirs.sum()))

    rest = np.flatnonzero(~(own | theirs | near))
    expected = rest[np.argsort(world.distances(number)[rest], kind="stable")][:k]
    assert len(found.neighbours) == k
    np.testing.assert_array_equal(found.neighbours.photo_id, world.photo_id[expected])
    assert found.neighbours.distance[0] >= 0.01


def test_the_filter_of_an_answer_names_all_that_was_left_out(world: World) -> None:
    found = world.search(2, EVERY)
    assert found.excluded is not None
    assert found.excluded.duplicates > 20
    again = nearest(
        world.database,
        world.model,
        world.vectors[2],
        K,
        Filter.from_json(found.where.to_json()),
        exact=True,
    )
    np.testing.assert_array_equal(again.photo_id, found.neighbours.photo_id)
    assert again.plan == found.neighbours.plan


@pytest.mark.parametrize(
    "exclusions",
    [
        EVERY,
        Exclusions(same_bytes=True),
        Exclusions(duplicate_distance=0.01),
        Exclusions(same_author=True),
        Exclusions(same_bytes=True, duplicate_distance=0.3),
        NOTHING,
    ],
)
@pytest.mark.parametrize("k", [1, K])
def test_many_queries_in_one_pass_find_what_each_finds_alone(
    world: World, exclusions: Exclusions, k: int
) -> None:
    numbers = [0, 5, 12, 39, 40, 45, 120, 300]
    passing = where(bbox=(-170, -80, 170, 60))
    queries = [world.query(number) for number in numbers]
    many = ExactOthers(world.database, world.model, queries, k, passing, exclusions)
    for index, query in enumerate(queries):
        alone = nearest_others(
            world.database, world.model, query, k, passing, exclusions, exact=True
        )
        found = many.neighbours(index)
        np.testing.assert_array_equal(found.neighbours.photo_id, alone.neighbours.photo_id)
        np.testing.assert_array_equal(found.neighbours.distance, alone.neighbours.distance)
        assert found.neighbours.plan == alone.neighbours.plan
        assert found.where == alone.where
        assert found.excluded == alone.excluded


def test_only_photos_that_pass_the_filter_count_as_excluded(world: World) -> None:
    outside = where(collections=("test",)) & ~Photos(*world.photo_id[:COPIES].tolist())
    found = nearest_others(
        world.database,
        world.model,
        replace(world.query(0), author=None),
        K,
        outside,
        EVERY,
        exact=True,
    )
    assert found.excluded == Excluded()


def test_a_search_whose_every_match_is_excluded_is_empty(world: World) -> None:
    only = Photos(*world.photo_id[:5].tolist())
    asked = (3, only, Exclusions(duplicate_distance=0.05))
    found = nearest_others(world.database, world.model, world.query(0), *asked)
    assert len(found.neighbours) == 0
    assert found.excluded == Excluded(duplicates=5)
    many = ExactOthers(world.database, world.model, [world.query(0)], *asked)
    assert many.neighbours(0).neighbours.plan.strategy == "empty"
    assert many.neighbours(0).excluded == found.excluded


def test_photos_are_a_condition_like_others() -> None:
    chosen = Filter.from_json({"not": {"photos": [3, 5]}})
    assert chosen == ~Photos(3, 5)
    assert chosen.to_json() == {"not": {"photos": [3, 5]}}
    assert not chosen.selects
    with pytest.raises(InputError, match="photos"):
        Filter.from_json({"photos": ["three"]})


@pytest.mark.parametrize("distance", [0.0, -1.0, 2.5, float("nan")])
def test_a_distance_that_is_none_is_refused(distance: float) -> None:
    with pytest.raises(InputError, match="duplicate_distance: "):
        Exclusions(duplicate_distance=distance)


def test_counts_add_up_and_read_well() -> None:
    total = Excluded(1, 2, 0) + Excluded(1, 0, 1000)
    assert total == Excluded(2, 2, 1000)
    assert str(total) == "2 with the query's bytes, 2 near-duplicates, 1,000 by its author"
    assert str(Excluded()) == "none"


@pytest.fixture(scope="module")
def photos(
    server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """URL of a database with eight embedded photos, and their folder."""
    folder = tmp_path_factory.mktemp("photos")
    lines = ["uri,lat,lon"]
    rng = np.random.default_rng(2)
    for number in range(8):
        spots = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        spots.resize((96, 96)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{10 + number},{number}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    url = create_database(server_url, template_database)
    with Database(url) as database:
        gs = Geosearch(database)
        gs.ingest(folder / "manifest.csv", collection="noise")
        gs.embed()
    yield url, folder
    drop_database(url)


@pytest.mark.parametrize("name", ["nearest", "localize"])
def test_commands_leave_out_the_query_and_its_duplicates_and_say_so(
    photos: tuple[str, Path], capsys: pytest.CaptureFixture[str], name: str, tmp_path: Path
) -> None:
    url, folder = photos
    command = CommandLine(url, capsys)

    def found(photo: Path, *options: object) -> tuple[set[str], Any]:
        printed = command(name, photo, "--k", 8, "--json", *options).json()
        return {Path(item["uri"]).stem for item in printed["neighbours"]}, printed["excluded"]

    everyone = {str(number) for number in range(8)}
    assert found(folder / "3.png") == (everyone, None)
    copy = {"same_bytes": 1, "duplicates": 0, "author": 0}
    assert found(folder / "3.png", "--exclude-self") == (everyone - {"3"}, copy)

    again = tmp_path / "again.png"  # the same pixels in another file
    Image.open(folder / "3.png").save(again, compress_level=1)
    assert found(again, "--exclude-self")[0] == everyone
    near = {"same_bytes": 0, "duplicates": 1, "author": 0}
    strict = ("--exclude-duplicates", "--duplicate-distance", 0.0001)
    assert found(again, *strict) == (everyone - {"3"}, near)

    text = command(name, again, *strict)
    assert "references left out: 1 near-duplicates" in text.out + text.err


def test_an_answer_without_duplicates_is_reproduced(photos: tuple[str, Path]) -> None:
    url, folder = photos
    with Database(url) as database:
        gs = Geosearch(database)
        answer = gs.localize(folder / "5.png", exclude_duplicates=0.0001)
        assert answer.excluded == Excluded(duplicates=1)
        assert answer.id is not None
        assert gs.load(answer.id).to_json() == answer.to_json()
        assert gs.reproduce(answer.id).same
        neighbours = gs.nearest(folder / "5.png", 8, exclude_duplicates=0.0001)
        assert neighbours.uri == answer.neighbours.uri
        assert len(neighbours) == 7


def test_through_the_index_k_neighbours_remain_too(world: World) -> None:
    # Among 400 photos exact search is always cheaper, and measuring them takes seconds.
    set_rule(world.database, exact_row_ms=1)
    build_index(world.database, world.model, DIMENSION)
    order = np.argsort(world.distances(200))
    few = float(world.distances(200)[order[3:5]].mean())  # itself and three more are nearer
    found = nearest_others(
        world.database,
        world.model,
        world.query(200),
        K,
        EVERYTHING,
        Exclusions(same_bytes=True, duplicate_distance=few),
    )
    assert found.neighbours.plan.strategy == "ann"
    assert found.excluded == Excluded(1, 3, 0)
    np.testing.assert_array_equal(found.neighbours.photo_id, world.photo_id[order[4 : 4 + K]])
