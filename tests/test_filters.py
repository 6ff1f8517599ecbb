"""Filters: what they accept, what they refuse, and that they survive being recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shapely.geometry import MultiPolygon, Point, Polygon, box

from geosearch.errors import InputError
from geosearch.retrieval.filters import Filter, parse_area, parse_numbers, parse_time

ZURICH = Polygon([(8.4, 47.3), (8.7, 47.3), (8.7, 47.5), (8.4, 47.5)])


def test_a_filter_survives_json() -> None:
    where = Filter(
        bbox=(170, -20, -170, 20),
        near=(47.4, 8.5, 25),
        within=ZURICH,
        after=datetime(2015, 1, 1, tzinfo=UTC),
        before=datetime(2016, 1, 1, tzinfo=UTC),
        collections=("a", "b"),
        exclude_authors=("12@N00",),
        exclude_sha256=("00" * 32,),
    )
    again = Filter.from_json(json.loads(json.dumps(where.to_json())))
    assert again == where
    assert Filter.from_json(Filter().to_json()) == Filter()


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"bbox": (0, 10, 5, -10)}, "--bbox"),
        ({"bbox": (0, 0, 181, 1)}, "--bbox"),
        ({"near": (91, 0, 5)}, "--near"),
        ({"near": (0, 0, 0)}, "--near"),
        ({"within": Point(8, 47)}, "Point"),
        ({"within": Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])}, "Self-intersection"),
        ({"within": box(170, 0, 190, 5)}, "beyond the Earth"),
        ({"within": Polygon()}, "empty"),
        (
            {
                "after": datetime(2020, 1, 1, tzinfo=UTC),
                "before": datetime(2019, 1, 1, tzinfo=UTC),
            },
            "--before",
        ),
    ],
)
def test_a_bad_filter_names_its_option(bad: dict[str, object], names: str) -> None:
    with pytest.raises(InputError, match=names):
        Filter(**bad)  # type: ignore[arg-type]


def test_an_area_comes_from_wkt_or_any_geojson(tmp_path: Path) -> None:
    geometry = {"type": "Polygon", "coordinates": [[list(xy) for xy in ZURICH.exterior.coords]]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    documents = [geometry, feature, {"type": "FeatureCollection", "features": [feature, feature]}]
    for number, document in enumerate(documents):
        path = tmp_path / f"{number}.geojson"
        path.write_text(json.dumps(document))
        assert parse_area(str(path)).equals(ZURICH)
    assert parse_area(ZURICH.wkt).equals(ZURICH)
    both = MultiPolygon([ZURICH, box(0, 0, 1, 1)])
    assert parse_area(both.wkt).equals(both)


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
        parse_area(str(path))
    assert "area.geojson" in caught.value.message


def test_a_missing_area_file_and_broken_wkt_are_named() -> None:
    with pytest.raises(InputError, match="neither WKT nor a readable file"):
        parse_area("nowhere.geojson")
    with pytest.raises(InputError, match="WKT cannot be read"):
        parse_area("POLYGON((0 0, 1")


def test_options_are_parsed_or_named() -> None:
    assert parse_numbers("--near", "47.5,8.5,20", "LAT,LON,KM") == (47.5, 8.5, 20)
    for text in ("47.5,8.5", "a,b,c", "", "1,2,3,4"):
        with pytest.raises(InputError, match="--near"):
            parse_numbers("--near", text, "LAT,LON,KM")
    assert parse_time("--after", "2015-06-30") == datetime(2015, 6, 30, tzinfo=UTC)
    with pytest.raises(InputError, match="--after"):
        parse_time("--after", "June")
