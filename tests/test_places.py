"""Places in words: what SQL says of positions, and what an answer, a command and a report say."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.borders import find_border, list_borders
from geosearch.borders.shipped import BORDERS, PLACES, SOURCE
from geosearch.database.connection import Connection, Database
from geosearch.localization.answer_rows import load, save, with_places
from geosearch.sphere import great_circle_km, initial_bearing
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine

COMPASS = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"]


def said(connection: Connection, lat: float, lon: float, radius_km: float = 0.0) -> str | None:
    row = connection.execute(
        "SELECT geosearch.place_name(ST_SetSRID(ST_Point(%s, %s), 4326), %s)", (lon, lat, radius_km)
    ).fetchone()
    assert row is not None
    name: str | None = row[0]
    return name


@pytest.mark.parametrize(
    ("lat", "lon", "radius_km", "words"),
    [
        # In a town, and about it.
        (55.7050, 13.1900, 0.2, "in Lund, Skåne, Sweden"),
        (55.7050, 13.1900, 20, "around Lund, Skåne, Sweden"),
        (48.8500, 2.3500, 1, "in Paris, Île-de-France, France"),
        (35.6800, 139.7000, 5, "in Tokyo, Japan"),
        # A suburb, where the position is sure; the city it belongs to, where it is not.
        (59.3600, 18.0000, 0.2, "in Solna, Stockholm, Sweden"),
        (59.3600, 18.0000, 25, "in Stockholm, Sweden"),
        # In the country.
        (41.0363, -83.3056, 0.2, "14 km SW of Tiffin, United States of America"),
        (23.5000, 5.0000, 0, "96 km NW of Tamanghasset, Algeria"),
        # Far from all towns, or not known to a town: a part of the country.
        (22.7700, 50.6000, 0, "eastern Saudi Arabia"),
        (27.0000, 43.0000, 400, "northern Saudi Arabia"),
        (-25.000, 135.000, 300, "central Australia"),
        (67.0000, 20.0000, 200, "northern Sweden"),
        # A country off the main land is spoken of by its divisions.
        (65.0000, -150.00, 300, "Alaska, United States of America"),
        (28.3000, -16.500, 160, "Canary Islands, Spain"),
        # Larger than the country, and than that.
        (46.8000, 8.2000, 160, "around Switzerland"),
        (60.0000, 90.0000, 2000, "around Eastern Europe"),
        (60.0000, 90.0000, 4000, "around Europe"),
        # At sea.
        (38.7000, -13.900, 0, "at sea, 412 km W of Lisbon, Portugal"),
        (38.7000, -13.900, 500, "around Lisbon, Portugal"),
        (0.0, 0.0, 0, "at sea, 618 km S of Accra, Ghana"),
        # The ends of the map.
        (90.0, 0.0, 0, "at sea, 1,310 km N of Longyearbyen, Svalbard and Jan Mayen"),
        (90.0, 180.0, 0, "at sea, 1,310 km N of Longyearbyen, Svalbard and Jan Mayen"),
        (-90.0, 0.0, 0, "Antarctica"),
        (-90.0, -120.0, 400, "Antarctica"),
        (-17.0, 180.0, 0, "75 km E of Savusavu, Fiji"),
        (-17.0, -180.0, 0, "75 km E of Savusavu, Fiji"),
    ],
)
def test_a_position_in_words(
    module_database: Database, lat: float, lon: float, radius_km: float, words: str
) -> None:
    with module_database.connection() as connection:
        assert said(connection, lat, lon, radius_km) == words


@pytest.mark.parametrize(
    "geometry",
    [
        "NULL::geometry",
        "'POINT EMPTY'::geometry",
        "ST_Point('NaN', 0)",
        "ST_Point(0, 'Infinity')",
        "ST_Point(0, 91)",
        "ST_Point(181, 0)",
    ],
)
def test_what_is_not_on_the_earth_has_no_place(module_database: Database, geometry: str) -> None:
    with module_database.connection() as connection:
        assert connection.execute(f"SELECT geosearch.place_name({geometry})").fetchone() == (None,)


def test_any_geometry_has_a_place_and_any_radius_will_do(module_database: Database) -> None:
    with module_database.connection() as connection:
        row = connection.execute(
            """
            SELECT geosearch.place_name(ST_Point(13.19, 55.705)),
                geosearch.place_name(ST_Transform(ST_SetSRID(ST_Point(13.19, 55.705), 4326), 3857)),
                geosearch.place_name(ST_Buffer(ST_SetSRID(ST_Point(13.19, 55.705), 4326), 0.01)),
                geosearch.place_name(ST_Point(13.19, 55.705), NULL),
                geosearch.place_name(ST_Point(13.19, 55.705), -3),
                geosearch.place_name(ST_Point(13.19, 55.705), 'NaN'),
                geosearch.place_name(ST_Point(13.19, 55.705), 'Infinity')
            """
        ).fetchone()
    lund = "in Lund, Skåne, Sweden"
    assert row == (lund, lund, lund, lund, lund, "around Europe", "around Europe")


latitudes = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 0.0, 90.0]))
longitudes = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 0.0, 180.0]))
radii = st.one_of(st.just(0.0), st.floats(0, 20_000))


@given(latitudes, longitudes, radii)
def test_every_position_has_a_place(
    module_database: Database, lat: float, lon: float, radius_km: float
) -> None:
    with module_database.connection() as connection:
        words = said(connection, lat, lon, radius_km)
    assert words is not None
    assert re.fullmatch(
        r"(?:(?:in|around) |(?:at sea, )?\d[\d,]* km (?:[NS]?[EW]|[NS]) of |"
        r"(?:(?:north|south|east|west|north-east|north-west|south-east|south-west)ern|central) )?"
        r"\w[^,]*(?:, \w[^,]*)*",
        words,
    )


@given(latitudes, longitudes)
def test_distance_and_direction_are_those_of_the_great_circle(
    module_database: Database, lat: float, lon: float
) -> None:
    with module_database.connection() as connection:
        words = said(connection, lat, lon)
        found = re.fullmatch(
            r"(?:at sea, )?([\d,]+) km ([NESW]+) of (.+), ([^,]+(?:, [^,]+)?)", words or ""
        )
        if found is None:
            return
        rows = connection.execute(
            "SELECT ST_Y(geom), ST_X(geom) FROM geosearch.places "
            "WHERE name || ', ' || country = %s",
            (f"{found[3]}, {found[4]}",),
        ).fetchall()
    town_lat, town_lon = np.array(rows, float).T
    km = great_circle_km(town_lat, town_lon, lat, lon)
    turn = initial_bearing(town_lat, town_lon, lat, lon)
    off = np.abs((turn - 45 * COMPASS.index(found[2]) + 180) % 360 - 180)
    assert ((np.abs(km - int(found[1].replace(",", ""))) <= 0.51) & (off <= 22.6)).any()


def test_an_uncertain_position_is_given_to_the_city_not_to_its_suburb(
    module_database: Database,
) -> None:
    # Of the places within 12 km of a city ten times their size, an answer good to 25 km is about
    # the city, or about another of that size.
    with module_database.connection() as connection:
        row = connection.execute(
            """
            SELECT count(*), count(*) FILTER (
                WHERE geosearch.place_name(s.geom, 25) NOT LIKE '% ' || s.name || ', %'
            )
            FROM geosearch.places AS c
            JOIN geosearch.places AS s ON s.population BETWEEN 1000 AND c.population / 10
                AND s.iso_a2 = c.iso_a2 AND s.id % 20 = 0
                AND ST_DWithin(s.geom::geography, c.geom::geography, 12000)
            WHERE c.population >= 1000000
            """
        ).fetchone()
    assert row is not None
    asked, given_away = row
    assert asked > 100
    assert given_away > 0.95 * asked


def test_borders_and_places_come_with_the_schema(database: Database) -> None:
    with database.connection() as connection:
        borders = list_borders(connection)
        row = connection.execute(
            """
            SELECT count(*), count(DISTINCT iso_a2),
                count(*) FILTER (WHERE population >= 1000000), max(length(name))
            FROM geosearch.places
            """
        ).fetchone()
        switzerland = find_border(connection, "CH")
    assert {each.source for each in borders} == {SOURCE}
    countries = {each.name: each for each in borders if each.kind == "country"}
    assert len(countries) == 241
    assert {"Africa", "Europe", "Southern Asia"} <= {each.name for each in borders} - set(countries)
    assert (countries["Norway"].iso_a2, countries["Norway"].continent) == ("NO", "Europe")
    assert switzerland.area == pytest.approx(4.9, abs=0.2)
    assert row is not None
    places, nations, cities, longest = row
    assert (places > 80_000, nations > 230, cities > 400, longest < 80) == (True,) * 4


def test_areas_of_countries_are_valid_and_overlap_nowhere(database: Database) -> None:
    with database.connection() as connection:
        row = connection.execute(
            """
            SELECT bool_and(ST_IsValid(geom)), sum(ST_Area(geom::geography, false)) / 1e12
            FROM geosearch.borders WHERE kind = 'country'
            """
        ).fetchone()
        together = connection.execute(
            """
            SELECT sum(ST_Area(geom::geography, false)) / 1e12 FROM geosearch.borders
            WHERE name IN ('Africa', 'Americas', 'Antarctica', 'Asia', 'Europe', 'Oceania')
                AND kind = 'region'
            """
        ).fetchone()
    assert row is not None
    assert row[0] is True
    assert row[1] == pytest.approx(146.5, abs=1.5)  # million km², the Earth's land
    assert together is not None
    assert together[0] == pytest.approx(row[1], rel=0.01)


def test_readers_may_ask_for_places(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_reader")
        assert said(connection, 55.705, 13.19) == "in Lund, Skåne, Sweden"


def test_what_is_carried_is_small() -> None:
    assert BORDERS.stat().st_size + PLACES.stat().st_size < 1_600_000
    assert lzma.decompress(PLACES.read_bytes()).decode().count("\n") > 80_000


def test_an_answer_says_its_place_and_keeps_what_it_said(database: Database) -> None:
    lund = make_answer([55.70, 55.71], [13.19, 13.20], bandwidth_km=0.5)
    with database.connection() as connection:
        named = with_places(connection, [lund, unanswered(), make_answer([27.0], [43.0])])
        keys = save(connection, named)
        connection.execute("DELETE FROM geosearch.places")
        rows = connection.execute(
            "SELECT place FROM geosearch.gis_estimates ORDER BY id"
        ).fetchall()
    words = ["in Lund, Skåne, Sweden", None, "northern Saudi Arabia"]
    assert [answer.to_json()["place"] for answer in named] == words
    assert [load(database, key).place_name for key in keys] == words
    assert rows == [(word,) for word in words]


def test_show_says_the_place(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connection() as connection:
        (key,) = save(connection, with_places(connection, [make_answer([27.0], [43.0])]))
    geosearch = CommandLine(database.url, capsys)
    assert re.search(r"place +northern Saudi Arabia", geosearch("show", str(key)).out)
    assert geosearch("show", str(key), "--json").json()["place"] == "northern Saudi Arabia"
