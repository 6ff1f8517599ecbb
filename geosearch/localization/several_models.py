"""Several models asked together: which, and one answer out of those of each.

Each searches its own embeddings and makes its own density; these are pooled
(`geosearch.density.pooling`), by the powers of a calibration of these very models or, without one,
with powers that are equal and sum to 1. A model that finds no neighbours has no say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import numpy as np

from geosearch.calibration.calibration_rows import count_passing
from geosearch.database.connection import Connection, Database
from geosearch.density.caps import cap_radii_km
from geosearch.density.pooling import PooledDensity
from geosearch.density.regions import highest_density_regions
from geosearch.errors import InputError
from geosearch.features import Backbone
from geosearch.features.model_rows import Model, require_model
from geosearch.features.whitening import find_backbone
from geosearch.localization.answer import Localization, Parameters
from geosearch.localization.pictures import LEVELS
from geosearch.retrieval import Filter
from geosearch.retrieval.neighbours import NO_NEIGHBOURS, Neighbours
from geosearch.sphere import unit_vectors

#: What is known of a model besides its row.
Found = TypeVar("Found")

#: So many models at most are asked together.
MOST = 4

#: A model, or several that are asked together.
Models = str | Backbone | Sequence[str | Backbone]

#: The least share of a model in a density, so that its neighbours' weights are known from theirs.
_LEAST_SHARE = 1e-9


def specs(model: Models) -> list[str | Backbone]:
    """The models one by one.

    Raises
    ------
    InputError
        There are none, or too many.
    """
    found = [model] if isinstance(model, str | Backbone) else list(model)
    if not 1 <= len(found) <= MOST:
        raise InputError(f"`model`: {len(found)} models are asked", f"Give one, or up to {MOST}.")
    return found


def find_backbones(
    database: Database, model: Models, *, device: str = "auto", at_once: bool = True
) -> list[tuple[Model, Backbone]]:
    """The rows of models and their backbones, in the order of ids.

    Raises
    ------
    InputError
        There are none, or too many, or one is named twice.
    NotFoundError
        Nothing was embedded with one of them.
    ModelError
        A backbone cannot be loaded.
    """
    backbones = [
        find_backbone(database, each, device=device, at_once=at_once) for each in specs(model)
    ]
    with database.connection() as connection:
        found = [(require_model(connection, each.description), each) for each in backbones]
    return in_order(found)


def in_order(found: Sequence[tuple[Model, Found]]) -> list[tuple[Model, Found]]:
    """Models in the order of their ids, in which calibrations and answers have them.

    Raises
    ------
    InputError
        One is named twice.
    """
    ordered = sorted(found, key=lambda pair: pair[0].id)
    for (one, _), (other, _) in pairwise(ordered):
        if one.id == other.id:
            raise InputError(f"`model`: {one.name} is named twice", "Leave one of them out.")
    return ordered


def name_of(models: Sequence[Model]) -> str:
    """The names of models that are asked together, for people."""
    return " + ".join(each.name for each in models)


def count_references(
    connection: Connection, models: Sequence[Model], where: Filter
) -> tuple[int | None, ...]:
    """How many photos each of several models has to search; of one alone it is not counted."""
    if len(models) == 1:
        return (None,)
    return tuple(count_passing(connection, each.id, where) for each in models)


def pool_answers(
    members: Sequence[Localization], parameters: Parameters, *, regions: bool
) -> Localization:
    """The answer of several models, from what each answered alone; without what time says."""
    started = time.perf_counter()
    first = members[0]
    answer = replace(
        first,
        model={
            "name": " + ".join(each.model["name"] for each in members),
            "fingerprint": " ".join(each.model["fingerprint"] for each in members),
        },
        parameters=parameters,
        neighbours=NO_NEIGHBOURS,
        place=None,
        probability_within_km={},
        confident=None,
        members=tuple(members),
    )
    told = answer.pooled
    if told is not None:
        answer = _placed(answer, told, regions)
    if first.query.low_information is not None:
        answer = replace(answer, confident=False)
    return replace(answer, elapsed_ms=spent(members, density=time.perf_counter() - started))


def spent(members: Sequence[Localization], **seconds: float) -> dict[str, float]:
    """Milliseconds by step: those of all models, and so many seconds more."""
    names = [name for name in members[0].elapsed_ms if name != "total"]
    ms = {
        name: sum(each.elapsed_ms[name] for each in members) + 1000 * seconds.get(name, 0.0)
        for name in names
    }
    return {name: round(each, 3) for name, each in (ms | {"total": sum(ms.values())}).items()}


def _placed(answer: Localization, told: PooledDensity, regions: bool) -> Localization:
    """The answer at the estimate of a pool, as sure as that is."""
    shares = np.zeros(len(answer.members))
    shares[[each.place is not None for each in answer.members]] = told.shares
    shares = np.maximum(shares, _LEAST_SHARE) / np.maximum(shares, _LEAST_SHARE).sum()
    members = tuple(
        replace(each, share=float(share))
        for each, share in zip(answer.members, shares, strict=True)
    )
    weights = [each.share * each.weights for each in members if each.share is not None]
    neighbours = Neighbours.joined([each.neighbours for each in members], weights)
    place = told.place(np.sort(np.concatenate(weights))[::-1])
    judged = answer.calibrated
    if judged is None:
        centre = unit_vectors(place.lat, place.lon)
        radii = dict(zip(LEVELS, cap_radii_km(told.mixture, centre, LEVELS), strict=True))
        areas = highest_density_regions(told.mixture, LEVELS) if regions else {}
        place = replace(place, radius_km=radii, regions=areas)
        return replace(answer, members=members, neighbours=neighbours, place=place)
    said = judged.judge(LEVELS, regions=regions)
    return replace(
        answer,
        members=members,
        neighbours=neighbours,
        place=replace(place, radius_km=said.radius_km, regions=said.regions),
        probability_within_km=said.probability_within_km,
        confident=judged.confident,
    )
