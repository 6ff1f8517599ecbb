"""What is asked of an answer, and the parameters that follow from it and from calibrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from geosearch.arguments import check_known, settle
from geosearch.calibration import Calibration, find_calibration, latest_calibration
from geosearch.calibration.calibration_rows import differences
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Parameters
from geosearch.retrieval import Conditions, Filter
from geosearch.retrieval.filters import GivenFilter, narrowed

#: Neighbours retrieved where neither request nor calibration says.
DEFAULT_K = 100


class Asking(Conditions, total=False):
    """Keywords of the Python API that ask for an answer: a `Request`, and a filter for it."""

    method: str
    k: int | None
    bandwidth_km: float | None
    weighting: str | None
    exact: bool
    calibration: int | None
    calibrate: bool
    min_presence: float | None
    restrict_cells: float | None
    verify: int
    timeline: bool | None
    words: bool
    partitions: str | Iterable[str]


@dataclass(frozen=True)
class Request:
    """Parameters of which some are left open.

    Where `method` is `density` and `k`, `bandwidth_km` and `weighting` are all None, they are those
    of a calibration: `calibration` by its id, or else the latest of the model for the filter.
    With `calibrate` False, or if there is none, they are the defaults. A value given here is used
    as it is, without calibration, which holds only for the values it was fitted with; the same goes
    for `restrict_cells`. That, `verify` and `partitions` are as in `Parameters`. A calibration is
    used with the `verify` it was fitted with. `timeline` None goes by the photos before and after
    where the calibration has learned what they are worth. `words` says that a vector is one of
    words, for which other calibrations hold; of texts it is known.

    Raises
    ------
    InputError
        Partitions are named that nothing would use, method `geocell` is given what only neighbours
        have, or a calibration is named and none is to be used.
    """

    method: str = "density"
    k: int | None = None
    bandwidth_km: float | None = None
    weighting: str | None = None
    exact: bool = False
    calibration: int | None = None
    calibrate: bool = True
    min_presence: float | None = None
    restrict_cells: float | None = None
    verify: int = 0
    timeline: bool | None = None
    words: bool = False
    partitions: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The request of a JSON object with some of the fields.

        Raises
        ------
        InputError
            It has other fields or values that cannot be read, or as above.
        """
        check_known("parameter", value, [one.name for one in fields(cls)])
        return cls(**value)

    def __post_init__(self) -> None:
        settle(self)
        if self.calibration is not None and not self.calibrate:
            raise InputError(
                "`calibration` is given, and `calibrate` is false", "Give one of them."
            )
        if self.partitions and self.method != "geocell" and self.restrict_cells is None:
            raise InputError(
                f"`partitions`: {','.join(self.partitions)}: nothing uses them",
                "Give `restrict_cells` P or `method` geocell, or leave `partitions` out.",
            )
        of_neighbours = ((name, getattr(self, name)) for name in ("k", "bandwidth_km", "weighting"))
        given = [f"`{name}` {value}" for name, value in of_neighbours if value is not None]
        if self.method == "geocell" and given:
            raise InputError(
                f"{' '.join(given)}: `method` geocell goes by no neighbours",
                "Leave that out, or choose another method.",
            )

    @classmethod
    def of(
        cls,
        asking: Mapping[str, Any],
        parameters: Parameters | Request | None = None,
        where: GivenFilter = None,
    ) -> tuple[Parameters | Request, Filter]:
        """What keywords ask for; `parameters` instead of its part of them, and a filter besides.

        Raises
        ------
        InputError
            Both are given, or one cannot be used.
        """
        conditions = dict(asking)
        given = {
            field.name: conditions.pop(field.name)
            for field in fields(cls)
            if field.name in conditions
        }
        if given and parameters is not None:
            raise InputError(
                f"`parameters` is given, and `{next(iter(given))}` is one of them", "Give one."
            )
        if not isinstance(parameters, Parameters | Request | None):
            raise InputError(f"`parameters`: expected a Request, found {parameters!r}")
        return parameters or cls(**given), narrowed(where, conditions)

    @property
    def open(self) -> bool:
        """Whether a calibration may fill it in."""
        given = (self.k, self.bandwidth_km, self.weighting, self.restrict_cells)
        return self.method == "density" and all(value is None for value in given)

    def parameters(
        self, connection: Connection, model: Model, where: Filter, others: Sequence[Model] = ()
    ) -> Parameters:
        """The parameters to answer with, by a model, or by it and others together.

        Raises
        ------
        InputError
            The calibration asked for is another model's or contradicts the values given; or a
            presence is asked for and no calibration applies.
        NotFoundError
            The calibration asked for does not exist.
        """
        every = (model, *others)
        models = tuple(each.id for each in every) if others else ()
        calibration = self._calibration(connection, model, where, others)
        if calibration is not None:
            fitted, least = calibration.fitted, self.min_presence
            known = fitted.min_presence if fitted.pool is None else fitted.pool.min_presence
            outside = [
                f"{each.name}: {said}" if others else said
                for each, one in zip(every, fitted.alone, strict=True)
                for said in differences(connection, each.id, where, one, self.verify)
            ]
            return Parameters(
                k=fitted.k,
                weighting=fitted.weighting,
                exact=self.exact,
                min_presence=known if least is None else least,
                calibration_id=calibration.id,
                fitted=fitted,
                outside=tuple(outside),
                verify=self.verify,
                timeline=fitted.fusion is not None if self.timeline is None else self.timeline,
                words=self.words,
                models=models,
            )
        if self.min_presence is not None:
            command = "geosearch calibrate QUERIES.csv"
            if self.words:
                command = "geosearch calibrate --texts TEXTS --model MODEL"
            raise InputError(
                f"`min_presence`: {self.min_presence:g} needs a calibration, and none applies",
                f"Make one: {command}; leave `method`, `k`, `bandwidth_km`, "
                "`weighting` and `restrict_cells` out.",
            )
        k = DEFAULT_K if self.k is None else self.k
        return Parameters(
            self.method,
            k,
            self.bandwidth_km,
            self.weighting,
            self.exact,
            restrict_cells=self.restrict_cells,
            verify=self.verify,
            timeline=bool(self.timeline),
            words=self.words,
            models=models,
            partitions=self.partitions,
        )

    def _calibration(
        self, connection: Connection, model: Model, where: Filter, others: Sequence[Model]
    ) -> Calibration | None:
        fingerprints = tuple(each.fingerprint for each in others)
        if self.calibration is None:
            wanted = self.calibrate and self.open
            if not wanted:
                return None
            return latest_calibration(
                *(connection, model.id, where, self.verify, fingerprints), words=self.words
            )
        if not self.open:
            raise InputError(
                f"`calibration`: {self.calibration} fixes method, k, bandwidth and weighting",
                "Leave out `method`, `k`, `bandwidth_km`, `weighting` and `restrict_cells`, or "
                "`calibration`.",
            )
        found = find_calibration(connection, self.calibration)
        if found.model_id != model.id or found.fitted.fingerprints != fingerprints:
            asked = " + ".join(each.name for each in (model, *others))
            raise InputError(
                f"calibration {self.calibration} is of the model {found.model}, not {asked}",
                "See: geosearch calibrations list",
            )
        return found
