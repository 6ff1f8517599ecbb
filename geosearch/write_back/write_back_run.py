"""Positions that geosearch knows and the files do not have, written to where the photos are."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.arguments import check_range, path
from geosearch.atomic_files import write_table
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.deletion.deleted import may_delete
from geosearch.errors import InputError, NotAllowedError, PhotoRejected, Reason
from geosearch.ingest.positions import Position
from geosearch.json_record import Record
from geosearch.localization.answer_rows import LATEST_ANSWERS
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.photo_list import chosen_photos, find_photo
from geosearch.storage import read_bytes
from geosearch.waiting import Progress
from geosearch.words import number_of
from geosearch.write_back.embed_target import Embedded
from geosearch.write_back.immich_target import Immich
from geosearch.write_back.sidecar_target import Sidecars
from geosearch.write_back.targets import Found, Known, Target
from geosearch.write_back.xmp_edit import Names

#: Photos that are looked at in one statement.
_PAGE = 10_000

_WRITTEN: LiteralString = """
SELECT p.id, p.collection_id, p.shelf, p.uri, p.sha256,
    ST_Y(coalesce(p.geom, p.estimate)) AS lat, ST_X(coalesce(p.geom, p.estimate)) AS lon,
    p.accuracy_m::text::float8 AS accuracy_m, p.position_source AS source,
    p.localization_id AS answer
FROM {photos} AS p
WHERE p.id {which} AND p.position_source IN ('corrected', 'reviewed')
"""
#: Of each photo the latest answer, if its calibration holds and nobody's last word is against it.
_ESTIMATED: LiteralString = """
SELECT p.id, p.collection_id, p.shelf, p.uri, p.sha256, ST_Y(l.estimate), ST_X(l.estimate),
    1000 * l.radius_90_km, 'estimated', l.id
FROM {photos} AS p
JOIN ({latest}) AS l ON l.photo_sha256 = p.sha256
WHERE p.id {which} AND p.geom IS NULL
    AND p.position_source IS DISTINCT FROM 'reviewed' AND l.estimate IS NOT NULL
    AND l.holds AND l.probability >= %(min_probability)s
    AND NOT EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (recorded_by) decision FROM geosearch.reviews
            WHERE answer_id = l.id ORDER BY recorded_by, id DESC
        ) AS last
        WHERE decision <> 'accept'
    )
"""
#: Photos that have no position any more that was written of them.
_UNDONE: LiteralString = """
SELECT p.id, p.collection_id, p.shelf, p.uri, p.sha256, NULL, NULL, NULL, NULL, NULL
FROM {photos} AS p
WHERE p.id {which} AND coalesce(p.position_source, '') NOT IN ('corrected', 'reviewed')
    AND EXISTS (
        SELECT FROM {write_backs} AS w
        WHERE photo_id = p.id AND target = %(target)s AND reason IS NULL
            AND new ->> 'source' IN ('corrected', 'reviewed') AND NOT EXISTS (
                SELECT FROM {write_backs} AS l
                WHERE l.photo_id = p.id AND l.target = %(target)s AND l.path = w.path
                    AND l.id > w.id AND l.written_at IS NOT NULL
            )
    )
"""
_LOOKED_AT: LiteralString = """
SELECT p.id, p.sha256 FROM {photos} AS p
WHERE p.id IN ({chosen}) AND p.id > %(after)s ORDER BY p.id LIMIT %(page)s
"""
_KNOWN: LiteralString = "SELECT DISTINCT ON (id) * FROM ({all}) AS k ORDER BY id, source"
#: The latest answers on some photos: to look for those of all again and again takes long.
_OF_THESE: LiteralString = " WHERE l.photo_sha256 = ANY(%(sha256)s)"
_COUNT: LiteralString = "SELECT count(DISTINCT id) FROM ({all}) AS k"
_COPIES: LiteralString = """
SELECT uri FROM {files} WHERE photo_id = %s AND collection_id = %s AND uri <> %s ORDER BY uri
"""
_NAMES: LiteralString = """
SELECT t.name, t.admin1, coalesce(c.name, t.country), coalesce(c.iso_a2, t.iso_a2)
FROM (SELECT ST_SetSRID(ST_Point(%(lon)s, %(lat)s), 4326) AS spot) AS s
LEFT JOIN LATERAL geosearch.country_at(spot) AS c ON true
LEFT JOIN LATERAL geosearch.town_at(spot, c.iso_a2, 0) AS t ON t.km <= t.reach_km
"""
#: What was to be written there last, or could not be.
_OPEN: LiteralString = """
{write_backs}
WHERE photo_id = %(photo_id)s AND target = %(target)s AND path IN (%(path)s, %(uri)s)
    AND written_at IS NULL
"""
_NOTE: LiteralString = """
INSERT INTO {write_backs}
    (photo_id, collection_id, shelf, target, path, old, new, sha256, reason, message)
VALUES (%(photo_id)s, %(collection_id)s, %(shelf)s, %(target)s, %(path)s, %(old)s, %(new)s,
    %(sha256)s, %(reason)s, %(message)s)
"""
#: What a run has left there, whether or not it was killed before it could say so; or this run, of a
#: photo that another collection has too.
_LEFT: LiteralString = """
SELECT FROM {photos} WHERE id = %(photo_id)s AND sha256 = %(sha256)s
UNION ALL
SELECT FROM {write_backs}
WHERE photo_id = %(photo_id)s AND target = %(target)s AND path = %(path)s AND reason IS NULL
    AND sha256 = %(sha256)s
"""
#: The photo of a file that was written, in each collection that has it.
_FOLLOW: LiteralString = """
UPDATE {photos} AS p SET sha256 = w.sha256, size_bytes = %(bytes)s
FROM {write_backs} AS w
WHERE p.uri = %(path)s AND p.sha256 = %(before)s
    AND w.photo_id = %(photo_id)s AND w.target = %(target)s AND w.path = %(path)s
    AND w.sha256 = %(now)s AND w.written_at IS NULL AND w.reason IS NULL
"""
_TAKEN: LiteralString = """
SELECT FROM {photos} AS p JOIN {photos} AS o USING (collection_id)
WHERE p.uri = %(path)s AND p.sha256 = %(before)s AND o.sha256 = %(sha256)s
"""
_DONE: LiteralString = """
UPDATE {write_backs} SET written_at = now()
WHERE photo_id = %(photo_id)s AND target = %(target)s AND path = %(path)s
    AND written_at IS NULL AND reason IS NULL AND (sha256 IS NULL OR sha256 = %(now)s)
"""
_WROTE: LiteralString = """
SELECT old, new FROM {write_backs}
WHERE photo_id = %(photo_id)s AND target = %(target)s AND path = %(path)s AND reason IS NULL
    AND new ? 'source'
ORDER BY id DESC
"""


@dataclass(frozen=True)
class NotWritten(Record):
    """A position that could not be written, and why."""

    photo_id: int
    path: str
    reason: Reason
    message: str


@dataclass(frozen=True)
class WrittenBack(Record):
    """How many positions were written, or would be (`dry_run`), and to what.

    `there`: the same was said there before. `kept`: another position is said there, which only
    `overwrite` replaces. `taken_back`: the photo has no longer what was written, and there is what
    was there before. `failures` are those that could not be written.
    """

    target: str
    dry_run: bool
    written: int
    there: int = 0
    kept: int = 0
    taken_back: int = 0
    failures: tuple[NotWritten, ...] = ()

    def __str__(self) -> str:
        verb = "would write" if self.dry_run else "wrote"
        parts = [f"{verb} {number_of(self.written, 'position')} ({self.target})"]
        if self.taken_back:
            parts.append(f"{'would take' if self.dry_run else 'took'} back {self.taken_back:,}")
        if self.there:
            parts.append(f"{number_of(self.there, 'is', 'are')} there already")
        if self.kept:
            said = number_of(self.kept, "is said to be", "are said to be")
            parts.append(f"{said} elsewhere there, which only overwriting replaces")
        if self.failures:
            parts.append(f"{len(self.failures):,} cannot be written")
        return "; ".join(parts)


def write_back(
    database: Database,
    where: Filter = EVERYTHING,
    *,
    ids: Sequence[int] = (),
    embed: bool = False,
    csv: str | PathLike[str] | None = None,
    immich: str | None = None,
    estimates: bool = False,
    min_probability: float | None = None,
    at_most_km: float = 1,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> WrittenBack:
    """Write the positions that were corrected or reviewed into XMP sidecars of the photos.

    Or, to `embed`, into the photos themselves, by exiftool; or to those of an `immich` server, by
    its URL; or into a table, `csv`.

    Of the photos that pass `where` and have these ids; other files with the same bytes that the
    collection knows are written too. With `estimates` also the latest answers on photos without a
    position, where an error of at most `at_most_km` has `min_probability` by a calibration that
    holds for them: they say that they are estimates, and ingest reads them as such. A position that
    is there, and that was not written so, is replaced only to `overwrite`, and never by an
    estimate. Where photos have no longer what was written, since it was taken back, there is what
    was there before. What was written, and what could not be, are rows of `geosearch.write_backs`.
    A killed run leaves each file old or new; run again, it goes on.

    Raises
    ------
    InputError
        Nothing says which photos, or how probable estimates must be; or the table is there already,
        and it is not to `overwrite`.
    NotFoundError
        There is no such photo, collection or country.
    DatabaseError
        This login may not write positions back.
    """
    _check(where, ids, estimates, min_probability, at_most_km)
    target = _target(embed, csv, immich, estimates, tidy=not dry_run)
    values: dict[str, Any] = {"min_probability": min_probability, "at_most_km": at_most_km}
    values["target"] = None if isinstance(target, Path) else target.kind
    with database.own_connection(autocommit=True) as connection:
        source = _Source(connection, where, ids, values, estimates=estimates)
        if isinstance(target, Path):
            if target.exists() and not overwrite:
                raise InputError(f"{target} is there already", "Give another name, or `overwrite`.")
            return _table(target, source, dry_run=dry_run)
        run = _Run(connection, target, overwrite=overwrite, dry_run=dry_run)
        total = source.count() if progress is not None else None
        for number, known in enumerate(source.known()):
            if progress is not None:
                progress(number, total)
            run.photo(known)
    names = ("written", "there", "kept", "taken_back")
    counts = {name: run.counts[name] for name in names}
    return WrittenBack(target.kind, dry_run, **counts, failures=(*run.failures,))


def _target(
    embed: bool,
    csv: str | PathLike[str] | None,
    immich: str | None,
    estimates: bool,
    *,
    tidy: bool,
) -> Target | Path:
    if embed + (csv is not None) + (immich is not None) > 1:
        raise InputError("`embed`, `csv` and `immich` exclude one another", "Give one, or none.")
    if csv is not None:
        return Path(path("csv", csv))
    if immich is not None:
        if estimates:
            raise InputError("Immich cannot tell estimates from positions", "Accept them first.")
        return Immich(immich)
    return Embedded(tidy=tidy) if embed else Sidecars(tidy=tidy)


def _table(file: Path, source: _Source, *, dry_run: bool) -> WrittenBack:
    """Positions as a manifest that ingest reads, estimates as such."""
    names = ("sha256", "uri", "lat", "lon", "accuracy_m", "position_source", "localization_id")
    rows = [
        (
            each.sha256.hex(),
            each.uri,
            at.lat,
            at.lon,
            at.accuracy_m,
            at.source,
            each.localization_id,
        )
        for each in source.known()
        if (at := each.position) is not None
    ]
    if not dry_run:
        write_table(file, [names, *rows])
    return WrittenBack("csv", dry_run, len(rows))


def _check(
    where: Filter,
    ids: Sequence[int],
    estimates: bool,
    min_probability: float | None,
    at_most_km: float,
) -> None:
    if where == EVERYTHING and not ids:
        raise InputError("nothing says which photos", "Give a collection, conditions or ids.")
    if estimates != (min_probability is not None):
        raise InputError(
            "`estimates` and `min_probability` go together",
            "Give both, such as a probability of 0.95, or neither.",
        )
    check_range("min_probability", min_probability, 0, 1)
    check_range("at_most_km", at_most_km, 0)


class _Source:
    """Photos with positions to write, in the order of their ids."""

    def __init__(
        self,
        connection: Connection,
        where: Filter,
        ids: Sequence[int],
        values: dict[str, Any],
        *,
        estimates: bool,
    ) -> None:
        if not may_delete(connection, "write_backs_open"):
            raise NotAllowedError(
                "this login may not write positions back",
                "It takes the role geosearch_ingester: geosearch roles grant ingester --to USER",
            )
        self._connection = connection
        for key in ids:
            find_photo(connection, key)
        self._tables = writable_tables(connection, "photos", "write_backs")
        self._chosen, more = chosen_photos(connection, where, ids, self._tables["photos"])
        self._values = {**values, **more}
        self._wanted = [_WRITTEN, *[_ESTIMATED] * estimates]
        self._wanted += [_UNDONE] * (values["target"] is not None)

    def count(self) -> int:
        """How many there are."""
        which = sql.SQL("IN ({})").format(self._chosen)
        statement = sql.SQL(_COUNT).format(all=self._all(which, sql.SQL(LATEST_ANSWERS)))
        ((count,),) = self._connection.execute(statement, self._values).fetchall()
        return int(count)

    def known(self) -> Iterator[Known]:
        """All of them."""
        look = sql.SQL(_LOOKED_AT).format(chosen=self._chosen, **self._tables)
        latest = sql.SQL(LATEST_ANSWERS + _OF_THESE)
        known = sql.SQL(_KNOWN).format(all=self._all(sql.SQL("= ANY(%(ids)s)"), latest))
        after = 0
        while True:
            page = {**self._values, "after": after, "page": _PAGE}
            photos = self._connection.execute(look, page).fetchall()
            if not photos:
                return
            ids, sha256 = (list(each) for each in zip(*photos, strict=True))
            after = ids[-1]
            values = {**self._values, "ids": ids, "sha256": sha256}
            rows = self._connection.execute(known, values).fetchall()
            for key, collection, shelf, uri, digest, lat, lon, accuracy_m, source, answer in rows:
                position = None if source is None else Position(lat, lon, source, accuracy_m)
                names = _namer(self._connection, position)
                yield Known(key, collection, shelf, uri, bytes(digest), position, answer, names)

    def _all(self, which: sql.Composable, latest: sql.Composable) -> sql.Composed:
        """Those among some photos, by their ids."""
        return sql.SQL(" UNION ALL ").join(
            sql.SQL(each).format(which=which, latest=latest, **self._tables)
            for each in self._wanted
        )


def _namer(connection: Connection, position: Position | None) -> Callable[[], Names]:
    """What finds the names of a position when they are asked for."""

    def names() -> Names:
        if position is None:
            return Names()
        at = {"lat": position.lat, "lon": position.lon}
        ((*found,),) = connection.execute(_NAMES, at).fetchall()
        return Names(*(each or "" for each in found))

    return names


class _Run:
    """What becomes of each photo, and the log of it."""

    def __init__(
        self, connection: Connection, target: Target, *, overwrite: bool, dry_run: bool
    ) -> None:
        self._connection, self._target = connection, target
        self._overwrite, self._dry_run = overwrite, dry_run
        self._tables = writable_tables(connection, "photos", "files", "write_backs")
        self.counts: Counter[str] = Counter()
        self.failures: list[NotWritten] = []

    def photo(self, known: Known) -> None:
        """Write the position of a photo to all files with its bytes."""
        rows: list[tuple[str]] = []
        if self._target.copies:
            asked = (known.photo_id, known.collection_id, known.uri)
            rows = self._connection.execute(self._sql(_COPIES), asked).fetchall()
        for uri in (*(uri for (uri,) in rows), known.uri):  # the one the photo is known by last
            found = None
            try:
                found = self._target.find(known, uri)
                self.counts[self._one(known, uri, found)] += 1
            except PhotoRejected as error:
                at = uri if found is None else found.at
                self.failures.append(NotWritten(known.photo_id, at, error.reason, error.message))
                if not self._dry_run:
                    self._note(known, uri, at, found, error=error)

    def _one(self, known: Known, uri: str, found: Found) -> str:
        log = self._about(known, found.at, uri)
        if found.sha256 not in (None, known.sha256):
            if not self._left(found, log):
                raise PhotoRejected(Reason.UNREADABLE, "the file has changed since it was ingested")
            self._done(known, found, log)
            known = replace(known, sha256=found.sha256)
        own, position = found.own, known.position
        if position and own and own.is_at(position) and own.trust >= position.trust:
            self._done(known, found, log)  # a run that was killed may not have noted it
            return "there"
        wrote, before = self._wrote(own, log)
        if wrote is not None:
            known = replace(known, replaced=_namer(self._connection, wrote))
        if position is None:
            if wrote is None or wrote.is_estimate:
                self._done(known, found, log)
                return "moved since"
            if before is not None and before.source == "reviewed":
                before = None  # a guess that was taken back, too: the photo would have it still
            names = _namer(self._connection, before)
            known = replace(known, undone=True, position=before, names=names)
        elif self._is_others(own, found.read, position, wrote):
            return "kept"
        if self._dry_run:
            self._target.check(found, known, overwrite=self._overwrite)
        else:
            begin = partial(self._begin, known, uri, found)
            self._target.write(found, known, begin, overwrite=self._overwrite)
            self._done(known, found, log)
        return "taken_back" if known.undone else "written"

    def _is_others(
        self, own: Position | None, read: Position | None, new: Position, wrote: Position | None
    ) -> bool:
        """Whether there is another position that this one may not take the place of."""
        others = [
            each
            for each in (own, read)
            if each is not None
            and each.trust > min(new.trust, 1)
            and not each.is_at(new)
            and not (wrote is not None and each.is_still(wrote))
        ]
        return bool(others) and (new.is_estimate or not self._overwrite)

    def _wrote(
        self, own: Position | None, log: dict[str, Any]
    ) -> tuple[Position | None, Position | None]:
        """What is said there, if a run wrote it; and what was there before."""
        if own is not None:
            for old, new in self._connection.execute(self._sql(_WROTE), log):
                if (wrote := _from_json(new)) is not None and own.is_still(wrote):
                    return wrote, _from_json(old)
        return None, None

    def _left(self, found: Found, log: dict[str, Any]) -> bool:
        """Whether it was a run that left the photo as it is, and was killed before it said so."""
        values = {**log, "sha256": found.sha256}
        return self._connection.execute(self._sql(_LEFT), values).fetchone() is not None

    def _done(self, known: Known, found: Found, log: dict[str, Any]) -> None:
        """Unless in a dry run, note that it is written; the photo is known by its new bytes then.

        By what the file is now: what a killed run noted need not have come to be.
        """
        if self._dry_run:
            return
        if not self._connection.execute(self._sql("SELECT FROM" + _OPEN), log).rowcount:
            return
        values = {**log, "before": known.sha256, "now": None}
        if self._target.copies:
            data = read_bytes(found.at) if Path(found.at).exists() else b""
            values |= {"bytes": len(data), "now": hashlib.sha256(data).digest()}
        with self._connection.transaction():
            if self._target.kind == "embed":
                self._connection.execute(self._sql(_FOLLOW), values)
            self._connection.execute(self._sql(_DONE), values)
            self._connection.execute(self._sql("DELETE FROM" + _OPEN), values)

    def _begin(self, known: Known, uri: str, found: Found, sha256: bytes | None) -> None:
        values = {"path": found.at, "before": known.sha256, "sha256": sha256}
        if self._connection.execute(self._sql(_TAKEN), values).fetchone() is not None:
            raise PhotoRejected(Reason.NOT_WRITABLE, "another photo has the bytes it would have")
        self._note(known, uri, found.at, found, sha256)

    def _note(
        self,
        known: Known,
        uri: str,
        at: str,
        found: Found | None,
        sha256: bytes | None = None,
        error: PhotoRejected | None = None,
    ) -> None:
        """Note what is about to be written, or could not be, in place of what was noted so."""
        old = found and found.own
        position = _as_json(known.position, localization_id=known.localization_id)
        if known.undone:
            position.pop("source", None)
        values = self._about(known, at, uri) | {
            "collection_id": known.collection_id,
            "shelf": known.shelf,
            "old": old and Jsonb(_as_json(old)),
            "new": Jsonb(position),
            "sha256": sha256,
            "reason": error and error.reason.value,
            "message": error and error.message,
        }
        with self._connection.transaction():
            self._connection.execute(self._sql("DELETE FROM" + _OPEN), values)
            self._connection.execute(self._sql(_NOTE), values)

    def _about(self, known: Known, at: str, uri: str) -> dict[str, Any]:
        return {"photo_id": known.photo_id, "target": self._target.kind, "path": at, "uri": uri}

    def _sql(self, template: LiteralString) -> sql.Composed:
        return sql.SQL(template).format(**self._tables)


def _as_json(position: Position | None, **more: Any) -> dict[str, Any]:
    if position is None:
        return {}
    said = {"lat": position.lat, "lon": position.lon, "accuracy_m": position.accuracy_m}
    return {
        name: value
        for name, value in {**said, "source": position.source, **more}.items()
        if value is not None
    }


def _from_json(said: dict[str, Any] | None) -> Position | None:
    if not said:
        return None
    return Position(
        said["lat"], said["lon"], said.get("source", "manifest"), said.get("accuracy_m")
    )
