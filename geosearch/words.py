"""How people write positions and distances."""

from __future__ import annotations


def format_position(lat: float, lon: float) -> str:
    """Degrees with hemispheres: `52.5163° N, 13.3777° E`."""
    return f"{abs(lat):.4f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.4f}° {'E' if lon >= 0 else 'W'}"


def format_km(km: float) -> str:
    """A distance with about three digits: `850 m`, `12.3 km`, `1,240 km`."""
    if km < 1:
        return f"{1000 * km:.0f} m"
    return f"{km:.1f} km" if km < 100 else f"{km:,.0f} km"
