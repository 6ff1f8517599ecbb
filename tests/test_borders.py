"""Borders: read from either format, kept in the database, found by any name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from psycopg import sql
from shapely.geometry import Point, box, mapping

from geosearch.borders import Border, find_border, list_borders, load_borders, read_borders
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import EXIT_SOME_REJECTED, InputError, NotFoundError
from geosearch.retrieval.filters import Country, Filter
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos

FORMATS = {
    "natural earth": "ne_110m_admin_0_countries.geojson",
    "country-coder": "country_coder_borders.geojson",
}
#: Well inside, by name: latitude, longitude.
CITIES = {
    "Bern": (46.95, 7.45),
    "Paris": (48.85, 2.35),
    "Cayenne": (4.5, -53.0),
    "Denver": (39.74, -104.98),
    "Fairbanks": (64.84, -147.72),
    "Chukotka": (66.5, -176.0),
    "Moscow": (55.75, 37.62),
    "Canberra": (-35.3, 149.1),
    "Lesotho": (-29.5, 28.2),
    "Bloemfontein": (-29.1, 26.2),
    "Pacific": (0.0, -140.0),
}


@pytest.fixture(scope="module", params=[*FORMATS, "of geosearch"])
def loaded(request: Any, module_database: Database, shared_data: Path) -> Database:
    name = FORMATS.get(request.param)
    load_borders(module_database, name and shared_data / "tables" / name)
    return module_database


@dataclass
class Cities:
    """One embedded photo in each city."""

    model: int
    names: dict[int, str]

    def within(self, database: Database, condition: Filter) -> set[str]:
        """Cities whose photo passes."""
        with database.connection() as connection:
            chosen, values = condition.compile(connection)
            statement = sql.SQL("SELECT photo_id FROM {} WHERE {}")
            rows = connection.execute(statement.format(embedding_table(self.model), chosen), values)
            return {self.names[row[0]] for row in rows}


@pytest.fixture(scope="module")
def cities(module_database: Database) -> Cities:
    lat, lon = np.array(list(CITIES.values())).T
    with module_database.connection() as connection:
        model = add_model(connection, 2)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos, np.ones((len(photos), 2), np.float32))
    names = {photo.photo_id: name for photo, name in zip(photos, CITIES, strict=True)}
    return Cities(model, names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Switzerland"], {"Bern"}),
        (["ch"], {"Bern"}),
        (["CHE", "AUS"], {"Bern", "Canberra"}),
        (["France"], {"Paris", "Cayenne"}),
        (["FR"], {"Paris", "Cayenne"}),
        (["norway"], set()),
        (["United States of America"], {"Denver", "Fairbanks"}),
        (["RUS"], {"Moscow", "Chukotka"}),
        (["South Africa"], {"Bloemfontein"}),
        (["Africa"], {"Bloemfontein", "Lesotho"}),
        (["Southern Africa"], {"Bloemfontein", "Lesotho"}),
        (["Australia and New Zealand"], {"Canberra"}),
    ],
)
def test_countries_and_regions_hold_their_cities(
    loaded: Database, cities: Cities, names: list[str], expected: set[str]
) -> None:
    assert cities.within(loaded, Country(*names)) == expected


def test_photos_at_sea_are_in_no_country(loaded: Database, cities: Cities) -> None:
    assert cities.within(loaded, ~Country("CH")) == set(CITIES) - {"Bern"}


def test_stored_geometries_are_valid_and_on_the_earth(loaded: Database) -> None:
    with loaded.connection() as connection:
        rows = connection.execute("SELECT geom FROM geosearch.borders").fetchall()
    areas = shapely.from_wkb([row[0] for row in rows])
    assert len(areas) > 200
    assert shapely.is_valid(areas).all()
    west, south, east, north = shapely.total_bounds(areas)
    assert (west, south, east) == (-180, -90, 180)
    assert 80 < north < 85


def test_an_unknown_name_lists_similar_ones(loaded: Database) -> None:
    with loaded.connection() as connection:
        for wrong, right in (("Swizerland", "Switzerland"), ("Zealand", "New Zealand")):
            with pytest.raises(NotFoundError, match=wrong) as caught:
                find_border(connection, wrong)
            assert right in str(caught.value.remedy)


def test_without_borders_the_command_to_load_them_is_named(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("DELETE FROM geosearch.borders")
        with pytest.raises(NotFoundError, match="no borders are loaded") as caught:
            find_border(connection, "CH")
    assert "geosearch borders load" in str(caught.value.remedy)


def test_codes_and_regions_of_natural_earth(shared_data: Path) -> None:
    borders, flaws = read_borders(shared_data / "tables" / FORMATS["natural earth"])
    by_name = {border.name: border for border in borders if border.kind == "country"}
    assert len(by_name) == 177
    assert [(flaw.feature, flaw.used) for flaw in flaws] == [("Sudan", True)]
    codes = {name: (by_name[name].iso_a2, by_name[name].iso_a3) for name in ("France", "Norway")}
    assert codes == {"France": ("FR", "FRA"), "Norway": (None, "NOR")}
    assert by_name["N. Cyprus"].iso_a2 is None
    assert by_name["Fiji"].subregion == "Melanesia"
    assert {border.name for border in borders if border.kind == "region"} >= {"Europe", "Melanesia"}


def test_countries_of_parts_in_country_coder(shared_data: Path) -> None:
    borders, flaws = read_borders(shared_data / "tables" / FORMATS["country-coder"])
    by_name = {border.name: border for border in borders}
    assert flaws == []
    britain = by_name["United Kingdom"]
    assert (britain.kind, britain.iso_a2, britain.aliases) == ("country", "GB", ("UK",))
    assert britain.continent is None, "it has parts on several"
    portugal = by_name["Portugal"]
    assert (portugal.continent, portugal.subregion) == ("Europe", "Southern Europe")
    assert britain.geometry.contains(by_name["Scotland"].geometry.buffer(-1e-6))
    assert by_name["European Union"].geometry.contains(Point(2.35, 48.85))
    assert not by_name["European Union"].geometry.contains(Point(7.45, 46.95))


def _features(*features: tuple[dict[str, Any], Any]) -> str:
    members = [
        {"type": "Feature", "properties": raw, "geometry": geometry} for raw, geometry in features
    ]
    return json.dumps({"type": "FeatureCollection", "features": members})


BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]}


def test_bad_features_are_repaired_or_named_and_the_others_loaded(tmp_path: Path) -> None:
    path = tmp_path / "borders.json"
    path.write_text(
        _features(
            ({"NAME": "Good", "CONTINENT": "Land"}, mapping(box(0, 0, 1, 1))),
            ({"NAME": "Bowtie", "CONTINENT": "Land"}, BOWTIE),
            ({"NAME": "Nowhere"}, None),
            ({"NAME": "Spot"}, mapping(Point(1, 1))),
            ({"NAME": "Outside"}, mapping(box(170, 0, 190, 1))),
            ({"NAME": "Odd"}, {"type": "Polygon", "coordinates": "?"}),
        )
    )
    borders, flaws = read_borders(path)
    assert [(border.kind, border.name) for border in borders] == [
        ("country", "Good"),
        ("country", "Bowtie"),
        ("region", "Land"),
    ]
    assert borders[1].geometry.area == 8
    assert borders[2].geometry.equals(shapely.union_all([box(0, 0, 1, 1), borders[1].geometry]))
    assert {flaw.feature: flaw.used for flaw in flaws} == {
        "Bowtie": True,
        "Nowhere": False,
        "Spot": False,
        "Outside": False,
        "Odd": False,
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "not a GeoJSON FeatureCollection"),
        ("[]", "not a GeoJSON FeatureCollection"),
        ('{"features": [{}]}', "not a GeoJSON FeatureCollection"),
        (_features(({"title": "x"}, None)), "holds no borders"),
        (_features(({"NAME": "x"}, None)), "holds no borders"),
    ],
)
def test_a_file_of_no_borders_is_refused_and_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "borders.json"
    path.write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        read_borders(path)
    assert "borders.json" in caught.value.message
    with pytest.raises(InputError, match="cannot be read"):
        read_borders(tmp_path / "missing.json")


def test_loading_again_replaces_and_a_bad_file_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "borders.json"
    for name in ("Old", "New"):
        path.write_text(_features(({"NAME": name, "ADMIN": "Same"}, mapping(box(0, 0, 1, 1)))))
        result = load_borders(database, path)
        assert (result.countries, result.regions, result.flaws) == (1, 0, ())
    path.write_text("[]")
    with pytest.raises(InputError):
        load_borders(database, path)
    with database.connection() as connection:
        (place,) = list_borders(connection)
        found = find_border(connection, " same ")
    assert (place.name, place.aliases, place.source) == ("New", ("Same",), "borders.json")
    assert found.equals(box(0, 0, 1, 1))


def test_a_country_comes_before_a_region_of_the_same_name(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "borders.json"
    path.write_text(
        _features(
            ({"NAME": "Atlantis", "CONTINENT": "Atlantis"}, mapping(box(0, 0, 1, 1))),
            ({"NAME": "Islet", "CONTINENT": "Atlantis"}, mapping(box(5, 0, 6, 1))),
        )
    )
    load_borders(database, path)
    with database.connection() as connection:
        assert find_border(connection, "Atlantis").equals(box(0, 0, 1, 1))


def test_the_commands_load_and_list(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(database.url, capsys)
    path = tmp_path / "borders.json"
    good = ({"NAME": "Good", "ISO_A2": "GD", "CONTINENT": "Land"}, mapping(box(0, 0, 1, 1)))
    path.write_text(_features(good))
    assert geosearch("borders", "load", path).out == "borders.json: 1 countries, 1 regions\n"
    path.write_text(_features(good, ({"NAME": "Nowhere"}, None)))
    ran = geosearch("borders", "load", path, "--json")
    assert ran.code == EXIT_SOME_REJECTED
    assert ran.json()["countries"] == 1
    assert ran.json()["flaws"][0]["feature"] == "Nowhere"
    listed = geosearch("borders", "list", "--json").json()
    assert [(place["name"], place["iso_a2"]) for place in listed] == [
        ("Good", "GD"),
        ("Land", None),
    ]
    assert "Good" in geosearch("borders", "list").out
    assert geosearch("borders", "load", tmp_path / "no.json").code == InputError.exit_code
    assert geosearch("borders", "load").out == "Natural Earth 1:50m: 241 countries, 29 regions\n"
    assert geosearch("borders", "list", "--json").json()[0]["source"] == "Natural Earth 1:50m"


def test_borders_are_multipolygons(shared_data: Path) -> None:
    for name in FORMATS.values():
        borders, _ = read_borders(shared_data / "tables" / name)
        assert all(_is_sound(border) for border in borders)


def _is_sound(border: Border) -> bool:
    return border.geometry.geom_type == "MultiPolygon" and bool(border.geometry.is_valid)
