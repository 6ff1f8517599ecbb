"""Files beside photos: which photo they belong to, and which of them is believed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags

from geosearch.database.connection import Database
from geosearch.errors import Reason
from geosearch.ingest import ingest
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Photo, Unread
from geosearch.ingest.sidecars import sidecar_files
from geosearch.ingest.sources import candidates, locate
from geosearch.ingest.takeout import EDITED

from .photo_files import gps, photo, xmp

Point = tuple[float, float]
LONG = "a photo whose name is much longer than forty-six letters"
OWN, SIDECAR, GIVEN, READ = (10.0, 1.0), (20.0, 2.0), (30.0, 3.0), (40.0, 4.0)


def takeout(
    geo: Point = (0, 0), read: Point = (0, 0), time: int | None = None, **more: Any
) -> bytes:
    """The JSON of Google Takeout, as it is today."""

    def place(point: Point) -> dict[str, float]:
        names = ("latitude", "longitude", "altitude", "latitudeSpan", "longitudeSpan")
        return dict(zip(names, (*point, 0.0, 0.0, 0.0), strict=True))

    said: dict[str, Any] = {
        "title": "IMG_1.jpg",
        "description": "",
        "imageViews": "1",
        "creationTime": {"timestamp": "1700000000", "formatted": "14 Nov 2023, 22:13:20 UTC"},
        "geoData": place(geo),
        "geoDataExif": place(read),
        "people": [{"name": "Ada"}],
        "url": "https://photos.google.com/photo/AF1Qip",
        "googlePhotosOrigin": {"mobileUpload": {"deviceType": "ANDROID_PHONE"}},
    }
    if time is not None:
        said["photoTakenTime"] = {"timestamp": str(time), "formatted": "…"}
    return json.dumps(said | more).encode()


def darktable(point: Point | None = None, **properties: str) -> bytes:
    """A sidecar as photo programs write it."""
    attributes = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
    for name, value in properties.items():
        attributes += f' {name.replace("_", ":", 1)}="{value}"'
    if point is not None:
        lat, lon = point
        attributes += f' exif:GPSLatitude="{lat:.0f},0.0N" exif:GPSLongitude="{lon:.0f},0.0E"'
    return xmp(attributes).encode()


def photos(source: Path | str) -> dict[str, Photo]:
    """Name → what became of each photo."""
    found = map(examine, each_candidate(source))
    return {item.uri.rpartition("/")[2]: item for item in found if isinstance(item, Photo)}


def each_candidate(source: Path | str) -> list[Candidate]:
    return [item for item in candidates(locate(source)) if isinstance(item, Candidate)]


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def place(found: Photo) -> Point | None:
    return None if found.position is None else (found.position.lat, found.position.lon)


# ---- which photo a file belongs to --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("a.jpg", "a.jpg.suppl.json"),
        ("a-edited.jpg", "a.HEIC.json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a(1).jpg", "a(1).jpg.json"),
        ("a(2).jpg", "a.jpg.supplemental-metadata(2).json"),
        ("a-edited.jpg", "a.jpg.json"),
        ("a-edited(1).jpg", "a.jpg(1).json"),
        ("a-edited(1).jpg", "a.jpg.supplemental-metadata.json"),
        ("a.jpg", "a.supplemental-metadata.json"),
        ("a(1).jpg", "a.supplemental-metadata(1).json"),
        ("a-edited.jpg", "a.supplemental-m.json"),
        *((f"a{suffix}.jpg", "a.jpg.supplemental-metadata.json") for suffix in EDITED),
        (f"{LONG[:47]}.jpg", f"{LONG[:46]}.json"),
        (f"{LONG[:47]}(1).jpg", f"{LONG[:46]}(1).json"),
        (f"{LONG[:40]}.jpg", f"{LONG[:40]}.jpg.s.json"),
        ("a.jpg", "a.xmp"),
        ("a.jpg", "a.jpg.xmp"),
        ("a.JPG", "a.XMP"),
    ],
)
def test_a_photo_is_described_by_the_file_beside_it(name: str, beside: str) -> None:
    assert sidecar_files([name, "other.jpg"], [beside]) == {name: (beside,)}


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["a.jpg"], ["metadata.json", "a.json", "a.jpg(1).json", "b.jpg.json"]),
        (["a(1).jpg"], ["a.jpg.json", "a.xmp"]),
        (["a(1).jpg", "a-edited(1).jpg"], ["a.jpg.json"]),
        (["a.jpg", "a.png"], ["a.supplemental-metadata.json"]),
        ([f"{LONG[:46]}x.jpg", f"{LONG[:46]}y.jpg"], [f"{LONG[:46]}.json"]),
    ],
)
def test_no_photo_is_described_by_a_file_that_may_be_of_another(
    names: list[str], files: list[str]
) -> None:
    assert sidecar_files(names, files) == {}


_NAMES = st.from_regex(r"[a-b]{1,60}(\(\d\))?(-edited)?\.(jpg|png)", fullmatch=True)


@settings(max_examples=40)
@given(st.lists(_NAMES, unique=True, max_size=8), st.data())
def test_whatever_the_names_every_photo_has_one_json_at_most(
    names: list[str], data: st.DataObject
) -> None:
    cut = st.integers(1, 50)
    files = [f"{name[: data.draw(cut)]}.json" for name in names]
    found = sidecar_files(names, files)
    assert found.keys() <= set(names)
    assert all(len(beside) == 1 and set(beside) <= set(files) for beside in found.values())


def test_each_file_of_a_folder_is_a_photo_or_of_one_or_counted(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "a.jpg": photo(),
            "a.jpg.json": takeout(),
            "a.xmp": darktable(),
            "a.AAE": b"",
            "orphan.jpg.json": takeout(),
            "metadata.json": b'{"title": "An album"}',
            "b/b.jpg": photo(),
            "b/a.xmp": darktable(),
        },
    )
    found = list(candidates(locate(folder)))
    assert sum(isinstance(item, Candidate) for item in found) == 2
    unread = Counter(item.kind for item in found if isinstance(item, Unread))
    assert unread == {".json": 2, ".xmp": 1, ".aae": 1}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("001/Takeout", "002/Takeout"),
        ("Takeout", "Takeout 2"),
        ("Takeout (1)", "Takeout-3"),
        ("Takeout", "more/Takeout"),
    ],
)
def test_json_may_be_in_another_part_of_a_takeout(tmp_path: Path, one: str, two: str) -> None:
    year = "Google Photos/Photos from 2020"
    write(tmp_path, {f"{one}/{year}/a.jpg": photo(), f"{two}/{year}/b.jpg": photo(shade=1)})
    write(tmp_path, {f"{two}/{year}/a.jpg.json": takeout(GIVEN)})
    write(tmp_path, {f"{one}/{year}/b.jpg.json": takeout()})
    assert {name: place(each) for name, each in photos(tmp_path).items()} == {
        "a.jpg": GIVEN,
        "b.jpg": None,
    }
    assert not any(isinstance(item, Unread) for item in candidates(locate(tmp_path)))


@pytest.mark.parametrize("name", ["a.jpg", "one photo.jpg"])
def test_a_photo_named_alone_and_one_in_a_bucket_have_their_sidecars(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path, {name: photo(), f"{name}.xmp": darktable(SIDECAR), "b.xmp": darktable()})
    assert place(photos(tmp_path / name)[name]) == SIDECAR
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/sidecars/{each.name}": each.read_bytes() for each in tmp_path.iterdir()})
    try:
        assert place(photos("memory://sidecars")[name]) == SIDECAR
    finally:
        memory.rm("/sidecars", recursive=True)


# ---- who is believed: the tables of docs/ingest.md ----------------------------------------------


@pytest.mark.parametrize(
    ("own", "sidecar", "given", "read", "believed"),
    [
        (OWN, SIDECAR, GIVEN, READ, SIDECAR),
        (OWN, None, GIVEN, READ, GIVEN),  # somebody moved it at Google
        (OWN, None, OWN, OWN, OWN),
        (OWN, None, GIVEN, None, OWN),
        (None, None, GIVEN, None, GIVEN),
        (None, None, None, READ, READ),
        (None, SIDECAR, None, None, SIDECAR),
        (OWN, None, None, None, OWN),
        (None, None, None, None, None),
    ],
)
def test_which_position_is_believed(
    tmp_path: Path,
    own: Point | None,
    sidecar: Point | None,
    given: Point | None,
    read: Point | None,
    believed: Point | None,
) -> None:
    write(
        tmp_path,
        {
            "a.jpg": photo(own and gps(*own)),
            "a.xmp": darktable(sidecar),
            "a.jpg.json": takeout(given or (0, 0), read or (0, 0)),
        },
    )
    found = photos(tmp_path)["a.jpg"]
    assert place(found) == (believed and pytest.approx(believed))
    sources = {OWN: "exif", SIDECAR: "xmp", GIVEN: "manifest", READ: "manifest"}
    assert found.position is None or found.position.source == sources[believed or OWN]
    assert found.defect is None


NOON = datetime(2020, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "sidecar", "google", "believed"),
    [
        (None, None, NOON, NOON),
        ("2020:05:04 10:00:00", None, NOON, NOON.replace(hour=10)),  # a zone may be between
        ("2010:01:01 00:00:00", None, NOON, NOON),  # somebody corrected it
        ("2010:01:01 00:00:00", "2020-05-04T08:00:00Z", NOON, NOON.replace(hour=8)),
        ("2020:05:04 10:00:00", "2020-05-04T08:00:00Z", None, NOON.replace(hour=8)),
        ("2020:05:04 10:00:00", None, None, NOON.replace(hour=10)),
    ],
)
def test_which_time_is_believed(
    tmp_path: Path,
    own: str | None,
    sidecar: str | None,
    google: datetime | None,
    believed: datetime,
) -> None:
    tags = {ExifTags.Base.DateTimeOriginal: own} if own else None
    write(
        tmp_path,
        {
            "a.jpg": photo(photo_tags=tags),
            "a.jpg.xmp": darktable(exif_DateTimeOriginal=sidecar or ""),
            "a.jpg.json": takeout(time=int(google.timestamp()) if google else None),
        },
    )
    assert photos(tmp_path)["a.jpg"].taken_at == believed


def test_a_sidecar_of_the_photo_goes_before_one_of_its_stem(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": photo(), "a.xmp": darktable(OWN, xmp_Rating="3")})
    write(tmp_path, {"a.jpg.xmp": darktable(SIDECAR)})
    found = photos(tmp_path)["a.jpg"]
    assert place(found) == SIDECAR
    assert found.exif == {"Rating": 3}


def test_author_title_licence_and_rating_of_a_sidecar_go_before_the_photos_own(
    tmp_path: Path,
) -> None:
    tags = {
        ExifTags.Base.Artist: "own",
        ExifTags.Base.Copyright: "own",
        ExifTags.Base.ImageDescription: "own",
        ExifTags.Base.Rating: 1,
    }
    lists = "".join(
        f"<dc:{name}><rdf:{kind}><rdf:li>{text}</rdf:li></rdf:{kind}></dc:{name}>"
        for name, kind, text in (
            ("creator", "Seq", "Ada"),
            ("rights", "Alt", "CC0-1.0"),
            ("title", "Alt", "A bridge"),
        )
    )
    sidecar = xmp('xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"', lists).encode()
    data = photo(gps(*OWN), image_tags=tags)
    write(tmp_path, {"a.jpg": data, "a.jpg.xmp": sidecar, "b.jpg": data})
    write(tmp_path, {"c.jpg": data, "c.jpg.json": takeout(description="Google's", url="u")})
    write(tmp_path, {"d.jpg": photo(), "d.jpg.json": takeout(description="Google's")})
    write(tmp_path, {"e.jpg": photo(), "e.jpg.json": takeout(title="A day out")})
    found = {
        name: (each.author, each.licence, each.title, (each.exif or {}).get("Rating"))
        for name, each in photos(tmp_path).items()
    }
    assert found == {
        "a.jpg": ("Ada", "CC0-1.0", "A bridge", 5),
        "b.jpg": ("own", "own", "own", 1),
        "c.jpg": ("own", "own", "own", 1),
        "d.jpg": (None, None, "Google's", None),
        "e.jpg": (None, None, "A day out", None),
    }
    assert photos(tmp_path)["c.jpg"].source_id == "u"


def test_where_the_camera_looked_is_what_the_sidecar_says_else_the_photo(tmp_path: Path) -> None:
    own = {ExifTags.GPS.GPSImgDirection: 10.0, ExifTags.GPS.GPSAltitude: 500.0}
    sidecar = darktable(exif_GPSImgDirection="905/10", exif_GPSImgDirectionRef="T")
    write(tmp_path, {"a.jpg": photo(gps(*OWN) | own), "a.xmp": sidecar})
    found = photos(tmp_path)["a.jpg"]
    assert (found.direction_deg, found.direction_reference) == (90.5, "true")
    assert found.altitude_m == 500


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg.xmp", b"<x:xmpmeta><rdf:RDF", Reason.BAD_XMP),
        ("a.jpg.json", b"{", Reason.BAD_ROW),
        ("a.jpg.json", b"[" * 100_000, Reason.BAD_ROW),
        ("a.jpg.json", takeout((95, 0)), Reason.OUT_OF_RANGE),
        ("a.jpg.json", takeout((10**400, 0)), Reason.NOT_A_NUMBER),
        ("a.jpg.json", b'{"geoData": {"latitude": NaN, "longitude": 1}}', Reason.NOT_A_NUMBER),
    ],
)
def test_a_broken_sidecar_is_a_reject_unless_there_is_a_position_elsewhere(
    tmp_path: Path, name: str, data: bytes, reason: Reason
) -> None:
    write(tmp_path, {"a.jpg": photo(), name: data})
    found = photos(tmp_path)["a.jpg"]
    assert found.defect is not None
    assert found.defect.reason == reason
    write(tmp_path, {"a.jpg": photo(gps(*OWN))})
    found = photos(tmp_path)["a.jpg"]
    assert place(found) == pytest.approx(OWN)
    assert found.defect is None
    assert found.warnings == ("sidecar",)


@pytest.mark.parametrize("data", [b"{}", b"[]", b"1", b'{"lat": 1, "lon": 2}', b'{"geoData": 7}'])
def test_json_of_others_says_nothing(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, {"a.jpg": photo(), "a.jpg.json": data})
    found = photos(tmp_path)["a.jpg"]
    assert (found.position, found.defect, found.warnings) == (None, None, ())


def test_a_takeout_and_its_albums_are_one_collection(
    module_database: Database, tmp_path: Path
) -> None:
    write(
        tmp_path / "Takeout/Google Photos",
        {
            "Photos from 2020/a.jpg": photo(),
            "Photos from 2020/a.jpg.supplemental-metadata.json": takeout(GIVEN, time=1588600000),
            "Photos from 2020/a-edited.jpg": photo(shade=1),
            "An album/a.jpg": photo(),
            "An album/metadata.json": b'{"title": "An album"}',
        },
    )
    summary = ingest(module_database, [tmp_path], collection="takeout")
    assert (summary.seen, summary.added, summary.unlocated) == (3, 2, 1)
    assert summary.unread == {".json": 1}
    with module_database.connection() as connection:
        stored = connection.execute(
            "SELECT DISTINCT ST_Y(geom), ST_X(geom), extract(epoch FROM taken_at)::int, source_id "
            "FROM geosearch.photos"
        ).fetchall()
    assert stored == [(*GIVEN, 1588600000, "https://photos.google.com/photo/AF1Qip")]


def test_a_sidecar_that_changed_corrects_its_photo_in_an_update(
    module_database: Database, tmp_path: Path
) -> None:
    write(tmp_path, {"a.jpg": photo(gps(*OWN), shade=7)})
    for _ in range(2):
        ingest(module_database, [tmp_path], collection="corrected")
        write(tmp_path, {"a.xmp": darktable(SIDECAR, xmp_Rating="3")})
    ingest(module_database, [tmp_path], collection="corrected", update=True)
    with module_database.connection() as connection:
        stored = connection.execute(
            "SELECT ST_Y(geom), ST_X(geom), position_source FROM geosearch.photos WHERE uri = %s",
            (str(tmp_path / "a.jpg"),),
        ).fetchall()
    assert stored == [(*SIDECAR, "xmp")]
