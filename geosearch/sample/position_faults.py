"""Wrong positions and clocks, seeded among photos whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from geosearch.sample.journeys import HOUR, Path, Place
from geosearch.sphere import destination, great_circle_km


class Fault(StrEnum):
    """What is wrong with a photo's position, or with its time."""

    SWAPPED = "swapped"  # latitude for longitude
    LOST_SIGN = "lost_sign"  # of one of them, or of both
    NULL_ISLAND = "null_island"  # near (0, 0), or one of them 0
    CLOCK = "clock"  # another hour than the camera's other photos have
    COPIED = "copied"  # that of another photo, given to several
    HOME = "home"  # where the photos were edited
    SPEED = "speed"  # where nobody could have been between the photos before and after


#: Faults that come to several photos at once, so many of them.
_IN_GROUPS = {Fault.COPIED: 4, Fault.HOME: 4}


#: Seconds within which a photo shows where one was.
_WITNESSED = 0.5 * HOUR


@dataclass(frozen=True)
class Shot:
    """A photo: its truth, and what it says. `stated` is None where the position was removed.

    Times are seconds since 1970; `clock_error` is what its clock is off beside that of its camera.
    """

    trip: int
    session: int
    camera: int
    time: float
    place: Place
    stated: Place | None
    blank: bool = False
    clock_error: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True)
class Mischief:
    """What faults are made by: paths of the trips, and distances in km as of `World`."""

    paths: list[Path]
    apart_km: float
    leap_km: tuple[float, float]
    draw_place: Callable[[np.random.Generator, Place | None], Place]

    def seed_faults(self, stream: np.random.Generator, shots: list[Shot], share: float) -> None:
        """Make a share of the located shots wrong, each kind of fault as often as any other.

        A fault is far enough from the truth to be one. What cannot be here, as a longitude of more
        than 90° that is taken for a latitude, makes room for leaps.
        """
        located = [n for n, shot in enumerate(shots) if shot.stated and not shot.fault]
        wanted = round(share * len(located))
        counts = dict.fromkeys(map(Fault, stream.permutation(list(Fault)).tolist()), 0)
        for number in range(wanted):
            counts[list(counts)[number % len(counts)]] += 1
        # Copies at last: what they are of stays right.
        missing = 0
        for kind in sorted(Fault, key=lambda each: (each is Fault.COPIED, each is Fault.SPEED)):
            wanted = counts[kind] + (missing if kind is Fault.SPEED else 0)
            missing += wanted - self._seed(stream, shots, located, kind, wanted, seen=True)

    def seed_wrong_clocks(
        self, stream: np.random.Generator, shots: list[Shot], share: float
    ) -> None:
        """Make the clocks of a share of all shots wrong."""
        wanted = round(share * len(shots))
        self._seed(stream, shots, list(range(len(shots))), Fault.CLOCK, wanted, seen=False)

    def _seed(
        self,
        stream: np.random.Generator,
        shots: list[Shot],
        candidates: list[int],
        kind: Fault,
        wanted: int,
        *,
        seen: bool,
    ) -> int:
        """Make so many of the candidates wrong, so that others show it if `seen`; how many."""
        if kind in _IN_GROUPS and wanted < 2:  # a copy of one is none
            return 0
        source = self.draw_place(stream, None) if kind is Fault.HOME else None
        witnesses = [shot for shot in shots if shot.stated and not shot.fault] if seen else None
        groups = max(1, wanted // _IN_GROUPS.get(kind, wanted)) if wanted else 0
        sizes = [len(range(n, wanted, groups)) for n in range(groups)]
        waiting = iter(stream.permutation(candidates).tolist())
        given = 0
        for size in sizes:
            if kind is Fault.COPIED:
                source = next((shots[n].stated for n in waiting if not shots[n].fault), None)
            done = 0
            for number in waiting:
                wrong = (
                    None
                    if shots[number].fault
                    else self._wrong(stream, shots[number], kind, source, witnesses)
                )
                if wrong is not None:
                    shots[number] = wrong
                    done += 1
                    if done == size:
                        break
            given += done
        return given

    def _wrong(
        self,
        stream: np.random.Generator,
        shot: Shot,
        kind: Fault,
        source: Place | None,
        witnesses: Sequence[Shot] | None,
    ) -> Shot | None:
        """The shot with a fault; None if it would hardly be one."""
        if kind is Fault.CLOCK:
            return self._with_wrong_clock(stream, shot, witnesses)
        lat, lon = shot.stated or shot.place
        stated = source
        if kind is Fault.SWAPPED:
            stated = lon, lat
        elif kind is Fault.LOST_SIGN:
            stated = [(-lat, lon), (lat, -lon), (-lat, -lon)][int(stream.integers(3))]
        elif kind is Fault.NULL_ISLAND:
            east, north = stream.uniform(-0.01, 0.01, 2).tolist()
            stated = [(north, east), (lat, 0.0), (0.0, lon)][int(stream.integers(3))]
        elif kind is Fault.SPEED:
            bearing, km = stream.uniform(0, 360), stream.uniform(*self.leap_km)
            there = destination(lat, lon, bearing, km)
            stated = float(there[0]), float(there[1])
        if stated is None or abs(stated[0]) > 90:
            return None
        if great_circle_km(*shot.place, *stated) < self.apart_km:
            return None
        return replace(shot, stated=stated, fault=kind)

    def _with_wrong_clock(
        self, stream: np.random.Generator, shot: Shot, witnesses: Sequence[Shot] | None
    ) -> Shot | None:
        """Off by whole hours, at a time of the same trip when one was elsewhere.

        Of witnesses, one was taken there about that time: else one may just have come earlier.
        """
        path = self.paths[shot.trip]
        for hours in stream.permutation([h for h in range(-14, 15) if h]).tolist():
            shown = shot.time + hours * HOUR
            if path.time[0] < shown < path.time[-1]:
                there = [float(each[0]) for each in path.at(shown)]
                told = witnesses is None or any(
                    other.trip == shot.trip and abs(other.time - shown) < _WITNESSED
                    for other in witnesses
                )
                if told and great_circle_km(*shot.place, *there) >= self.apart_km:
                    return replace(shot, clock_error=hours * HOUR, fault=Fault.CLOCK)
        return None
