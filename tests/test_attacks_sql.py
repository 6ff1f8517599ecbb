"""Every function of schema geosearch against what no caller should give: NaN, infinity, NULL, …

Each answers with something finite and on the Earth, or refuses it and says what to give instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import shapely
from psycopg import sql

from geosearch.calibration.fitted import Fitted, Kind, Scale, Spacing
from geosearch.calibration.kernels import Kernels
from geosearch.calibration.presence import Presence
from geosearch.calibration.prior import Prior
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.retrieval import Filter
from tests.test_sql_rights import ROOT

POSITIONS = (
    "POINT EMPTY", "POINT(NaN NaN)", "POINT(8 NaN)", "POINT(NaN 47)",
    "POINT(0 95)", "POINT(-190 0)", "POINT(1e308 -1e308)", "POINT(170 NaN)",
    "POINT(5e-324 -5e-324)", "POINT(1e-200 1e-170)", "POINT(0 0)", "POINT(180 -90)",
    "POINT Z(8 47 NaN)", "LINESTRING(0 0,1 1)", "LINESTRING(0 0,NaN 1)", "POLYGON EMPTY",
    "POLYGON((0 0,1 0,1 1,0 0))", "POLYGON((0 0,1 1,0 0,0 0))", "POLYGON((0 0,NaN 0,1 1,0 0))",
    "POLYGON((0 0,1e308 0,1 1e308,0 0))",
    "MULTIPOLYGON(EMPTY)", "MULTIPOLYGON EMPTY", "GEOMETRYCOLLECTION EMPTY",
    "GEOMETRYCOLLECTION(POINT(NaN 1))", "CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))",
    # Infinity has no text that PostGIS reads.
    shapely.Point(math.inf, 0).wkb_hex, shapely.Point(0, -math.inf).wkb_hex,
    shapely.Polygon([(0, 0), (math.inf, 0), (1, 1), (0, 0)]).wkb_hex,
)  # fmt: skip
NUMBERS = (
    None, "NaN", "Infinity", "-Infinity", "1.7e308", "-1.7e308", "5e-324", "-5e-324", "1e-200",
    "0", "-1", "95", "190", "1e9",
)  # fmt: skip
WHOLE = (None, "0", "-1", "1", "1001", "2147483647", "-2147483648")
WORDS = (None, "", "NaN", "power:NaN", "power:1e99", "power:1e-99", "softmax:1e-99", "%s %n", "\\",
         "'; DROP SCHEMA geosearch; --", "\x1b[31m", "x" * 100_000)  # fmt: skip
#: Of each type: something usable first, then what is hostile.
VALUES: dict[str, tuple[Any, ...]] = {
    "double precision": ("1", *NUMBERS),
    "real": ("1", None, "NaN", "Infinity", "-Infinity", "3e38", "1e-45", "-1"),
    "double precision[]": (
        "{1,2}", None, "{}", "{NULL}", "{NULL,1}", "{1}", "{NaN,1}", "{Infinity,1}",
        "{1,-Infinity}", "{95,0}", "{0,-190}", "{1.7e308,1.7e308}", "{5e-324,1}", "{1e-200,1e-170}",
        "{5e-324,5e-324}", "{-1,1}", "{0,0}", "{{1,2},{3,4}}", "[0:1]={1,2}", "{0.5,1,1.5}",
    ),
    "integer": ("1", *WHOLE),
    "bigint": ("1", *WHOLE, "9223372036854775807", "-9223372036854775808"),
    "boolean": ("true", None, "false"),
    "text": (None, *WORDS),
    "jsonb": ("{}", '{"collections": ["towns"]}', '{"not": {"or": [{}, 3]}}', '{"and": 3}',
        '{"collections": ["a"]}', None, "{}", "[]", "null", '{"not": {"a": [1, {}]}}'),
    "json": ("{}", None, "[]", "null", '{"layer": 3}', '{"after": "x"}', '{"answer": 1e9}'),
    "bytea": (None, "", r"\x00", r"\x" + "00" * 32),
    "name": (None, "geosearch_reader", "", "x" * 100),
    "text[]": (None, "{}", "{NULL}", '{""}', "{{a,b},{c,d}}", "[0:0]={a}"),
    "bigint[]": (None, "{}", "{NULL}", "{-1}", "{{1,2},{3,4}}", "{9223372036854775807}"),
    "timestamp with time zone": (
        None, "infinity", "-infinity", "4713-01-01 00:00+00 BC", "294276-12-31 00:00+00",
    ),
    "anycompatible": (None, "infinity", "-infinity", "2015-06-30", "4713-01-01 00:00+00 BC"),
    "geometry": (
        "SRID=4326;POINT(8 47)", None, *(f"SRID=4326;{text}" for text in POSITIONS), *POSITIONS,
        *(f"SRID=3857;{text}" for text in POSITIONS), "SRID=999999;POINT(1 1)",
    ),
    "geometry[]": (None, "{}", "{NULL}"),
    "halfvec": (
        f"[{','.join(['1'] * 16)}]", None, f"[{','.join(['0'] * 16)}]", "[1]",
        f"[{','.join(['6e-8'] * 16)}]", f"[{','.join(['65504'] * 16)}]",
    ),
    "leaves": ('(1,1,place,0,"{-180,-90,180,90}",,)', None, "(,,,,,,)"),
    "expression[]": ('{"(true,true,,t,f,{},,,)"}', None, "{}", '{"(,,,,,,,,)",NULL}'),
    "photo_filter": (
        "(,,,,,,,,,,,)", None, "(,,NaN,,,,,,,,,)", "(,,,infinity,,,,,,NaN,,)",
    ),
}  # fmt: skip
#: The parameters of a calibration.
FITTED = json.dumps(
    Fitted(
        k=100,
        bandwidth=2.0,
        weighting="power:10",
        sharpness=1.5,
        spacing=Spacing(1.0, 10.0, 100.0),
        scale_km=100.0,
        scale=Scale((0.0,) * 8, (1.0,) * 8, (-9.0,) * 8, (9.0,) * 8),
        kernels=Kernels((0.3, 1.0), (0.5, 3.0), ((0.1,) * 9,) * 5),
        prior=Prior((0.0, 10.0), (0.0, 20.0), (50.0, 60.0)),
        kinds=(Kind(),),
        presence=Presence((0.1,) * 9, -1.0, 0.5),
        min_presence=0.1,
    ).to_json()
)
#: By name, what a usable value of an argument is where another of its type is not.
USABLE = {
    "model": "sample/towns", "weighting": "power:10", "layer": "photos", "name": "Japan",
    "z": "0", "x": "0", "y": "0", "levels": "{0.5,0.9}", "lat": "47", "near_km": None,
    "near": None, "within": None, "state": None, "accuracy_m": None, "collection": "towns",
    "fitted": FITTED,
}  # fmt: skip
#: Errors that say what is wrong with what was given, or that the caller may not.
REFUSED = {"22023", "42501"}
#: Parts of other functions, which check what these are given, or what they give: they may answer
#: with NaN, or with any error about a value.
PARTS = (
    "wgs84", "kde_mode_add", "great_circle_arc", "climb", "ring_mass", "part_of", "index_plan",
    "few_enough", "search_setting", "use_index", "found_recall", "recall_curve", "exact_cost",
    "ring_radii", "rings_within", "interpolated", "logistic", "numbers", "filter_json",
    "filter_parts", "filter_words", "calibration_for", "calibration_differs", "domain_words",
    "country_at", "town_at", "stated_position", "leaf_condition", "leaf_setting", "leaf_plan",
    "leaf_deeper", "leaf_candidates", "circle_boxes", "join_expressions", "boxes_of",
    "boxes_in_common", "sphere_metres", "nearest_on_shards", "with_shards", "and_also",
    "put_to_shards", "answers_of_shards",
)  # fmt: skip
ARGUMENTS = """
    SELECT p.oid::regproc::text, p.provariadic <> 0, p.prokind = 'a',
        array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t),
        p.proargnames
    FROM pg_proc AS p
    WHERE p.pronamespace = 'geosearch'::regnamespace AND p.prorettype <> 'trigger'::regtype
        AND p.proname NOT IN ('refuse', 'search_leaves')  -- which is given SQL
    ORDER BY p.oid
"""


@pytest.fixture(scope="module")
def reader(module_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may only read, to the sample data of docs/sql.md."""
    with module_database.connection() as connection:
        connection.execute((ROOT / "sql" / "sample.sql").read_bytes())
        connection.execute("SELECT geosearch.create_roles(), geosearch.grant_rights()")
    with module_database.connection() as connection:
        connection.execute("SET ROLE geosearch_reader")
        connection.execute("SET statement_timeout = '20s'")
        yield connection
        connection.execute("RESET ROLE")


def functions(
    connection: psycopg.Connection[Any],
) -> list[tuple[str, bool, bool, list[str], list[str]]]:
    """Name, whether it is variadic, whether an aggregate, types and names of the arguments."""
    return [
        (
            name.removeprefix("geosearch."),
            variadic,
            aggregate,
            types,
            list(names or [])[: len(types)],
        )
        for name, variadic, aggregate, types, names in connection.execute(ARGUMENTS.encode())
    ]


def calls(types: list[str], names: list[str], seed: int) -> Iterator[list[Any]]:
    """Usable arguments with each in turn hostile, then many with several hostile."""
    names = names + [""] * (len(types) - len(names))
    choices = [VALUES[kind.removeprefix("geosearch.")] for kind in types]
    usable = [
        known[0] if kind == "bigint" else USABLE.get(name, known[0])
        for name, kind, known in zip(names, types, choices, strict=True)
    ]
    yield usable
    for place, known in enumerate(choices):
        for value in known:
            yield [*usable[:place], value, *usable[place + 1 :]]
    rng = np.random.default_rng(seed)
    for _ in range(150 if len(types) > 1 else 0):
        hostile = rng.random(len(types)) < max(0.3, 2 / len(types))
        yield [
            known[rng.integers(len(known))] if strange else given
            for known, strange, given in zip(choices, hostile, usable, strict=True)
        ]


def complaint(value: Any) -> str | None:
    """What is wrong with a result: it is not finite, or not on the Earth."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"it is {value}"
    if isinstance(value, list | tuple):
        return next(filter(None, map(complaint, value)), None)
    if isinstance(value, str) and value.startswith("01") and len(value) >= 18:
        try:
            geometry = shapely.from_wkb(bytes.fromhex(value))
        except NotImplementedError:  # a curve: none of ours makes one
            return None
        # Not `bounds`, which skips NaN.
        if not (np.abs(shapely.get_coordinates(geometry)) <= [180, 90]).all():
            return f"it is {geometry}"
    return None


def answer(
    connection: psycopg.Connection[Any],
    name: str,
    variadic: bool,
    aggregate: bool,
    types: list[str],
    given: list[Any],
) -> str | None:
    """What is wrong with the answer of a call; None if nothing is."""
    placeholders: list[sql.Composable] = [
        sql.SQL("%s" if kind == "anycompatible" else f"CAST(%s AS {kind})") for kind in types
    ]
    if variadic:
        placeholders[-1] = sql.SQL("VARIADIC ") + placeholders[-1]
    call = sql.SQL("{}({})").format(
        sql.Identifier("geosearch", name), sql.SQL(", ").join(placeholders)
    )
    query = sql.SQL("SELECT {}" if aggregate else "SELECT * FROM {}").format(call)
    try:
        with connection.transaction(force_rollback=True):
            rows = connection.execute(query, given).fetchall()
    except psycopg.OperationalError as error:
        return f"{type(error).__name__} {error}"
    except psycopg.Error as error:
        if error.sqlstate is None:  # an answer that psycopg cannot read: infinity as a time
            return None
        if name not in PARTS and error.sqlstate == "22023" and not error.diag.message_hint:
            return f"no remedy: {error}"
        # A value that its own type cannot read never reaches the function.
        allowed = error.sqlstate in REFUSED or (name in PARTS and error.sqlstate[:2] == "22")
        return None if allowed else f"{error.sqlstate}: {error}"
    return None if name in PARTS else next(filter(None, map(complaint, rows)), None)


def test_functions_answer_with_finite_values_or_say_what_to_give(
    reader: psycopg.Connection[Any],
) -> None:
    wrong: dict[str, str] = {}
    for seed, (name, variadic, aggregate, types, names) in enumerate(functions(reader)):
        for given in calls(types, names, seed):
            if found := answer(reader, name, variadic, aggregate, types, given):
                wrong.setdefault(f"{name}({given!r:.400})", found)
    assert not wrong, "\n".join(f"{call}: {found}" for call, found in wrong.items())


@pytest.mark.parametrize(
    "given",
    [
        *(
            f'{{"{name}": {value}}}'
            for name in ("bbox", "near", "accuracy_m")
            for value in ('"x"', "true", "{}", "[{}]", "[null, 0, 1, 2]", '"NaN"', "1e400")
        ),
        *(
            f'{{"after": {value}}}'
            for value in ('"now"', '"infinity"', '"1/2/2014"', "[1, 2]", "1")
        ),
        '{"authors": ""}',
        '{"authors": {"ada": 1}}',
        '{"not": {"licences": ["CC0", ""]}}',
        '{"within": {"type": "Polygon", "coordinates": [[[0, 0], ["a", 1], [1, 0], [0, 0]]]}}',
        '{"within": {"type": "Polygon", "coordinates": [[[0, 0], [1, null], [1, 0], [0, 0]]]}}',
        pytest.param('{"not":' * 900 + "{}" + "}" * 900, id="deep"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused_in_sql_as_in_python(
    reader: psycopg.Connection[Any], given: str
) -> None:
    with pytest.raises(InputError):
        Filter.from_json(json.loads(given)).compile(reader)
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused, reader.transaction():
        reader.execute(
            "SELECT geosearch.nearest_to_photo(p.id, 'sample/towns', filter => %s) "
            "FROM geosearch.photos AS p LIMIT 1",
            (given,),
        )
    assert refused.value.diag.message_hint


def test_a_filter_says_the_same_in_every_session(reader: psycopg.Connection[Any]) -> None:
    """PostgreSQL reads the IST of Kolkata as Israel's, and writes fewer digits where it is told."""
    query = (
        "SELECT (geosearch.read_filter(%s)).condition, geosearch.literal_condition("
        "geosearch.make_filter(NULL, NULL, NULL, %s, NULL, NULL, NULL, NULL, NULL, NULL, NULL)), "
        "length(geosearch.mvt(0, 0, 0, %s::json))"
    )
    after = {"after": "2014-01-01"}
    given = (
        json.dumps(after | {"bbox": [0.12345678901234567, 0, 8.123456789012345, 50]}),
        "2014-01-01 00:00+00",
        json.dumps(after),
    )
    with reader.transaction(force_rollback=True):
        reader.execute("SET LOCAL timezone = 'UTC'")
        usual = reader.execute(query, given).fetchone()
        reader.execute("SET LOCAL timezone = 'Asia/Kolkata'")
        reader.execute("SET LOCAL datestyle = 'SQL, DMY'")
        reader.execute("SET LOCAL extra_float_digits = -5")
        strange = reader.execute(query, given).fetchone()
    assert usual is not None
    assert strange is not None
    assert [text.replace("05:30:00+05:30", "00:00:00+00") for text in strange[:2]] == [*usual[:2]]
    assert strange[2] == usual[2]


def test_a_name_that_looks_like_a_parameter_stays_a_name(reader: psycopg.Connection[Any]) -> None:
    """Conditions are written out for shards, with the values in them."""
    names = ["($2).licences", "O'Hara", "\\", "%s $1", "($2).not_authors"]
    row = reader.execute(
        "SELECT geosearch.literal_condition(geosearch.make_filter("
        "NULL, NULL, NULL, NULL, NULL, NULL, %s, %s, %s, NULL, NULL, %s))",
        (names, ["($2).authors", *names[2:]], names[::-1], json.dumps({"author": names})),
    ).fetchone()
    assert row is not None
    photos = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(author, licence) for author in names for licence in names
    )
    shown = sql.SQL("SELECT DISTINCT author FROM (VALUES {}) AS e (author, licence) WHERE ")
    assert set(reader.execute(shown.format(photos) + sql.SQL(row[0]))) == {
        ("($2).licences",),
        ("O'Hara",),
    }
