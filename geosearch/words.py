"""How people read figures: positions, distances, shares, intervals, sizes and numbers of things."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

_BYTES = ("B", "kB", "MB", "GB", "TB")


class Ends(Protocol):
    """An interval."""

    @property
    def low(self) -> float: ...  # noqa: D102

    @property
    def high(self) -> float: ...  # noqa: D102


def format_position(lat: float, lon: float) -> str:
    """Degrees with hemispheres: `52.5163° N, 13.3777° E`."""
    return f"{abs(lat):.4f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.4f}° {'E' if lon >= 0 else 'W'}"


def format_km(km: float | None) -> str:
    """A distance with about three digits: `8.5 m`, `850 m`, `12.3 km`, `1,240 km`.

    A dash where there is no figure, a word where it is infinite.
    """
    if km is None or math.isinf(km):
        return "–" if km is None else "none"
    if km < 1:
        return f"{1000 * km:.1f} m" if 0 < km < 0.01 else f"{1000 * km:.0f} m"
    return f"{km:.1f} km" if km < 100 else f"{km:,.0f} km"


def format_km2(km2: float | None) -> str:
    """An area with about three digits: `850 m²`, `12.3 km²`, `1,240 km²`; as `format_km`."""
    if km2 is None or math.isinf(km2):
        return "–" if km2 is None else "none"
    if km2 < 1:
        return f"{1e6 * km2:,.0f} m²"
    return f"{km2:.1f} km²" if km2 < 100 else f"{km2:,.0f} km²"


def threshold(km: float) -> str:
    """A distance that somebody chose, as it is: `25 m`, `1 km`, `2,500 km`."""
    return f"{1000 * km:g} m" if km < 1 else f"{km:,g} km"


def distances(ends: Ends | None) -> str:
    """`12.3 to 15.0 km`; with both units where they differ."""
    if ends is None:
        return "–"
    low, high = format_km(ends.low), format_km(ends.high)
    if low == high:
        return low
    _, space, unit = high.rpartition(" ")
    return f"{low.removesuffix(space + unit)} to {high}"


def format_bytes(size: float) -> str:
    """A size in memory or on disk: `512 B`, `87 kB`, `1.2 MB`, `34 GB`."""
    power = min(int(math.log(max(size, 1), 1000)), len(_BYTES) - 1)
    scaled = size / 1000**power
    return f"{scaled:.{1 if power and scaled < 10 else 0}f} {_BYTES[power]}"


def percent(share: float) -> str:
    """`44.3 %`."""
    return f"{100 * share:.1f} %"


def percents(ends: Ends) -> str:
    """`38.2 to 50.7 %`."""
    return f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: `+2.4`."""
    return f"{100 * difference:+.1f}"


def points_between(ends: Ends) -> str:
    """`-0.3 to +5.1`."""
    return f"{points(ends.low)} to {points(ends.high)}"


def counted(numbers: Mapping[str, int] | None) -> str:
    """`3 not confident, 1 low information`, of what there is any; or `none`, or `not counted`."""
    if numbers is None:
        return "not counted"
    said = [f"{count:,} {name.replace('_', ' ')}" for name, count in numbers.items() if count]
    return ", ".join(said) or "none"


def p_value(value: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number_of(count: int, thing: str, things: str | None = None) -> str:
    """`1 query`, `1,240 queries`; the plural has an s unless `things` says another."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def format_hours(hours: float) -> str:
    """A time for readers: seconds, minutes, hours or days, by its length."""
    seconds = 3600 * hours
    for name, size in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 100 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size or size == 1 else 1}f} {name}"
    return f"{hours / 24:.0f} days"
