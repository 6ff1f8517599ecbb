"""Filters: what passes equals their meaning in Python, they survive being recorded, and what
they refuse is named."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb
from shapely.geometry import MultiPolygon, Point, Polygon, box

from geosearch.cli.options import make_filter
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import InputError, NotFoundError
from geosearch.layers.layer_rows import read_photos
from geosearch.retrieval.areas import read_area, read_area_file, split
from geosearch.retrieval.filters import (
    EVERYTHING,
    AccurateTo,
    And,
    BoundingBox,
    ByAuthors,
    Country,
    Filter,
    HasLicence,
    InCollections,
    Near,
    Not,
    Or,
    SameBytes,
    TakenAfter,
    TakenBefore,
    Within,
    where,
)
from geosearch.retrieval.reach import Reach
from tests.command_line import CommandLine
from tests.filter_truth import Mask, Photos, passing
from tests.rows import add_embeddings, add_model, add_photos

START = datetime(2010, 1, 1, tzinfo=UTC)
ZURICH = Polygon([(8.4, 47.3), (8.7, 47.3), (8.7, 47.5), (8.4, 47.5)])
HOLED = box(-60, -50, 60, 50).difference(box(-20, -10, 30, 40))
#: Few values, so that photos lie exactly on the edges of boxes, at poles and on ±180°.
LATITUDES = (-90.0, -66.5, -10.0, 0.0, 0.25, 40.0, 89.999, 90.0)
LONGITUDES = (-180.0, -179.9, -60.0, -0.5, 0.0, 30.0, 120.1, 179.999, 180.0)
AUTHORS = ("ada", "bob", "cyd's", "100%s", "nobody")
LICENCES = ("CC0", "CC-BY-4.0")
COLLECTIONS = ("one", "two")
ACCURACIES = (0.0, 10.1, 500.0)


@dataclass
class World:
    """A database of photos and the same photos in memory."""

    database: Database
    model: int
    ids: list[int]
    photos: Photos

    def found(self, condition: Filter) -> list[int]:
        """Ids of the photos that pass, by SQL."""
        with self.database.connection() as connection:
            chosen, values = condition.compile(connection)
            statement = sql.SQL("SELECT photo_id FROM {} WHERE {}")
            rows = connection.execute(statement.format(embedding_table(self.model), chosen), values)
            return sorted(row[0] for row in rows)

    def expected(self, condition: Filter) -> list[int]:
        """Ids of the photos that pass, by the meaning of the filter."""
        return sorted(np.array(self.ids)[passing(condition, self.photos)].tolist())


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(5)
    grid = [(lat, lon) for lat in LATITUDES for lon in LONGITUDES]
    free = np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, 128))), rng.uniform(-180, 180, 128)])
    lat, lon = np.concatenate([np.transpose(grid), free], axis=1)
    count = len(lat)

    def some(values: tuple[Any, ...]) -> list[Any]:
        return [(None, *values)[index] for index in rng.integers(0, len(values) + 1, count)]

    facts: dict[str, list[Any]] = {
        "authors": some(AUTHORS[:-1]),
        "taken_at": some(tuple(START + timedelta(days=day) for day in range(8))),
        "licences": some(LICENCES),
        "accuracy_m": some(ACCURACIES),
    }
    half = count // 2
    ids: list[int] = []
    with module_database.connection() as connection:
        model = add_model(connection, 2)
        for name, part in (("one", slice(0, half)), ("two", slice(half, count))):
            own: dict[str, Any] = {key: values[part] for key, values in facts.items()}
            photos = add_photos(connection, lat[part], lon[part], collection=name, **own)
            add_embeddings(connection, model, photos, np.ones((len(photos), 2), np.float32))
            ids += [photo.photo_id for photo in photos]
        _add_borders(connection)
        connection.execute("ANALYZE geosearch.embeddings_open")
    names = [f"/photo/one/{n}.jpg" for n in range(half)]
    names += [f"/photo/two/{n}.jpg" for n in range(count - half)]
    in_memory = Photos(
        lat,
        lon,
        collections=["one"] * half + ["two"] * (count - half),
        sha256=[hashlib.sha256(name.encode()).hexdigest() for name in names],
        borders=BORDERS,
        **facts,
    )
    return World(module_database, model, ids, in_memory)


BORDERS = {"Holed": HOLED, "Round": shapely.Point(100, 20).buffer(45)}


def _add_borders(connection: Any) -> None:
    for name, area in BORDERS.items():
        connection.execute(
            "INSERT INTO geosearch.borders (kind, name, aliases, geom, source) "
            "VALUES ('country', %s, '{}', ST_Multi(ST_GeomFromWKB(%s, 4326)), 'test')",
            (name, shapely.to_wkb(area)),
        )


def _degrees(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most).map(lambda value: round(value, 6))  # 0.1 m; no subnormals


latitudes = st.sampled_from(LATITUDES) | _degrees(-90, 90)
longitudes = st.sampled_from(LONGITUDES) | _degrees(-180, 180)
moments = st.integers(-1, 9).map(lambda days: START + timedelta(days=days))
digests = st.sampled_from(
    [hashlib.sha256(f"/photo/one/{n}.jpg".encode()).hexdigest() for n in (0, 1, 7)] + ["ab" * 32]
)


def _names(kind: type[Any], values: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=3, unique=True).map(lambda names: kind(*names))


@st.composite
def boxes(draw: st.DrawFn) -> Filter:
    south, north = sorted((draw(latitudes), draw(latitudes)))
    return BoundingBox(draw(longitudes), south, draw(longitudes), north)


@st.composite
def areas(draw: st.DrawFn) -> Filter:
    lat, lon = draw(_degrees(-89, 80)), draw(_degrees(-179, 170))
    triangle = Polygon([(lon, lat), (lon + 9, lat + 1), (lon + 2, lat + 9)])
    pair = MultiPolygon([triangle, box(-180, -90, lon - 0.5, -89.5)])
    return Within(draw(st.sampled_from([triangle, pair, HOLED, box(120.1, -10, 180, 90)])))


leaves = st.one_of(
    boxes(),
    areas(),
    st.builds(
        Near, latitudes, longitudes, st.floats(0.001, 20_016) | st.sampled_from([1.0, 20_016])
    ),
    st.builds(TakenAfter, moments),
    st.builds(TakenBefore, moments),
    st.builds(AccurateTo, st.sampled_from(ACCURACIES) | st.floats(0, 1000)),
    _names(Country, st.sampled_from(list(BORDERS))),
    _names(InCollections, st.sampled_from(COLLECTIONS)),
    _names(ByAuthors, st.sampled_from(AUTHORS)),
    _names(HasLicence, st.sampled_from(LICENCES)),
    _names(SameBytes, digests),
)
nested = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3).map(lambda items: And(tuple(items))),
        st.lists(parts, max_size=3).map(lambda items: Or(tuple(items))),
        parts.map(Not),
        st.builds(lambda a, b: a & ~b, parts, parts),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(nested)
@example(BoundingBox(-180, -90, -179, 90))
@example(BoundingBox(120.1, -90, 180, 90))
@example(BoundingBox(180, -90, 180, 90))
@example(BoundingBox(-180, -90, -180, 90))
@example(Near(90, 30, 1))
@example(Near(0, 180, 1))
@example(Near(-90, 0, 20_014))
@example(~ByAuthors("ada"))
@example(~(~ByAuthors("ada") & AccurateTo(10.1)))
@example(AccurateTo(10.1))
@example(AccurateTo(1e-75))
@example(AccurateTo(1e300))
def test_any_filter_passes_what_it_means(world: World, condition: Filter) -> None:
    assert world.found(condition) == world.expected(condition)
    # What is known by places alone leaves none of them out.
    expected = set(world.expected(condition))
    may_pass = condition.may_pass(world.photos.lat, world.photos.lon)
    assert expected <= set(np.array(world.ids)[may_pass].tolist())
    with world.database.connection() as connection:
        reached = within_reach(condition.reach(connection), world.photos)
    assert expected <= set(np.array(world.ids)[reached].tolist())


@settings(max_examples=100, deadline=None)
@given(nested)
@example(BoundingBox(180, -90, 180, 90))
@example(~(~ByAuthors("ada") & AccurateTo(10.1)))
@example(AccurateTo(1e300))
@example(Or(()))
@example(And(()))
@example(Or((And(()), And(()))))
@example(Or((And(()), ByAuthors("ada"))))
def test_a_filter_in_json_passes_the_same_photos_in_sql(world: World, condition: Filter) -> None:
    with world.database.connection() as connection:
        rows = connection.execute(
            "SELECT photo_id FROM geosearch.nearest('[1, 1]', %s, 1000, filter => %s) ORDER BY 1",
            (str(world.model), Jsonb(condition.to_json())),
        ).fetchall()
        reach = condition.reach(connection)
        boxes, selects, canonical = connection.execute(
            "SELECT boxes, selects, canonical FROM geosearch.read_filter(%s)",
            (Jsonb(condition.to_json()),),
        ).fetchone() or (None, None, None)
    expected = world.expected(condition)
    assert [key for (key,) in rows] == expected
    assert selects == condition.selects
    assert world.expected(Filter.from_json(canonical)) == expected
    reached = within_reach(Reach(None if boxes is None else tuple(boxes)), world.photos)
    assert set(expected) <= set(np.array(world.ids)[reached].tolist())
    assert (boxes is None) == (reach.places is None)


def within_reach(reach: Reach, photos: Photos) -> Mask:
    """Which photos (n,) a filter that reaches so far may pass."""
    inside = np.ones(len(photos.lat), dtype=bool)
    if reach.places is not None:
        inside = np.zeros_like(inside)
        for west, south, east, north in reach.places:
            in_height = (photos.lat >= south) & (photos.lat <= north)
            inside |= in_height & (photos.lon >= west) & (photos.lon <= east)
    taken = [
        (reach.after is None or (at is not None and at >= reach.after))
        and (reach.before is None or (at is not None and at < reach.before))
        for at in photos.taken_at
    ]
    by = [reach.authors is None or author in reach.authors for author in photos.authors]
    found: Mask = inside & np.array(taken) & np.array(by)
    return found


def test_a_filter_reaches_as_far_in_sql(world: World) -> None:
    rng = np.random.default_rng(2)
    area = MultiPolygon([box(5, 40, 20, 55), box(-80, -30, -60, 10)])
    for _ in range(100):
        lat, lon = float(rng.uniform(-90, 90)), float(rng.uniform(-180, 180))
        km = float(10 ** rng.uniform(0, 4.3))
        for condition, within in (
            (Near(lat, lon, km), None),
            (Near(lat, lon, km) & Within(area), area),
        ):
            with world.database.connection() as connection:
                reach = condition.reach(connection)
                row = connection.execute(
                    """
                    SELECT geosearch.filter_places(geosearch.make_filter(
                        %s::geometry, ST_SetSRID(ST_Point(%s, %s), 4326), %s,
                        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
                    ))
                    """,
                    (None if within is None else f"SRID=4326;{within.wkt}", lon, lat, km),
                ).fetchone()
            assert row is not None
            np.testing.assert_allclose(
                sorted(row[0] or []), sorted(map(list, reach.places or [])), atol=1e-9
            )


@settings(max_examples=100, deadline=None)
@given(nested)
@example(Or(()))
def test_any_filter_exports_the_photos_that_pass(world: World, condition: Filter) -> None:
    with world.database.connection() as connection:
        batches = read_photos(connection, condition).batches
        assert [key for batch in batches for key in batch["id"].to_pylist()] == world.expected(
            condition
        )


def test_places_tell_what_cannot_pass(world: World) -> None:
    lat, lon = world.photos.lat, world.photos.lon
    inside = BoundingBox(170, -10, -170, 10)
    for narrow in (inside, inside & ByAuthors("ada"), inside | Near(90, 0, 1)):
        assert 0 < narrow.may_pass(lat, lon).mean() < 0.5
    for wide in (~inside, ByAuthors("ada"), inside | ByAuthors("ada")):
        assert wide.may_pass(lat, lon).all()


@settings(max_examples=150, deadline=None)
@given(nested)
def test_any_filter_survives_being_recorded(world: World, condition: Filter) -> None:
    with world.database.connection() as connection:
        row = connection.execute("SELECT %s::jsonb", (Jsonb(condition.to_json()),)).fetchone()
    assert row is not None
    assert Filter.from_json(row[0]) == condition


@settings(max_examples=200, deadline=None)
@given(nested)
def test_a_filter_that_does_not_select_drops_only_what_it_names(
    world: World, condition: Filter
) -> None:
    named = passing(ByAuthors(*AUTHORS) | SameBytes(*world.photos.sha256), world.photos)
    author_or_query = passing(ByAuthors(*AUTHORS), world.photos)
    for digest in _digests(condition):
        author_or_query |= passing(SameBytes(digest), world.photos)
    passed = passing(condition, world.photos)
    if not condition.selects:
        assert np.all(passed | (author_or_query & named))
    if condition.names_few:
        assert np.all(~passed | author_or_query)


def _digests(condition: Filter) -> list[str]:
    return [digest for digest in set(_strings(condition.to_json())) if len(digest) == 64]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _strings(item)]


@pytest.mark.parametrize(
    ("condition", "selects"),
    [
        (EVERYTHING, False),
        (~EVERYTHING, True),
        (Near(0, 0, 5), True),
        (~Near(0, 0, 5), True),
        (ByAuthors("ada"), True),
        (~ByAuthors("ada"), False),
        (~SameBytes("00" * 32) & ~ByAuthors("ada"), False),
        (~(SameBytes("00" * 32) | ByAuthors("ada")), False),
        (~(SameBytes("00" * 32) & Near(0, 0, 5)), False),
        (~SameBytes("00" * 32) & Near(0, 0, 5), True),
        (~SameBytes("00" * 32) | Near(0, 0, 5), False),
        (Not(Not(~ByAuthors("ada"))), False),
    ],
)
def test_only_exclusions_of_named_photos_and_authors_do_not_select(
    condition: Filter, selects: bool
) -> None:
    assert condition.selects is selects


def test_operators_flatten_and_everything_is_neutral() -> None:
    a, b, c = Near(0, 0, 1), ByAuthors("ada"), HasLicence("CC0")
    assert a & b & c == And((a, b, c)) == a & (b & c)
    assert a | b | c == Or((a, b, c))
    assert EVERYTHING & a == a == a & EVERYTHING == ~~a
    assert EVERYTHING & EVERYTHING == EVERYTHING == Filter.from_json({})
    assert str(a & ~(b | c)) == "near 0,0,1 and not (authors ada or licences CC0)"


@pytest.mark.parametrize("name", ["collection", "collections", "author", "licences", "country"])
@pytest.mark.parametrize("nothing", [[], (), set(), np.empty(0)])
def test_an_empty_list_of_names_is_refused(name: str, nothing: Any) -> None:
    """What was filtered down to nothing must not become everything."""
    with pytest.raises(InputError, match=f"^{name} is empty"):
        where(**{name: nothing})


def test_keywords_make_a_conjunction() -> None:
    made = where(
        bbox=(170, -20, -170, 20),
        near=(47.4, 8.5, 25),
        within=ZURICH.wkt,
        country=["CH", "Austria"],
        after=datetime(2015, 1, 1),
        before=datetime(2016, 1, 1, tzinfo=UTC),
        collections="a",
        authors=("x", "y"),
        licences=None,
        accuracy_m=50,
        exclude_author=(),
        exclude_authors=("12@N00",),
        exclude_sha256=("00" * 32,),
    )
    assert made == And(
        (
            BoundingBox(170, -20, -170, 20),
            Near(47.4, 8.5, 25),
            Within(ZURICH),
            Country("CH", "Austria"),
            TakenAfter(datetime(2015, 1, 1, tzinfo=UTC)),
            TakenBefore(datetime(2016, 1, 1, tzinfo=UTC)),
            InCollections("a"),
            ByAuthors("x", "y"),
            AccurateTo(50),
            ~ByAuthors("12@N00"),
            ~SameBytes("00" * 32),
        )
    )
    assert where() == EVERYTHING


def test_an_object_of_several_conditions_means_all_of_them() -> None:
    read = Filter.from_json(
        {"country": "CH", "not": {"authors": "ada"}, "or": [{"after": "2015-06-30"}, {}]}
    )
    after = TakenAfter(datetime(2015, 6, 30, tzinfo=UTC))
    assert read == And((Country("CH"), ~ByAuthors("ada"), Or((after, EVERYTHING))))


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"bbox": (0, 10, 5, -10)}, "^bbox: 0,10,5,-10"),
        ({"bbox": (0, 0, 181, 1)}, "^bbox"),
        ({"bbox": (0, 0, math.nan, 1)}, "^bbox"),
        ({"bbox": (0, 0, 1)}, "^bbox: expected west,south,east,north"),
        ({"near": (91, 0, 5)}, "^near: 91,0,5"),
        ({"near": (0, 0, 0)}, "^near"),
        ({"near": (0, 0, 20_017)}, "^near"),
        ({"near": ("a", 0, 1)}, "^near: expected a number, found 'a'"),
        ({"within": Point(8, 47)}, "Point"),
        ({"within": Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])}, "Self-intersection"),
        ({"within": box(170, 0, 190, 5)}, "beyond the Earth"),
        ({"within": Polygon()}, "empty"),
        ({"accuracy_m": -1}, "^accuracy_m"),
        ({"exclude_sha256": "abc"}, "^sha256: 'abc'"),
        ({"authors": [1]}, "^authors: expected names"),
        (
            {
                "after": datetime(2020, 1, 1, tzinfo=UTC),
                # The same moment: midnight in UTC is one o'clock an hour east.
                "before": datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            },
            "before",
        ),
    ],
)
def test_a_bad_value_names_its_keyword(bad: Any, names: str) -> None:
    with pytest.raises(InputError, match=names):
        where(**bad)


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ([], r"^filter: expected an object, found list"),
        ({"colour": "red"}, r"^filter.colour: there is no condition 'colour'"),
        ({"and": {}}, r"^filter.and: expected a list, found dict"),
        ({"or": [{}, {"not": {"bbox": [0, 0]}}]}, r"^filter.or\[1\].not.bbox: "),
        ({"not": {"near": [0, 0, -1]}}, r"^filter.not.near: 0,0,-1 is not"),
        ({"after": "June"}, r"^filter.after: 'June' is not a date"),
        ({"after": 5}, r"^filter.after: expected a date, found 5"),
        ({"country": []}, r"^filter.country: expected names"),
        ({"within": {"type": "Point", "coordinates": [0, 0]}}, r"^filter.within: .* is a Point"),
        ({"within": {"type": "Polygon", "coordinates": 5}}, r"^filter.within: .* not GeoJSON"),
    ],
)
def test_bad_json_names_the_place(bad: Any, place: str) -> None:
    with pytest.raises(InputError, match=place):
        Filter.from_json(bad)


def test_names_that_do_not_exist_are_named(world: World) -> None:
    with pytest.raises(NotFoundError, match="no collection 'nowhere'"):
        world.found(~InCollections("nowhere"))
    with pytest.raises(NotFoundError, match="no country or region 'Houled'") as caught:
        world.found(Or((Country("Holed"), Country("Houled"))))
    assert "Holed" in str(caught.value.remedy)


def test_an_area_comes_from_wkt_or_any_geojson(tmp_path: Path) -> None:
    geometry = {"type": "Polygon", "coordinates": [[list(xy) for xy in ZURICH.exterior.coords]]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    documents = [geometry, feature, {"type": "FeatureCollection", "features": [feature, feature]}]
    for number, document in enumerate(documents):
        path = tmp_path / f"{number}.geojson"
        path.write_text(json.dumps(document))
        assert read_area(read_area_file(str(path))).equals(ZURICH)
        assert read_area(document).equals(ZURICH)
    assert read_area(ZURICH.wkt).equals(ZURICH)
    assert read_area("polygon((0 0, 4 0, 4 4, 0 0), (1 0.5, 2 0.5, 2 1, 1 0.5))").area == 7.75
    both = MultiPolygon([ZURICH, box(0, 0, 1, 1)])
    assert read_area(both.wkt).equals(both)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "not JSON"),
        ("[1]", "not GeoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "no features"),
        ('{"type": "Point", "coordinates": [0, 0]}', "is a Point"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}', "valid"),
    ],
)
def test_a_bad_area_file_says_what_is_wrong(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        read_area_file(str(path))
    assert "area.geojson" in caught.value.message


def test_an_area_splits_where_longitudes_are_far_apart() -> None:
    islands = [box(west, 0, west + 1, 1) for west in (0, 5, -170, 100, -100)]
    around = box(-101, 5, -90, 6)
    pieces = split(MultiPolygon([*islands, around]))
    assert [piece.bounds[0] for piece in pieces] == [-170, -101, 0, 100]
    assert [len(piece.geoms) for piece in pieces] == [1, 2, 2, 1]
    assert shapely.union_all(pieces).equals(MultiPolygon([*islands, around]))
    (whole,) = split(HOLED)
    assert whole.equals(HOLED)


def test_a_missing_area_file_and_broken_wkt_are_named() -> None:
    with pytest.raises(InputError, match="neither WKT nor a readable file"):
        read_area_file("nowhere.geojson")
    with pytest.raises(InputError, match="WKT cannot be read"):
        read_area("POLYGON((0 0, 1")


def test_options_make_the_filter_that_keywords_make(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text('{"not": {"near": [0, 0, 5]}}')
    options = make_filter(
        bbox="5,45,11,48",
        country=["CH", "AT"],
        after="2015-06-30",
        author=["ada"],
        licence=["CC0"],
        accuracy_m=100,
        expression=str(path),
    )
    keywords = where(
        bbox=(5, 45, 11, 48),
        country=("CH", "AT"),
        after=datetime(2015, 6, 30, tzinfo=UTC),
        authors="ada",
        licences="CC0",
        accuracy_m=100,
    )
    assert options == keywords & ~Near(0, 0, 5)
    assert make_filter() == EVERYTHING
    assert make_filter(expression='{"country": "CH"}') == Country("CH")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--near", "47.5,8.5", "--near: expected lat,lon,km, found '47.5,8.5'"),
        ("--near", "a,b,c", "--near: expected a number, found 'a'"),
        ("--near", "", "--near: expected lat,lon,km, found ''"),
        ("--bbox", "1,2,3", "--bbox: expected west,south,east,north, found '1,2,3'"),
        ("--bbox", "0,10,5,-10", "--bbox: 0.0,10.0,5.0,-10.0 is not west,south,east,north"),
        ("--after", "June", "--after: 'June' is not a date"),
        ("--within", "POLYGON((0 0, 1", "the WKT cannot be read"),
        ("--filter", "{", "--filter: not JSON"),
        ("--filter", '{"a": 1}', "--filter.a: there is no condition 'a'"),
        ("--filter", "nowhere.json", "--filter nowhere.json is neither"),
    ],
)
def test_a_bad_option_is_named_before_anything_else_happens(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = CommandLine("postgresql:///unused", capsys)("nearest", "x.jpg", option, value)
    assert ran.code == InputError.exit_code
    assert says in ran.err
