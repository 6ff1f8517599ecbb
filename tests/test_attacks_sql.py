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
    "expression[]": ("{}", None), "geometry[]": ("{}", None),
    "leaves": ('(1,1,place,0,"{-180,-90,180,90}",,)', None, "(,,,,,,)"),
    "photo_filter": (
        "(,,,,,,,,,,)", None, "(,,NaN,,,,,,,,)", "(,,,infinity,,,,,,NaN,)",
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
    "leaf_deeper", "leaf_candidates", "circle_boxes", "nearest_on_shards", "with_shards", "and_also",
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
