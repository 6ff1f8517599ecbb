"""Border files: GeoJSON of Natural Earth's admin-0 countries, or of country-coder.

Both are read into the same records. Regions (continents, unions, states) are put together from
their members, so that a filter by region needs one geometry as a filter by country does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from geosearch.errors import InputError, unusable_file
from geosearch.storage import read_json

Kind = Literal["country", "region"]

#: Levels of country-coder that are no place of their own: islands that several countries share
#: carry the name people use for one of them.
_IGNORED_LEVELS = {"sharedLandform", "world", "unitedNations"}


@dataclass(frozen=True)
class Border:
    """A country, or a region: a group of countries or a part of one.

    `geometry` is a valid MultiPolygon, longitude/latitude in degrees.
    """

    kind: Kind
    name: str
    geometry: MultiPolygon
    aliases: tuple[str, ...] = ()
    iso_a2: str | None = None
    iso_a3: str | None = None
    continent: str | None = None
    subregion: str | None = None


@dataclass(frozen=True)
class Flaw:
    """A feature that cannot be used, or was repaired."""

    feature: str
    message: str
    used: bool


def read_borders(path: str | Path) -> tuple[list[Border], list[Flaw]]:
    """The borders in a file, and what was wrong with single features.

    Raises
    ------
    InputError
        The file cannot be read, or is neither of the formats.
    """
    try:
        document = read_json(Path(path))
        features = [(dict(item["properties"]), item["geometry"]) for item in document["features"]]
    except OSError as error:
        raise unusable_file(f"{path} cannot be read: {error.strerror}", error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a GeoJSON FeatureCollection ({type(error).__name__}: {error})", _REMEDY
        ) from error
    flaws: list[Flaw] = []
    if any("nameEn" in properties for properties, _ in features):
        borders = list(_country_coder(features, flaws))
    elif any("NAME" in properties for properties, _ in features):
        borders = list(_natural_earth(features, flaws))
    else:
        borders = []
    if not borders:
        raise InputError(f"{path} holds no borders: no feature has NAME or nameEn", _REMEDY)
    return borders, flaws


_REMEDY = (
    "Give Natural Earth's admin-0 countries as GeoJSON, or src/data/borders.json of the npm "
    "package @rapideditor/country-coder."
)
_Features = list[tuple[dict[str, Any], Any]]


def _natural_earth(features: _Features, flaws: list[Flaw]) -> Iterator[Border]:
    regions: dict[str, list[BaseGeometry]] = {}
    for number, (raw, geometry) in enumerate(features, start=1):
        properties = {key.upper(): value for key, value in raw.items()}
        name = properties.get("NAME") or properties.get("ADMIN") or f"feature {number}"
        area = _polygons(name, geometry, flaws)
        if area is None:
            continue
        names = (properties.get(key) for key in ("ADMIN", "NAME_LONG", "FORMAL_EN"))
        yield Border(
            "country",
            name,
            area,
            tuple(dict.fromkeys(other for other in names if other and other != name)),
            # Natural Earth has -99 where a country with all its dependencies is more than the ISO
            # code names, as for France and Norway; its other codes mostly help.
            _code(properties, 2, "ISO_A2", "ISO_A2_EH", "WB_A2"),
            _code(properties, 3, "ISO_A3", "ISO_A3_EH", "ADM0_A3"),
            properties.get("CONTINENT"),
            properties.get("SUBREGION"),
        )
        for region in {properties.get(key) for key in ("CONTINENT", "SUBREGION", "REGION_UN")}:
            if region:
                regions.setdefault(region, []).append(area)
    for region in sorted(regions):
        yield Border("region", region, _united(regions[region]))


def _country_coder(features: _Features, flaws: list[Flaw]) -> Iterator[Border]:
    named = [(raw, area) for raw, area in features if raw.get("nameEn") and _identifiers(raw)]
    by_id = {key: raw for raw, _ in named for key in _identifiers(raw)}
    # What a place is made of: areas, each with all it belongs to.
    members: dict[str, list[tuple[BaseGeometry, set[str]]]] = {}
    for raw, geometry in named:
        area = None if geometry is None else _polygons(raw["nameEn"], geometry, flaws)
        if area is not None:
            ancestors = _ancestors(raw, by_id)
            for key in ancestors:
                members.setdefault(key, []).append((area, ancestors))
    for raw, _ in named:
        level, parts = raw.get("level"), members.get(_identifiers(raw)[0])
        if level in _IGNORED_LEVELS or parts is None:  # rejected above, or nothing belongs to it
            continue
        shared = set.intersection(*(ancestors for _, ancestors in parts))
        groups = {by_id[key].get("level"): by_id[key]["nameEn"] for key in sorted(shared)}
        is_country = "iso1A2" in raw and level in (None, "territory")
        yield Border(
            "country" if is_country else "region",
            raw["nameEn"],
            _united([area for area, _ in parts]),
            tuple(raw.get("aliases", ())),
            raw.get("iso1A2"),
            raw.get("iso1A3"),
            groups.get("region"),
            groups.get("subregion"),
        )


def _identifiers(raw: Mapping[str, Any]) -> list[str]:
    keys = (raw.get(name) for name in ("iso1A2", "m49", "wikidata"))
    return [key for key in keys if key]


def _ancestors(raw: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The first identifiers of a feature and of all it belongs to."""
    found: set[str] = set()
    waiting = [raw]
    while waiting:
        item = waiting.pop()
        (key, *_) = _identifiers(item)
        if key not in found:
            found.add(key)
            parents = [*item.get("groups", ()), item.get("country")]
            waiting.extend(by_id[parent] for parent in parents if parent in by_id)
    return found


def _code(properties: Mapping[str, Any], length: int, *keys: str) -> str | None:
    codes = (str(properties.get(key)) for key in keys)
    return next((code for code in codes if re.fullmatch(f"[A-Z]{{{length}}}", code)), None)


def _polygons(name: str, geometry: Any, flaws: list[Flaw]) -> MultiPolygon | None:
    """The feature's area, repaired where it is invalid; None with a flaw where it has none."""
    try:
        area = shape(geometry)
    except (KeyError, TypeError, ValueError, AttributeError, ShapelyError) as error:
        flaws.append(Flaw(name, f"no geometry ({type(error).__name__}: {error})", used=False))
        return None
    if not area.is_valid:
        flaws.append(Flaw(name, f"repaired: {shapely.is_valid_reason(area)}", used=True))
        area = shapely.make_valid(area)
    parts = [part for part in shapely.get_parts(area) if part.area > 0]
    polygons = [
        polygon
        for part in parts
        for polygon in shapely.get_parts(part)
        if polygon.geom_type == "Polygon"
    ]
    if not polygons:
        flaws.append(Flaw(name, f"a {area.geom_type} has no area", used=False))
        return None
    west, south, east, north = area.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        extent = f"{west:g},{south:g},{east:g},{north:g}"
        flaws.append(Flaw(name, f"{extent} is beyond the Earth", used=False))
        return None
    return MultiPolygon(polygons)


def _united(areas: list[BaseGeometry]) -> MultiPolygon:
    united = areas[0] if len(areas) == 1 else shapely.union_all(areas)
    return MultiPolygon([part for part in shapely.get_parts(united) if part.area > 0])
