"""Pictures of streets as their services describe them: Mapillary, and STAC as Panoramax has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from geosearch.ingest.manifest_values import point

Row = Mapping[str, Any]

_THUMBNAILS = tuple(f"thumb_{size}_url" for size in ("original", 2048, 1024, 256))
_ASSETS = ("hd", "visual", "image", "data", "sd", "thumb")


def mapillary_row(item: Row) -> Row | str | None:
    """The fields of an image of Mapillary's API or of `mapillary_image_description.json`.

    None if it is neither, what is wrong with it if the tools could not read it.
    """
    if "filename" in item and item.keys() & {"MAPLatitude", "MAPCaptureTime", "error", "filetype"}:
        return _described(item)
    geometry = item.get("computed_geometry") or item.get("geometry")
    is_one = "computed_geometry" in item or ("captured_at" in item and geometry)
    return _of_api(item, geometry) if is_one and item.get("type") != "Feature" else None


def _described(item: Row) -> Row | str:
    error = item.get("error")
    if error:
        said = error.get("message") if isinstance(error, Mapping) else error
        return f"mapillary_tools could not use it: {said}"
    if item.get("filetype", "image") != "image":
        return f"a video ({item['filetype']})"
    heading = item.get("MAPCompassHeading")
    return {
        "uri": item["filename"],
        "lat": item.get("MAPLatitude"),
        "lon": item.get("MAPLongitude"),
        "taken_at": _time(item.get("MAPCaptureTime")),
        "altitude_m": item.get("MAPAltitude"),
        "direction_deg": heading.get("TrueHeading") if isinstance(heading, Mapping) else None,
    }


def _time(said: Any) -> Any:
    """`2021_06_15_14_30_00_123` in UTC, else as it is."""
    try:
        return datetime.strptime(str(said), "%Y_%m_%d_%H_%M_%S_%f").replace(tzinfo=UTC)
    except ValueError:
        return said


def _of_api(item: Row, geometry: Any) -> Row:
    lat, lon = point(geometry)
    creator = item.get("creator")
    address = next((item[size] for size in _THUMBNAILS if item.get(size)), None)
    return {
        # Without an address, as those who download them call them.
        "uri": address or f"{item.get('id')}.jpg",
        "lat": lat,
        "lon": lon,
        "taken_at": item.get("captured_at"),
        "author": creator.get("username") if isinstance(creator, Mapping) else creator,
        "licence": "CC-BY-SA-4.0",  # of all that Mapillary publishes
        "source_id": item.get("id"),
        "altitude_m": item.get("computed_altitude", item.get("altitude")),
        "direction_deg": item.get("computed_compass_angle", item.get("compass_angle")),
    }


def stac_row(item: Row) -> Row | str | None:
    """The fields of a STAC item, as Panoramax and others serve pictures; None if it is none."""
    assets, said = item.get("assets"), item.get("properties")
    if item.get("type") != "Feature" or not isinstance(assets, Mapping):
        return None
    said = said if isinstance(said, Mapping) else {}
    files = {name: each for name, each in assets.items() if isinstance(each, Mapping)}
    pictures = [each for each in files.values() if "data" in (each.get("roles") or ())]
    asset = next(filter(None, [*pictures, *map(files.get, _ASSETS)]), None)
    if asset is None:
        return "none of its assets is a picture"
    lat, lon = point(item.get("geometry"))
    camera = said.get("pers:interior_orientation")
    return {
        "uri": asset.get("href"),
        "lat": lat,
        "lon": lon,
        "taken_at": said.get("datetime"),
        "author": _producer(item.get("providers") or said.get("providers")),
        "licence": said.get("license"),
        "title": said.get("title"),
        "source_id": item.get("id"),
        "accuracy_m": said.get("quality:horizontal_accuracy"),
        "direction_deg": said.get("view:azimuth"),
        "field_of_view_deg": camera.get("field_of_view") if isinstance(camera, Mapping) else None,
    }


def _producer(providers: Any) -> Any:
    """Who took the picture, of those who had to do with it."""
    listed = providers if isinstance(providers, list) else []
    known = [each for each in listed if isinstance(each, Mapping)]
    return next(
        (each.get("name") for each in known if "producer" in (each.get("roles") or ())), None
    )
