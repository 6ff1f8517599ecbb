"""Compute an earlier answer again, and say precisely what changed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geosearch.database.connection import Connection, Database
from geosearch.density import Place
from geosearch.errors import NotFoundError
from geosearch.features.model_rows import Model, model_by_fingerprint, model_by_id
from geosearch.json_record import Record
from geosearch.localization.answer import Localization
from geosearch.localization.answer_rows import load
from geosearch.localization.localizing import answer_from, chosen_parameters, with_time
from geosearch.localization.pictures import Pictures, find_neighbours
from geosearch.localization.several_models import pool_answers
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import NOTHING, Exclusions
from geosearch.retrieval.neighbours import NOT_COMPARED, Neighbours
from geosearch.sphere import great_circle_km
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.timeline.timeline_prior import NOTHING_KNOWN
from geosearch.timeline.timeline_rows import find_moment, stored_dated

#: Estimates further apart than this, in degrees, are different.
TOLERANCE_DEG = 1e-9


@dataclass(frozen=True)
class Reproduction(Record):
    """What came of reproducing an answer.

    `same`: the same neighbours, and the estimate within 1e-9 degrees. `changes` says what is
    different and why; notes that did not change the answer stand there too. `shift_km` is the
    great-circle distance between the estimates, None if one has none.
    """

    localization_id: int
    same: bool
    neighbours_same: bool
    shift_km: float | None
    changes: tuple[str, ...]


def reproduce(database: Database, localization_id: int) -> Reproduction:
    """Answer again from the recorded embedding, filter and parameters, and compare.

    Raises
    ------
    NotFoundError
        There is no such answer.
    """
    before = load(database, localization_id)
    alone, models = before.members or (before,), []
    for each in alone:
        with database.connection() as connection:
            model = model_of(connection, each)
        if model is None:
            gone = (
                f"the model {each.model['name']} (fingerprint {each.model['fingerprint'][:12]}) "
                "and its embeddings were removed"
            )
            return Reproduction(localization_id, False, False, None, (gone,))
        models.append(model)
    try:
        after = _answers_again(database, before, models)
    except NotFoundError as error:  # a collection or country of the filter, a classifier
        return Reproduction(localization_id, False, False, None, (f"{error.message} any more",))
    neighbours_same = np.array_equal(before.neighbours.photo_id, after.neighbours.photo_id)
    shift_km = _shift(before.place, after.place)
    same = neighbours_same and _same_estimate(before.place, after.place)
    with database.connection() as connection:
        changes = [
            *(
                change
                for old, new, model in zip(alone, after.members or (after,), models, strict=True)
                for change in (
                    *_neighbour_changes(connection, old, new, model.id),
                    *_plan_changes(old, new),
                )
            ),
            *_timeline_changes(before, after),
            *_software_changes(before, after),
        ]
        if before.neighbours.inliers is not None:
            changes.append("inliers are those recorded: no file was compared again")
    if not neighbours_same and not changes:
        changes.append("the neighbours' order differs, by distances that are nearly equal")
    if neighbours_same and not same and not changes:
        changes.append(
            "the density gave another estimate from the same neighbours"
            if before.parameters.retrieves
            else "other photos are in the cells that the filter leaves"
        )
    return Reproduction(localization_id, same, neighbours_same, shift_km, tuple(changes))


def model_of(connection: Connection, answer: Localization) -> Model | None:
    """The model that gave an answer; None where it was removed."""
    # One that was deleted and has embedded the photos again has another id.
    return (
        model_by_fingerprint(connection, answer.model["fingerprint"])
        if answer.model_id is None
        else model_by_id(connection, answer.model_id)
    )


def _answers_again(
    database: Database, before: Localization, models: Sequence[Model]
) -> Localization:
    if not before.members:
        return _answer_again(database, before, models[0])
    members = [_answer_again(database, *each) for each in zip(before.members, models, strict=True)]
    evidence = _time_again(database, before, models[0])
    answer = pool_answers(members, before.parameters, regions=False)
    return with_time(answer, evidence or None, regions=False)


def _answer_again(database: Database, before: Localization, model: Model) -> Localization:
    # The cells that the search was restricted to are in its filter. Inliers are those recorded, as
    # the embedding is: no file is read.
    verify = before.parameters.verify
    parameters = replace(before.parameters, restrict_cells=None, verify=0)
    with database.connection() as connection:
        parameters = chosen_parameters(connection, model, before.where, parameters)
    k = max(parameters.k, verify)
    found = find_neighbours(database, model, before.query, parameters, before.where, k=k)
    found = replace(found, neighbours=_with_inliers(found.neighbours, before.neighbours))
    return answer_from(
        *(found.first(parameters.k), model, before.query, replace(parameters, verify=verify)),
        retrieval_ms=0,
        regions=False,
        evidence=_time_again(database, before, model) or None,
    )


def _time_again(database: Database, before: Localization, model: Model) -> TimeEvidence | None:
    """What photos with and without positions say, looked up again as it was looked up then.

    What a track had is as it was.
    """
    known, parameters = before.evidence, before.parameters
    if not parameters.timeline:
        return known
    if before.members:
        parameters = parameters.alone(0)
    where, exclusions = before.where, NOTHING
    if known is not None and known.asked is not None:
        # The answer's own filter leaves out its near-duplicates, too, and names cells.
        where = Filter.from_json(known.asked["filter"])
        exclusions = Exclusions(**known.asked["exclusions"])
        parameters = replace(parameters, bandwidth_km=known.asked["bandwidth_km"])
    with database.connection() as connection:
        photo = stored_dated(connection, before.query.sha256) if known is None else known.photo
        if photo is None:
            return None
        moment = find_moment(connection, photo, where) or None
        parameters = chosen_parameters(connection, model, where, parameters)
    evidence = (
        TimeEvidence(photo, moment, parameters.fusion)
        if known is None
        else replace(known, timeline=moment)
    )
    said = known and known.timeline and known.timeline.session
    if not (said and before.parameters.verify):  # which is by files that may have gone
        pictures = Pictures(database, model, parameters, where, exclusions)
        evidence = pictures.with_session(before.query, evidence)
        again = evidence.timeline and evidence.timeline.session
        if not (said and again and said.like(again)):
            return evidence
    return replace(evidence, timeline=replace(evidence.timeline or NOTHING_KNOWN, session=said))


def _with_inliers(found: Neighbours, known: Neighbours) -> Neighbours:
    """The neighbours verified as far as those recorded were."""
    if known.inliers is None or known.verification is None:
        return found
    inliers = dict(zip(known.photo_id.tolist(), known.inliers.tolist(), strict=True))
    again = [inliers.get(key, NOT_COMPARED) for key in found.photo_id.tolist()]
    return found.verified(np.array(again, dtype=np.int64), known.verification)


def _same_estimate(before: Place | None, after: Place | None) -> bool:
    if before is None or after is None:
        return before is after
    return (
        abs(before.lat - after.lat) <= TOLERANCE_DEG
        and abs(before.lon - after.lon) <= TOLERANCE_DEG
    )


def _shift(before: Place | None, after: Place | None) -> float | None:
    if before is None or after is None:
        return None
    return float(great_circle_km(before.lat, before.lon, after.lat, after.lon))


_STATE = """
SELECT CASE WHEN p.geom IS NULL THEN 'has no known position any more'
    WHEN e.photo_id IS NULL THEN 'has no embedding any more'
    ELSE 'is no longer among the neighbours' END
FROM geosearch.photos AS p
LEFT JOIN geosearch.embeddings AS e ON e.photo_id = p.id AND e.model_id = %s
WHERE p.id = %s
"""


def _neighbour_changes(
    connection: Connection, before: Localization, after: Localization, model_id: int
) -> list[str]:
    old, new = before.neighbours, after.neighbours
    changes = []
    for photo_id in np.setdiff1d(new.photo_id, old.photo_id):
        rank = int(np.flatnonzero(new.photo_id == photo_id)[0])
        row = connection.execute(
            "SELECT created_at > %s, created_at FROM geosearch.embeddings "
            "WHERE photo_id = %s AND model_id = %s",
            (before.created_at, int(photo_id), model_id),
        ).fetchone()
        if row is not None and row[0]:
            what = f"photo {photo_id} ({new.uri[rank]}) was added on {row[1]:%Y-%m-%d %H:%M:%S %Z}"
            changes.append(f"{what} and is now neighbour {rank + 1}")
        else:
            changes.append(f"photo {photo_id} ({new.uri[rank]}) is now neighbour {rank + 1}")
    for photo_id in np.setdiff1d(old.photo_id, new.photo_id):
        rank = int(np.flatnonzero(old.photo_id == photo_id)[0])
        row = connection.execute(_STATE, (model_id, int(photo_id))).fetchone()
        state = "was deleted" if row is None else row[0]
        changes.append(f"photo {photo_id} ({old.uri[rank]}), then neighbour {rank + 1}, {state}")
    positions = {int(key): index for index, key in enumerate(new.photo_id)}
    for index, key in enumerate(old.photo_id):
        there = positions.get(int(key))
        if there is None:
            continue
        if (old.lat[index], old.lon[index]) != (new.lat[there], new.lon[there]):
            changes.append(
                f"photo {key} ({old.uri[index]}) moved from {old.lat[index]:.6f},"
                f"{old.lon[index]:.6f} to {new.lat[there]:.6f},{new.lon[there]:.6f}"
            )
        if abs(old.distance[index] - new.distance[there]) > TOLERANCE_DEG:
            changes.append(f"photo {key} ({old.uri[index]}) has another embedding")
    return changes


def _timeline_changes(before: Localization, after: Localization) -> list[str]:
    """What is different in the photos before and after."""
    changes = []
    for name in ("before", "after"):
        old, new = (
            each.evidence and each.evidence.timeline and getattr(each.evidence.timeline, name)
            for each in (before, after)
        )
        if old == new:
            continue
        was, now = ("none" if fix is None else str(fix) for fix in (old, new))
        changes.append(f"the photo {name} it was {was}, is {now}")
    then, since = (
        each.evidence and each.evidence.timeline and each.evidence.timeline.session
        for each in (before, after)
    )
    told, tell = (
        {seen.photo_id for seen in each.photos} if each else set() for each in (then, since)
    )
    changes += [f"photo {key} of its session tells nothing any more" for key in sorted(told - tell)]
    changes += [f"photo {key} of its session tells since" for key in sorted(tell - told)]
    if then != since and told == tell:
        changes.append("what the photos of its session show is different")
    return changes


def _plan_changes(before: Localization, after: Localization) -> list[str]:
    old, new = before.neighbours.plan, after.neighbours.plan
    if old.strategy != new.strategy:
        return [f"retrieval was {old.strategy} ({old.reason}), now {new.strategy} ({new.reason})"]
    if old.index_file != new.index_file:
        return [f"the index {new.index} was rebuilt"]
    return []


def _software_changes(before: Localization, after: Localization) -> list[str]:
    names = sorted(before.software.keys() | after.software.keys())
    return [
        f"{name} was {before.software.get(name, 'absent')}, is {after.software.get(name, 'absent')}"
        for name in names
        if before.software.get(name) != after.software.get(name)
    ]
