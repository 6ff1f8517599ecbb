"""What names of files say, where data sets put it there.

- `@utm_east@utm_north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@time@note@.jpg`, as
  benchmarks of visual place recognition write it; lat and lon may be empty;
- `id_lat_lon.jpg`, with four decimals at least: fewer could be anything;
- `photo_secret_server_owner.jpg` of Flickr, as in Im2GPS and its kin.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from geosearch.errors import PhotoRejected
from geosearch.ingest.manifest_values import degrees, measure, moment, text, unprojected
from geosearch.ingest.positions import Position, checked
from geosearch.ingest.records import Candidate

_FIELDS = (
    *("east", "north", "zone", "letter", "lat", "lon", "pano", "tile", "heading", "pitch"),
    *("roll", "height", "time", "note"),
)
_PLACED = re.compile(r"(?:(?P<id>.+)_)?(?P<lat>[-+]?\d{1,2}\.\d{4,})_(?P<lon>[-+]?\d{1,3}\.\d{4,})")
_FLICKR = re.compile(r"(?:.+_)?(?P<photo>\d{5,})_[0-9a-f]{10}_\d+_(?P<owner>\d+@N\d\d)")
_TIME = re.compile(r"(\d{8})_?(\d{6})?")


def named(uri: str, sidecars: tuple[str, ...] = ()) -> Candidate:
    """The photo of a folder, with what its name says.

    Raises
    ------
    PhotoRejected
        Its name has a position that cannot be believed.
    """
    stem = uri.rpartition("/")[2].rpartition(".")[0]
    if stem.startswith("@") and stem.count("@") > _FIELDS.index("lon"):
        return Candidate(uri, sidecars=sidecars, **_of_benchmark(stem))
    found = _PLACED.fullmatch(stem)
    if found:
        place = checked(float(found["lat"]), float(found["lon"]), "manifest")
        return Candidate(uri, position=place, source_id=found["id"], sidecars=sidecars)
    found = _FLICKR.fullmatch(stem)
    owner, photo = (found["owner"], found["photo"]) if found else (None, None)
    return Candidate(uri, author=owner, source_id=photo, sidecars=sidecars)


def _of_benchmark(stem: str) -> dict[str, Any]:
    said = dict(zip(_FIELDS, stem.split("@")[1:], strict=False))
    time = _TIME.fullmatch(said.get("time", ""))
    return {
        "position": _position(said),
        "source_id": text(said.get("pano")),
        "taken_at": moment(" ".join(filter(None, time.groups())), None) if time else None,
        "direction_deg": _number(said, "heading"),
        "pitch_deg": _number(said, "pitch"),
    }


def _number(said: dict[str, str], name: str) -> float | None:
    with suppress(PhotoRejected):
        return measure(name, said.get(name))
    return None


def _position(said: dict[str, str]) -> Position | None:
    lat = degrees("latitude", "latitude", said["lat"], None)
    lon = degrees("longitude", "longitude", said["lon"], None)
    if (lat is None or lon is None) and said["zone"].isdecimal():
        # Letters from N on are north of the equator.
        zone = (32600 if said["letter"].upper() >= "N" else 32700) + int(said["zone"])
        lat, lon = unprojected(zone, said["north"], said["east"])
    return None if lat is None or lon is None else checked(lat, lon, "manifest")
