"""What people write: accepted where it can only mean one thing, or refused by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geosearch.arguments import at_home, check_wgs84, moment, number, numbers, whole
from geosearch.client import Geosearch, LocalizeOptions
from geosearch.defaults import DUPLICATE_DISTANCE
from geosearch.errors import InputError
from geosearch.evaluation.calibrating import CalibrateOptions, calibrate
from geosearch.evaluation.evaluating import EvaluateOptions, evaluate_each
from geosearch.features.embedding_run import EmbedOptions, embed
from geosearch.ingest.ingest_run import IngestOptions, ingest
from geosearch.localization import Parameters, Request, localize
from geosearch.localization.request import Asking
from geosearch.retrieval import where
from geosearch.retrieval.duplicates import Exclusions
from geosearch.retrieval.filters import (
    AccurateTo,
    BoundingBox,
    ByAuthors,
    Conditions,
    Country,
    Filter,
    HasLicence,
    InCollections,
    Near,
    Photos,
    TakenAfter,
    TakenBefore,
    Within,
    narrowed,
)

DAY = datetime(2015, 1, 1, tzinfo=UTC)
SQUARE = shapely.box(5, 45, 11, 48)
GEOJSON = shapely.to_geojson(SQUARE)
CRS84 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
LV95 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2056"}}


class Shown:
    """A geometry of another library."""

    __geo_interface__ = shapely.geometry.mapping(SQUARE)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"after": "2015-01-01"}, TakenAfter(DAY)),
        ({"after": " 2015-01-01 "}, TakenAfter(DAY)),
        ({"after": "2015-01-01T00:00+00:00"}, TakenAfter(DAY)),
        ({"after": date(2015, 1, 1)}, TakenAfter(DAY)),
        ({"before": datetime(2015, 1, 1)}, TakenBefore(DAY)),
        ({"before": np.datetime64("2015-01-01")}, TakenBefore(DAY)),
        ({"before": np.datetime64("2015-01-01T00:00:00", "ns")}, TakenBefore(DAY)),
        ({"collection": "my photos"}, InCollections("my photos")),
        ({"collection": ["a", "b"]}, InCollections("a", "b")),
        ({"collections": np.array(["a", "b"])}, InCollections("a", "b")),
        ({"author": "ada"}, ByAuthors("ada")),
        ({"licence": ("CC0",)}, HasLicence("CC0")),
        ({"countries": ["CH", "AT"]}, Country("CH", "AT")),
        ({"exclude_author": "ada"}, ~ByAuthors("ada")),
        ({"author": None, "exclude_authors": np.array([]), "exclude_author": set()}, where()),
        ({"bbox": [5, 45, 11, 48]}, BoundingBox(5, 45, 11, 48)),
        ({"bbox": np.array([5, 45, 11, 48], np.float32)}, BoundingBox(5.0, 45.0, 11.0, 48.0)),
        ({"bbox": "5, 45, 11, 48"}, BoundingBox(5.0, 45.0, 11.0, 48.0)),
        ({"bbox": SQUARE.bounds}, BoundingBox(5.0, 45.0, 11.0, 48.0)),
        ({"near": ["46.5", np.int16(8), 200]}, Near(46.5, 8, 200)),
        ({"near": "46.5 8 200"}, Near(46.5, 8.0, 200.0)),
        ({"accuracy_m": np.float32(50)}, AccurateTo(50.0)),
        ({"accuracy_m": np.array(50)}, AccurateTo(50)),
        ({"accuracy_m": "50"}, AccurateTo(50.0)),
        ({"photos": np.array([3, 5])}, Photos(3, 5)),
        ({"within": SQUARE.wkt}, Within(SQUARE)),
        ({"within": f"SRID=4326; {SQUARE.wkt}"}, Within(SQUARE)),
        ({"within": shapely.set_srid(SQUARE, 4326)}, Within(SQUARE)),
        ({"within": GEOJSON}, Within(SQUARE)),
        ({"within": shapely.geometry.mapping(SQUARE) | {"crs": CRS84}}, Within(SQUARE)),
        ({"within": Shown()}, Within(SQUARE)),
    ],
)
def test_a_filter_reads_what_is_meant(written: dict[str, Any], meant: Filter) -> None:
    made = where(**written)
    assert made == meant
    assert made.to_json() == meant.to_json()
    assert str(made) == str(meant)


def test_an_area_may_be_a_path(tmp_path: Path) -> None:
    path = tmp_path / "my area.geojson"
    path.write_text(GEOJSON)
    assert where(within=path) == where(within=str(path)) == where(within=SQUARE)


@pytest.mark.parametrize(
    ("written", "says", "remedy"),
    [
        ({"colections": "a"}, "no condition 'colections'", "Did you mean collections?"),
        ({"colour": "red"}, "no condition 'colour'", "There are and, or, not, "),
        ({"collection": "a", "collections": "b"}, "collection`? and `?collections`? are one", ""),
        ({"after": 2015}, "after`?: expected a date, found 2015", "2015-06-30"),
        ({"after": "June"}, "after`?: 'June' is not a date", "2015-06-30"),
        ({"after": np.datetime64("NaT")}, "after`?: expected a date", ""),
        ({"within": "POINT(8 47)"}, "within`?: the WKT is a Point", "a Polygon or MultiPolygon"),
        ({"bbox": 5}, "bbox`?: expected west,south,east,north, found 5", ""),
        ({"bbox": {5, 45, 11, 48}}, "bbox`?: expected west,south,east,north", ""),
        ({"bbox": SQUARE}, "bbox`?: expected west,south,east,north", ""),
        ({"near": (46.5, 8)}, "near`?: expected lat,lon,km", ""),
        ({"near": (46.5, 8, None)}, "near`?: expected a number, found None", ""),
        ({"near": (46.5, 8, True)}, "near`?: expected a number, found True", ""),
        ({"accuracy_m": [1, 2]}, "accuracy_m`?: expected a number", ""),
        ({"authors": 7}, "authors`?: expected names, found 7", ""),
        ({"author": ""}, "authors`?: expected names, found ''", ""),
        ({"photos": "three"}, "photos`?: expected a whole number, found 't'|expected a number", ""),
        ({"within": 5}, "within`?: expected a path or URL, found int", ""),
        ({"within": f"SRID=2056;{SQUARE.wkt}"}, "within`?: the WKT has .* in 2056", "4326"),
        ({"within": shapely.set_srid(SQUARE, 2056)}, "has coordinates in 2056", "4326"),
        (
            {"within": shapely.geometry.mapping(SQUARE) | {"crs": LV95}},
            "within`?: the GeoJSON has coordinates in urn:ogc:def:crs:EPSG::2056",
            "EPSG:4326",
        ),
        ({"within": "{broken"}, "not JSON", ""),
    ],
)
def test_a_filter_refuses_by_name(written: dict[str, Any], says: str, remedy: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        where(**written)
    assert remedy in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"k": np.int64(5)}, Request(k=5)),
        ({"k": 5.0}, Request(k=5)),
        ({"k": "5"}, Request(k=5)),
        ({"bandwidth_km": np.float64(50)}, Request(bandwidth_km=50.0)),
        ({"bandwidth_km": np.array([50.0])}, Request(bandwidth_km=50.0)),
        (
            {"restrict_cells": 0.9, "partitions": "fine"},
            Request(restrict_cells=0.9, partitions=("fine",)),
        ),
        (
            {"restrict_cells": 0.9, "partitions": ["a", "b"]},
            Request(restrict_cells=0.9, partitions=("a", "b")),
        ),
        ({"partitions": []}, Request()),
        ({"calibration": np.int32(3)}, Request(calibration=3)),
    ],
)
def test_a_request_reads_what_is_meant(written: dict[str, Any], meant: Request) -> None:
    request, passing = Request.of(written | {"collection": "a"})
    assert request == meant
    assert repr(request) == repr(meant)
    assert passing == InCollections("a")


def test_parameters_are_as_they_can_be_recorded() -> None:
    written = Parameters(k=np.int64(5), bandwidth_km=np.float32(50))  # type: ignore[arg-type]
    assert repr(written) == repr(Parameters(k=5, bandwidth_km=50.0))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"k": "many"}, "k`?: expected a number, found 'many'"),
        ({"k": 5.5}, "k`?: expected a whole number, found 5.5"),
        ({"k": True}, "k`?: expected a number, found True"),
        ({"k": [5, 6]}, "k`?: expected a number"),
        ({"bandwidth_km": "wide"}, "bandwidth_km`?: expected a number, found 'wide'"),
        ({"partitions": 5}, "partitions`?: expected names, found 5"),
        ({"kk": 5}, "no condition 'kk'"),
    ],
)
def test_a_request_refuses_by_name(written: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Request.of(written)


@pytest.mark.parametrize("given", [None, {}, Country("CH"), {"country": "CH"}])
def test_a_filter_besides_may_be_json(given: Any) -> None:
    wanted = ByAuthors("ada")
    expected = Country("CH") & wanted if given else wanted
    assert narrowed(given, {"author": "ada"}) == expected


def test_parameters_are_given_once() -> None:
    with pytest.raises(InputError, match=r"parameters`? is given, and `?k`? is one of them"):
        Request.of({"k": 5}, Parameters())


def test_the_usual_distance_of_duplicates_need_not_be_named() -> None:
    assert Exclusions(duplicate_distance=True) == Exclusions(duplicate_distance=DUPLICATE_DISTANCE)
    assert Exclusions(duplicate_distance=False) == Exclusions()


@pytest.fixture
def gs() -> Geosearch:
    """An interface whose arguments are refused before its database is asked."""
    return Geosearch(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "says", "remedy"),
    [
        (lambda gs: gs.localize("x.jpg", kk=5), "no keyword 'kk'", "Did you mean k?"),
        (lambda gs: gs.localize("x.jpg", recrd=False), "'recrd'", "Did you mean record?"),
        (lambda gs: gs.localize("x.jpg", colection="a"), "'colection'", "collection?"),
        (lambda gs: gs.localize("x.jpg", k="many"), "k`?: expected a number", ""),
        (lambda gs: gs.localize(["x.jpg"]), "photo`?: expected a path or URL, .*found list", ""),
        (lambda gs: gs.localize_many(["x.jpg"], exclude_slef=True), "'exclude_slef'", "_self?"),
        (lambda gs: gs.nearest("x.jpg", methd="density"), "'methd'", "There are photo, k, model"),
        (lambda gs: gs.nearest({"x.jpg"}), "photo`?: expected a path or URL, .*, found set", ""),
        (lambda gs: gs.ingest("x", collection="a", deocde=False), "'deocde'", "mean decode?"),
        (lambda gs: gs.ingest(5, collection="a"), "sources`?: expected a path or URL", ""),
        (lambda gs: gs.localize("x.jpg", exclude_self=1), "exclude_self`?: expected true", ""),
        (lambda gs: gs.evaluate("q.csv", exclude_self="no"), "exclude_self`?: expected true", ""),
        (lambda gs: gs.ingest("x", collection="a", decode="no"), "decode`?: expected true", ""),
        (lambda gs: gs.embed(batchsize=8), "'batchsize'", "Did you mean batch_size?"),
        (lambda gs: gs.evaluate("q.csv", bandwith_km=5), "'bandwith_km'", "bandwidth_km?"),
        (lambda gs: gs.calibrate("q.csv", absent=5), "'absent'", "Did you mean absent_km?"),
        (lambda gs: gs.localize("x.jpg", parameters={"k": 5}), "expected a Request", ""),
        (lambda gs: gs.localize("x.jpg", where="CH"), "where: expected an object, found str", ""),
        (lambda gs: gs.localize("x.jpg", weighting=5), "weighting`?: expected text, found 5", ""),
        (lambda gs: gs.localize("x.jpg", model=5), "model`?: expected text, found 5", ""),
        (
            lambda gs: gs.ingest("x", collection="a", workers="x"),
            "workers`?: expected a number",
            "",
        ),
        (lambda gs: gs.ingest("x", collection="a", author=5), "author`?: expected text", ""),
        (lambda gs: gs.evaluate(5), "queries`?: expected a path or URL, found int", ""),
        (lambda gs: gs.calibrate("q.csv", sample=1.5), "sample`?: expected a whole number", ""),
        (lambda gs: gs.index(k="many"), "k`?: expected a number", ""),
        (lambda gs: gs.load("last"), "localization_id`?: expected a number", ""),
    ],
)
def test_the_interface_refuses_by_name(
    gs: Geosearch,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Geosearch], object],
    says: str,
    remedy: str,
) -> None:
    monkeypatch.setattr(Geosearch, "_backbone", lambda *_: None)
    with pytest.raises(InputError, match=says) as refused:
        call(gs)
    assert remedy in (refused.value.remedy or "")


def test_options_are_those_of_what_they_are_passed_to() -> None:
    def keywords(function: Callable[..., Any]) -> set[str]:
        parameters = inspect.signature(function).parameters.values()
        return {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}

    asked = {field.name for field in fields(Request)}
    assert set(Asking.__annotations__) == asked | set(Conditions.__annotations__)
    assert set(IngestOptions.__annotations__) == keywords(ingest) - {"collection", "embedder"}
    assert set(EmbedOptions.__annotations__) == keywords(embed) - {"device"}
    assert set(EvaluateOptions.__annotations__) == keywords(evaluate_each)
    own = {"model", "device", "where", "exclusions"}
    assert set(CalibrateOptions.__annotations__) == keywords(calibrate) - own
    own = set(LocalizeOptions.__annotations__) - set(Asking.__annotations__)
    leaving = {"exclude_self", "exclude_duplicates"}
    assert own == keywords(localize) - {"exclusions", "progress"} | leaving


@pytest.mark.parametrize(
    "crs",
    [
        *(None, 4326, "EPSG:4326", "epsg:4326", "urn:ogc:def:crs:EPSG::4326", "WGS 84", "WGS84"),
        *("OGC:CRS84", "http://www.opengis.net/def/crs/OGC/1.3/CRS84", CRS84),
        {"type": "name", "properties": {"name": "EPSG:4326"}},
    ],
)
def test_wgs_84_has_many_names(crs: Any) -> None:
    check_wgs84("a.geojson", crs)


@pytest.mark.parametrize(
    "crs", [3857, "EPSG:3857", "EPSG:14326", LV95, {"type": "link"}, {}, "", "WGS 84 / UTM 32N"]
)
def test_other_systems_are_refused_with_the_file(crs: Any) -> None:
    with pytest.raises(InputError, match=r"^a.geojson has coordinates in"):
        check_wgs84("a.geojson", crs)


@given(st.integers(-(2**62), 2**62))
def test_whole_numbers_are_themselves_however_written(value: int) -> None:
    assert (
        whole("k", value) == whole("k", np.int64(value)) == whole("k", np.array([value])) == value
    )


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3))
def test_numbers_are_themselves_however_written(values: list[float]) -> None:
    text = ", ".join(map(repr, values))
    for written in (values, tuple(values), np.array(values), text, [repr(v) for v in values]):
        assert numbers("near", written, ("lat", "lon", "km")) == values
    assert [type(found) for found in numbers("near", np.array(values), "abc")] == [float] * 3


@given(st.datetimes(), st.integers(-12, 12))
def test_moments_are_themselves_however_written(clock: datetime, hours: int) -> None:
    there = clock.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert moment("after", there) == moment("after", there.isoformat()) == there
    assert (
        moment("after", clock) == moment("after", np.datetime64(clock)) == clock.replace(tzinfo=UTC)
    )
    assert moment("after", clock.date()) == datetime(*clock.timetuple()[:3], tzinfo=UTC)


def test_numbers_keep_their_kind() -> None:
    assert [type(number("k", value)) for value in (5, 5.0, "5", np.int8(5))] == [
        int,
        float,
        float,
        int,
    ]


def test_a_home_folder_is_found_and_that_of_nobody_is_a_name_like_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for written, meant in {"~/a": "/home/me/a", "~nobody-here/a": "~nobody-here/a"}.items():
        assert at_home(Path(written)) == Path(meant)
