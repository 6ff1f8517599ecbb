"""What is known of stored photos, changed: each change with its history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import writable_tables

#: What may be changed of a photo, with its types. Those of one line go together, in history too.
GROUPS: tuple[Mapping[str, LiteralString], ...] = (
    {
        "lat": "float8",
        "lon": "float8",
        "position_source": "text",
        "accuracy_m": "real",
        "localization_id": "int8",
        "reference": "boolean",
    },
    {"taken_at": "timestamptz", "taken_at_zone": "text"},
    {"direction_deg": "real", "direction_reference": "text"},
    {"field_of_view_deg": "real"},
    {"pitch_deg": "real"},
    {"altitude_m": "real"},
    {"author": "text"},
    {"licence": "text"},
    {"title": "text"},
    {"source_id": "text"},
)
_TYPES = {name: kind for group in GROUPS for name, kind in group.items()}
_COLUMNS = [name for name in _TYPES if name not in ("lat", "lon", "reference")]


class Change(NamedTuple):
    """What a photo has from now on, by names of `GROUPS`; None is nothing.

    `fills` counts only where the photo has nothing of that group.
    """

    values: Mapping[str, Any]
    fills: Mapping[str, Any] = {}


_CHANGE = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(changes)s) AS g (id bigint, "values" jsonb, fills jsonb)
), found AS (
    SELECT p.id, p.collection_id, p.shelf, given."values", given.fills, to_jsonb(facts) AS facts
    FROM {photos} AS p
    JOIN given USING (id)
    CROSS JOIN LATERAL (
        SELECT ST_Y(coalesce(p.geom, p.estimate)) AS lat, ST_X(coalesce(p.geom, p.estimate)) AS lon,
            CASE WHEN p.position_source IS NOT NULL THEN p.geom IS NOT NULL END AS reference,
            {columns}
    ) AS facts
    ORDER BY p.id
    FOR UPDATE OF p
), made AS (
    SELECT found.id, collection_id, shelf, facts, to_jsonb(r) AS now
    FROM found, jsonb_to_record(
        ({filled}) || jsonb_strip_nulls(facts) || "values"
    ) AS r ({types})
), changed AS (
    SELECT id, collection_id, shelf, now,
        jsonb_object_agg(key, facts -> key) AS old, jsonb_object_agg(key, now -> key) AS new
    FROM made, (VALUES {groups}) AS g (key, whole)
    WHERE EXISTS (SELECT FROM unnest(whole) AS w WHERE facts -> w IS DISTINCT FROM now -> w)
    GROUP BY id, collection_id, shelf, now
), noted AS (
    INSERT INTO {photo_changes} (photo_id, collection_id, shelf, run_id, old, new)
    SELECT id, collection_id, shelf, %(run)s, old, new FROM changed WHERE %(noted)s
)
UPDATE {photos} AS p
SET geom = CASE WHEN r.reference THEN r.place END,
    estimate = CASE WHEN NOT r.reference THEN r.place END,
    ({names}) = ROW ({new})
FROM changed, LATERAL (
    SELECT *, ST_SetSRID(ST_Point(lon, lat), 4326) AS place
    FROM jsonb_to_record(now) AS r ({types})
) AS r
WHERE p.id = changed.id
RETURNING p.id
"""


_LATER = """
FROM {photo_changes} AS l
WHERE l.photo_id = c.photo_id AND l.id > c.id AND l.run_id IS DISTINCT FROM c.run_id
    AND l.new ? key
"""
_CHANGED = """
SELECT c.photo_id, b.back, b.kept
FROM {photo_changes} AS c, LATERAL (
    SELECT
        jsonb_object_agg(key, c.old -> key) FILTER (WHERE NOT EXISTS (SELECT {later})) AS back,
        jsonb_object_agg(key, c.old -> key) FILTER (WHERE EXISTS (SELECT {later})) AS kept
    FROM jsonb_object_keys(c.old) AS key
) AS b
WHERE c.run_id = %(run)s
ORDER BY c.id DESC
"""
# As if the run had never been: what was before it is what was before the next one.
_UNTIE = """
UPDATE {photo_changes} AS n
SET old = n.old || e.old
FROM (
    SELECT next.id, jsonb_object_agg(key, c.old -> key ORDER BY c.id DESC) AS old
    FROM {photo_changes} AS c, jsonb_object_keys(c.old) AS key,
        LATERAL (SELECT l.id {later} ORDER BY l.id LIMIT 1) AS next
    WHERE c.run_id = %(run)s
    GROUP BY next.id
) AS e
WHERE n.id = e.id
"""


class Undoing(NamedTuple):
    """What comes back where the changes of a run are undone; what later ones changed `kept`."""

    back: Mapping[int, Change]
    kept: int


def changes_of(connection: Connection, run_id: int) -> Undoing:
    """What a run changed of photos that this login may write."""
    back: dict[int, dict[str, Any]] = {}
    kept = set()
    for photo_id, old, later in connection.execute(_history(connection, _CHANGED), {"run": run_id}):
        if old is not None:  # the first change of a photo comes last
            back.setdefault(photo_id, {}).update(old)
        if later is not None:
            kept.add(photo_id)
    return Undoing({key: Change(values) for key, values in back.items()}, len(kept))


def undo_changes(connection: Connection, run_id: int, undoing: Undoing) -> None:
    """Let photos be as if a run had not changed them."""
    change_photos(connection, undoing.back, None, noted=False)
    connection.execute(_history(connection, _UNTIE), {"run": run_id})
    connection.execute(
        _history(connection, "DELETE FROM {photo_changes} WHERE run_id = %(run)s"), {"run": run_id}
    )
    # Reviews may have come or gone while it hid what they say.
    connection.execute(
        "SELECT geosearch.place_reviewed(sha256, localization_id, NULL) FROM geosearch.photos "
        "WHERE id = ANY(%s) ORDER BY id",
        (list(undoing.back),),
    )


def change_photos(
    connection: Connection,
    changes: Mapping[int, Change],
    run_id: int | None,
    *,
    noted: bool = True,
) -> list[int]:
    """Change photos that this login may write, by id; gives those of which something is new.

    Each is a row of `geosearch.photo_changes`, unless it is not to be `noted`.
    """
    if not changes:
        return []
    given = [
        {"id": key, "values": _plain(each.values), "fills": _plain(each.fills)}
        for key, each in changes.items()
    ]
    rows = connection.execute(
        sql.SQL(_CHANGE).format(
            **writable_tables(connection, "photos", "photo_changes"),
            columns=_list("p.{}", _COLUMNS),
            names=_list("{}", _COLUMNS),
            new=_list("r.{}", _COLUMNS),
            filled=_filled(),
            groups=sql.SQL(", ").join(
                sql.SQL("({}, {}::text[])").format(sql.Literal(name), sql.Literal(list(group)))
                for group in GROUPS
                for name in group
            ),
            types=sql.SQL(", ").join(
                sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in _TYPES.items()
            ),
        ),
        {"changes": Jsonb(given), "run": run_id, "noted": noted},
    )
    return sorted(int(key) for (key,) in rows)


def _list(form: str, names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(form).format(sql.Identifier(name)) for name in names)


def _filled() -> sql.Composable:
    """What fills gaps: nothing of a group of which the photo has the first."""
    there = sql.SQL("CASE WHEN facts ->> {} IS NULL THEN '{{}}' ELSE {}::text[] END")
    groups = (
        there.format(sql.Literal(next(iter(group))), sql.Literal(list(group))) for group in GROUPS
    )
    return sql.SQL(" - ").join([sql.SQL("fills"), *groups])


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _history(connection: Connection, template: LiteralString) -> sql.Composed:
    table = writable_tables(connection, "photo_changes")
    return sql.SQL(template).format(**table, later=sql.SQL(_LATER).format(**table))
