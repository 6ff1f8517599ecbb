"""How the camera stood: direction, field of view, pitch and altitude, from metadata to layers."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags

from geosearch.database.connection import Database
from geosearch.ingest import ingest
from geosearch.ingest.camera_view import VIEW_FIELDS, View, field_of_view
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Photo
from geosearch.layers.styles import read_style
from geosearch.retrieval.photo_list import list_photos
from tests.photo_files import gps, photo, rational, xmp
from tests.rows import fetch

GPS = ExifTags.GPS
FOCAL = ExifTags.Base.FocalLengthIn35mmFilm
_DJI = 'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"'
_PANO = 'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"'


def view_of(folder: Path, **made: Any) -> View:
    """What ingest reads of a photo made so, without the rest."""
    file = folder / "photo"
    file.write_bytes(photo(**made))
    found = examine(Candidate(str(file)))
    assert isinstance(found, Photo)
    return View(**{name: getattr(found, name) for name in VIEW_FIELDS})


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({GPS.GPSImgDirection: rational(271.5), GPS.GPSImgDirectionRef: "T"}, (271.5, "true")),
        ({GPS.GPSImgDirection: rational(90), GPS.GPSImgDirectionRef: "M"}, (90, "magnetic")),
        ({GPS.GPSImgDirection: rational(90)}, (90, None)),
        ({GPS.GPSImgDirection: rational(360), GPS.GPSImgDirectionRef: "T"}, (0, "true")),
        ({GPS.GPSImgDirection: rational(1000), GPS.GPSImgDirectionRef: "T"}, (None, None)),
        ({GPS.GPSImgDirectionRef: "T"}, (None, None)),
    ],
)
def test_a_direction_has_the_north_it_names(
    tags: dict[int, Any], expected: tuple[float | None, str | None], tmp_path: Path
) -> None:
    found = view_of(tmp_path, gps=gps(1, 2) | tags)
    assert (found.direction_deg, found.direction_reference) == expected


@pytest.mark.parametrize(("reference", "altitude"), [(b"\0", 120.5), (b"\1", -120.5)])
def test_an_altitude_is_above_or_below_the_sea(
    reference: bytes, altitude: float, tmp_path: Path
) -> None:
    tags = gps(1, 2) | {GPS.GPSAltitude: rational(120.5), GPS.GPSAltitudeRef: reference}
    assert view_of(tmp_path, gps=tags).altitude_m == altitude


def test_the_field_of_view_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    assert field_of_view(36, 3000, 2000) == pytest.approx(2 * math.degrees(math.atan(0.5)))
    assert field_of_view(0, 3000, 2000) is None
    lying = view_of(tmp_path, size=(300, 200), photo_tags={FOCAL: 50})
    sides = {ExifTags.Base.Orientation: 6}
    upright = view_of(tmp_path, size=(300, 200), photo_tags={FOCAL: 50}, image_tags=sides)
    assert lying.field_of_view_deg == pytest.approx(39.6, abs=0.01)
    assert upright.field_of_view_deg == pytest.approx(26.99, abs=0.01)


def test_drones_and_panoramas_say_it_in_xmp(tmp_path: Path) -> None:
    drone = f"{_DJI} drone-dji:FlightYawDegree='10' drone-dji:AbsoluteAltitude='+432.1' "
    camera = "drone-dji:GimbalYawDegree='-90.0' drone-dji:GimbalPitchDegree='-45.5'"
    assert view_of(tmp_path, xmp=xmp(drone + camera)) == View(
        direction_deg=270, direction_reference="true", pitch_deg=-45.5, altitude_m=432.1
    )
    assert view_of(tmp_path, xmp=xmp(drone)).direction_deg == 10
    panorama = (
        f"{_PANO} GPano:PoseHeadingDegrees='350' GPano:FullPanoWidthPixels='8000' "
        "GPano:CroppedAreaImageWidthPixels='4000'"
    )
    assert view_of(tmp_path, photo_tags={FOCAL: 26}, xmp=xmp(panorama)) == View(
        direction_deg=350, field_of_view_deg=180
    )
    written = "exif:GPSImgDirection='3451/10' exif:GPSImgDirectionRef='M' exif:GPSAltitude='9/2'"
    assert view_of(tmp_path, xmp=xmp(written)) == View(
        direction_deg=345.1, direction_reference="magnetic", altitude_m=4.5
    )
    tags = gps(1, 2) | {GPS.GPSImgDirection: rational(5)}
    assert view_of(tmp_path, gps=tags, xmp=xmp(drone + camera)).direction_deg == 5


numbers = st.none() | st.floats() | st.sampled_from([359.99999999, -1e-9, 360.0, -360.0])


@given(said=st.tuples(numbers, numbers, numbers, numbers))
def test_whatever_a_source_says_only_what_can_be_is_kept(said: tuple[float | None, ...]) -> None:
    names = ("direction_deg", "field_of_view_deg", "pitch_deg", "altitude_m")
    given = View(**dict(zip(names, said, strict=True)), direction_reference="true")
    kept = given.or_else(View())
    assert kept.direction_deg is None or 0 <= kept.direction_deg < 359.99996
    assert (kept.direction_reference is None) == (kept.direction_deg is None)
    assert kept.field_of_view_deg is None or 0 < kept.field_of_view_deg <= 360
    assert kept.pitch_deg is None or -90 <= kept.pitch_deg <= 90
    assert kept.altitude_m is None or -12_000 <= kept.altitude_m <= 1e6
    assert View().or_else(kept) == kept.or_else(given) == kept


def test_a_manifest_goes_before_the_photo_and_layers_show_it(
    database: Database, tmp_path: Path
) -> None:
    exif = {GPS.GPSImgDirection: rational(5), GPS.GPSAltitude: rational(70)}
    rows = [
        ("a.jpg", 1, 2, "270", "M", "65.5 deg", "12 m Below Sea Level"),
        ("b.jpg", 3, 4, "", "", "", ""),
        ("c.jpg", 5, 6, "inbound", "T", "0", "-12000.5"),
    ]
    for shade, (name, *_) in enumerate(rows):
        (tmp_path / name).write_bytes(photo(gps(1, 2) | exif, shade=shade))
    with (tmp_path / "m.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        header = ("SourceFile", "lat", "lon", "GPSImgDirection", "GPSImgDirectionRef", "FOV")
        writer.writerows([(*header, "GPSAltitude"), *rows])
    summary = ingest(database, [tmp_path / "m.csv"], collection="c")
    assert (summary.added, summary.warnings) == (3, {"direction_deg": 1})
    columns = b"direction_deg, direction_reference, field_of_view_deg, altitude_m"
    assert fetch(database, b"SELECT " + columns + b" FROM geosearch.gis_photos ORDER BY id") == [  # type: ignore[arg-type]
        (270, "magnetic", 65.5, -12),
        (5, None, None, 70),
        (5, None, None, 70),
    ]
    with database.connection() as connection:
        first = list_photos(connection)[0]
    assert (first.direction_deg, first.pitch_deg, first.altitude_m) == (270, None, -12)


def test_qgis_draws_a_cone_of_the_view() -> None:
    style = ElementTree.fromstring(read_style("photos"))
    (cone,) = style.iterfind(".//layer[@class='GeometryGenerator']/Option/Option[2]")
    drawn = cone.get("value") or ""
    assert '"direction_deg", coalesce("field_of_view_deg"' in drawn
