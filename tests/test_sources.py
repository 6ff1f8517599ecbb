"""Sources in the layouts that people have: each photo with its place, each line counted."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geosearch import containers
from geosearch.database.connection import Database
from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.ingest import delimited, ingest, manifests
from geosearch.ingest.examine import examine
from geosearch.ingest.manifests import read_manifest
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Photo, Rejection
from geosearch.ingest.sources import candidates, locate
from geosearch.storage import read_bytes, resolve

from .command_line import CommandLine
from .photo_files import gps, photo


def read(path: Path) -> list[Candidate | Rejection]:
    return list(read_manifest(str(path)))


def found(path: Path) -> list[dict[str, Any]]:
    """What is known of each photo, or the reason why not."""
    return [
        {"rejected": item.message}
        if isinstance(item, Rejection)
        else {
            name: value
            for name, value in {
                "uri": item.uri.removeprefix(f"{path.parent}/"),
                "place": item.position and (item.position.lat, item.position.lon),
                "accuracy_m": item.position and item.position.accuracy_m,
                **{name: getattr(item, name) for name in _TEXTS},
            }.items()
            if value is not None
        }
        for item in read(path)
    ]


_VIEW = ("direction_deg", "field_of_view_deg", "altitude_m")
_TEXTS = (*_VIEW, "author", "taken_at", "licence", "title", "source_id")


# ---- Flickr -------------------------------------------------------------------------------------

#: A line of YFCC100M, made up, in its 25 columns.
_YFCC = {
    "line": "17",
    "photo": "4394748717",
    "hash": "d29f01b149167d683f9ddde464bb3db",
    "user": "48600090482@N01",
    "nickname": "a+b%21",
    "taken": "2010-02-25 09:38:57.0",
    "uploaded": "1267467516",
    "device": "Canon+EOS",
    "title": "Snow%2C+bridge",
    "description": "",
    "tags": "snow,bridge",
    "machine_tags": "",
    "lon": "11.5820",
    "lat": "48.1351",
    "accuracy": "16",
    "page": "http://www.flickr.com/photos/48600090482@N01/4394748717/",
    "url": "http://farm5.staticflickr.com/4017/4394748717_4c0d616a91.jpg",
    "licence": "Attribution-NonCommercial-NoDerivs License",
    "licence_url": "http://creativecommons.org/licenses/by-nc-nd/2.0/",
    "server": "4017",
    "farm": "5",
    "secret": "4c0d616a91",
    "original": "0abc",
    "ending": "jpg",
    "marker": "0",
}
_SNOW = {
    "uri": _YFCC["url"],
    "place": (48.1351, 11.582),
    "accuracy_m": pytest.approx(305.75, abs=0.01),
    "author": "48600090482@N01",
    "taken_at": datetime(2010, 2, 25, 9, 38, 57),
    "licence": "CC-BY-NC-ND-2.0",
    "title": "Snow, bridge",
    "source_id": "4394748717",
}


def yfcc(*without: str, **cells: str) -> str:
    return "\t".join(value for name, value in (_YFCC | cells).items() if name not in without)


@pytest.mark.parametrize("without", [(), ("line",), ("hash",), ("line", "hash")])
@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("yfcc100m_dataset", bytes),
        ("yfcc100m_dataset.bz2", bz2.compress),
        ("yfcc100m_dataset-0.bz2", bz2.compress),
        ("mine.tsv.gz", gzip.compress),
        ("mine.tsv", bytes),
    ],
)
def test_lines_of_yfcc100m_have_no_header(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], without: tuple[str, ...]
) -> None:
    (tmp_path / name).write_bytes(pack((yfcc(*without) + "\n").encode() * 2))
    assert locate(tmp_path / name)
    assert found(tmp_path / name) == [_SNOW, _SNOW]


@pytest.mark.parametrize(
    ("cells", "place", "metres"),
    [
        ({"accuracy": "11"}, (48.1351, 11.582), 9783.94),
        ({"accuracy": "3"}, (48.1351, 11.582), 2504688.5),
        ({"accuracy": ""}, (48.1351, 11.582), None),
        ({"accuracy": "17"}, (48.1351, 11.582), None),
        ({"lat": "", "lon": ""}, None, None),
        ({"lat": "", "lon": "", "machine_tags": "geo:lat=1.5,geo:lon=-2.5"}, (1.5, -2.5), None),
        ({"lat": "", "lon": "", "machine_tags": "geo%3Alat%3D1.5,geo:long=2"}, (1.5, 2), None),
    ],
)
def test_a_position_of_flickr_is_as_exact_as_its_map_was_zoomed(
    tmp_path: Path, cells: dict[str, str], place: tuple[float, float] | None, metres: float | None
) -> None:
    (tmp_path / "a.tsv").write_text(yfcc(**cells))
    (only,) = found(tmp_path / "a.tsv")
    assert only.get("place") == place
    assert only.get("accuracy_m") == (metres and pytest.approx(metres, rel=1e-5))


def test_lines_of_yfcc100m_that_are_no_photos_are_counted(tmp_path: Path) -> None:
    lines = [yfcc(), yfcc(marker="1"), "", yfcc(lat="95"), yfcc(lat="x"), "a\tb", yfcc()]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    items = read(tmp_path / "a.tsv")
    assert [isinstance(item, Candidate) for item in items] == [True, *[False] * 5, True]
    rejected = [item for item in items if isinstance(item, Rejection)]
    assert [item.reason for item in rejected] == [
        Reason.BAD_ROW,
        Reason.BAD_ROW,
        Reason.OUT_OF_RANGE,
        Reason.NOT_A_NUMBER,
        Reason.BAD_ROW,
    ]
    assert rejected[0].message == "a video"


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("0", "All Rights Reserved"),
        ("4", "CC-BY-2.0"),
        ("9", "CC0-1.0"),
        ("12", "Flickr licence 12"),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Attribution License", "Attribution License"),
        (None, None),
    ],
)
def test_photos_of_flickrs_api(tmp_path: Path, said: str | None, licence: str | None) -> None:
    item = {
        "id": "1",
        "owner": "12@N01",
        "secret": "abc",
        "server": "65535",
        "title": {"_content": "A bridge"},
        "license": said,
        "latitude": "48.5",
        "longitude": 11.5,
        "accuracy": 16,
        "datetaken": "2020-05-04 18:39:11",
    }
    photos = [
        item,
        item | {"latitude": 0, "longitude": 0, "accuracy": 0, "url_o": "https://x/o.jpg"},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"photos": {"photo": photos, "page": 1}}))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, photos)))
    known = {
        "author": "12@N01",
        "taken_at": datetime(2020, 5, 4, 18, 39, 11),
        "title": "A bridge",
        "source_id": "1",
    } | ({"licence": licence} if licence else {})
    place = {"place": (48.5, 11.5), "accuracy_m": pytest.approx(305.75, abs=0.01)}
    assert found(tmp_path / "a.json") == [
        {"uri": "https://live.staticflickr.com/65535/1_abc_b.jpg", **place, **known},
        {"uri": "https://x/o.jpg", **known},
    ]
    assert found(tmp_path / "a.jsonl") == found(tmp_path / "a.json")


def test_texts_beside_the_photos_of_im2gps(tmp_path: Path) -> None:
    block = (
        "photo: 123456 4c0d616a91 4017\nowner: 12@N01\ntitle: A bridge: snow\n"
        "originalsecret: null\no_height: 1\ndatetaken: 2010-02-25 09:38:57\ntags: geo lat\n"
        "license: 2\nlatitude: {lat}\nlongitude: 11.5\naccuracy: 16\nviews: 3\n"
        "interestingness: 1 out of 2\n\n"
    )
    (tmp_path / "munich.txt").write_text(
        f"Query: munich\n\n{block.format(lat=48.5)}{block.format(lat=95)}photo: 7\n\n"
        "Total images queried: 3\n"
    )
    first, second, third = found(tmp_path / "munich.txt")
    assert first == {
        "uri": "123456_4c0d616a91_4017_12@N01.jpg",
        "place": (48.5, 11.5),
        "accuracy_m": pytest.approx(305.75, abs=0.01),
        "author": "12@N01",
        "taken_at": datetime(2010, 2, 25, 9, 38, 57),
        "licence": "CC-BY-NC-2.0",
        "title": "A bridge: snow",
        "source_id": "123456",
    }
    assert second.keys() == third.keys() == {"rejected"}
    (tmp_path / "notes.txt").write_text("milk\n")
    with pytest.raises(InputError, match=r"notes\.txt is no list of photos"):
        locate(tmp_path / "notes.txt")


# ---- names of files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (
            "@0543256.96@4178906.70@10@S@037.75625@-122.50851@pano7@1@90@0@0@@20130215_103000@@",
            {
                "position": (37.75625, -122.50851),
                "source_id": "pano7",
                "direction_deg": 90,
                "pitch_deg": 0,
                "taken_at": datetime(2013, 2, 15, 10, 30),
            },
        ),
        (
            "@543256.96@4178906.70@10@S@@@@@@@@@201302@@",
            {"position": pytest.approx((37.7563, -122.5088), abs=1e-3)},
        ),
        (
            "@334000.00@6250000.00@56@H@@@@@@@@@@@",
            {"position": pytest.approx((-33.88, 151.2), abs=1e-1)},
        ),
        ("42_48.1351_-11.5820", {"position": (48.1351, -11.582), "source_id": "42"}),
        ("48.1351_11.5820", {"position": (48.1351, 11.582)}),
        (
            "Abidjan_00001_999026917_1838ecb7ef_1158_10371983@N06",
            {"author": "10371983@N06", "source_id": "999026917"},
        ),
        ("1002850456_31e79f7a7a_1172_84195579@N00", {"author": "84195579@N00"}),
        ("IMG_20200101_1.5_2.5", {}),
        ("@home", {}),
        ("@a@b@c", {}),
    ],
)
def test_names_that_say_where(tmp_path: Path, name: str, known: dict[str, Any]) -> None:
    (tmp_path / f"{name}.jpg").write_bytes(photo())
    (only,) = candidates(locate(tmp_path))
    assert isinstance(only, Candidate)
    place = only.position and (only.position.lat, only.position.lon)
    assert place == known.pop("position", None)
    for field, value in known.items():
        assert getattr(only, field) == value
    assert next(candidates(locate(tmp_path / f"{name}.jpg"))) == only


def test_a_name_with_no_place_on_earth_is_a_reject(tmp_path: Path) -> None:
    for name in ("1_95.0000_2.0000", "@1@2@10@S@0@0@", "@1@2@10@S@x@0@", "@1@2@99@S@@@"):
        (tmp_path / f"{name}.jpg").write_bytes(photo())
    items = list(candidates(locate(tmp_path)))
    assert [item.reason for item in items if isinstance(item, Rejection)] == [
        Reason.OUT_OF_RANGE,
        Reason.ZERO_ZERO,
        Reason.NOT_A_NUMBER,
        Reason.BAD_ROW,
    ]


# ---- street level -------------------------------------------------------------------------------


def test_descriptions_of_mapillarys_tools(tmp_path: Path) -> None:
    described = {
        "filename": str(tmp_path / "a.jpg"),
        "filetype": "image",
        "MAPLatitude": 48.5,
        "MAPLongitude": 11.5,
        "MAPAltitude": 500.1,
        "MAPCaptureTime": "2021_06_15_14_30_00_123",
        "MAPCompassHeading": {"TrueHeading": 90.0, "MagneticHeading": 90.0},
        "MAPSequenceUUID": "0",
    }
    failed = {
        "filename": "b.jpg",
        "error": {"type": "MapillaryGeoTaggingError", "message": "Unable to extract GPS"},
        "filetype": "image",
    }
    video = {"filename": "c.mp4", "filetype": "video", "MAPGPSTrack": []}
    (tmp_path / "mapillary_image_description.json").write_text(
        json.dumps([described, failed, video, described | {"MAPLatitude": 95}])
    )
    first, *others = found(tmp_path / "mapillary_image_description.json")
    assert first == {
        "uri": "a.jpg",
        "place": (48.5, 11.5),
        "altitude_m": 500.1,
        "direction_deg": 90.0,
        "taken_at": datetime(2021, 6, 15, 14, 30, 0, 123000, UTC),
    }
    assert [each["rejected"] for each in others] == [
        "mapillary_tools could not use it: Unable to extract GPS",
        "a video (video)",
        "latitude 95.0 is beyond ±90 degrees",
    ]


def test_images_of_mapillarys_api(tmp_path: Path) -> None:
    item = {
        "id": "849",
        "geometry": {"type": "Point", "coordinates": [11.0, 48.0]},
        "computed_geometry": {"type": "Point", "coordinates": [11.5, 48.5]},
        "captured_at": 1623767400123,
        "compass_angle": 10.5,
        "creator": {"username": "ada", "id": "1"},
    }
    plain = {name: value for name, value in item.items() if name != "computed_geometry"}
    lines = [
        item | {"thumb_2048_url": "https://x/849.jpg?sig=1"},
        plain,
        item | {"computed_geometry": {}, "geometry": 7},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "a.json").write_text(json.dumps({"data": lines}))
    known = {
        "author": "ada",
        "direction_deg": 10.5,
        "licence": "CC-BY-SA-4.0",
        "source_id": "849",
        "taken_at": datetime(2021, 6, 15, 14, 30, 0, 123000, UTC),
    }
    assert found(tmp_path / "a.jsonl") == [
        {"uri": "https://x/849.jpg?sig=1", "place": (48.5, 11.5), **known},
        {"uri": "849.jpg", "place": (48.0, 11.0), **known},
        {"rejected": "the geometry is not a Point"},
    ]
    assert found(tmp_path / "a.json") == found(tmp_path / "a.jsonl")


def test_items_of_panoramax_and_other_stac(tmp_path: Path) -> None:
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "0b3a",
        "geometry": {"type": "Point", "coordinates": [2.9181, 44.98135]},
        "properties": {
            "datetime": "2025-08-01T08:00:00Z",
            "view:azimuth": 260,
            "pers:interior_orientation": {"field_of_view": 70},
            "license": "CC-BY-SA-4.0",
            "quality:horizontal_accuracy": 4,
        },
        "providers": [
            {"name": "the host", "roles": ["host"]},
            {"name": "Ada", "roles": ["producer"]},
        ],
        "assets": {
            "thumb": {"href": "https://x/thumb.jpg", "roles": ["thumbnail"]},
            "sd": {"href": "https://x/sd.jpg", "roles": ["visual"]},
            "hd": {"href": "https://x/hd.jpg", "roles": ["data"]},
        },
        "links": [{"rel": "license", "href": "https://spdx.org/licenses/CC-BY-SA-4.0.html"}],
    }
    area = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    features = [
        item,
        item | {"assets": {"sd": {"href": "pictures/sd.jpg"}}, "providers": 7},
        item | {"geometry": area},
        item | {"assets": {}},
        item | {"properties": None},
    ]
    (tmp_path / "a.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    first, second, *others = found(tmp_path / "a.geojson")
    assert first == {
        "uri": "https://x/hd.jpg",
        "place": (44.98135, 2.9181),
        "accuracy_m": 4.0,
        "direction_deg": 260.0,
        "field_of_view_deg": 70.0,
        "author": "Ada",
        "taken_at": datetime(2025, 8, 1, 8, tzinfo=UTC),
        "licence": "CC-BY-SA-4.0",
        "source_id": "0b3a",
    }
    assert second["uri"] == "pictures/sd.jpg"
    assert "author" not in second
    assert [list(each) for each in others] == [
        ["rejected"],
        ["rejected"],
        ["uri", "place", "author", "source_id"],
    ]


# ---- pictures inside other files ----------------------------------------------------------------


def shard(path: Path, files: dict[str, bytes]) -> Path:
    """A tar archive as webdataset writes it."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def of_img2dataset(key: str, **more: Any) -> dict[str, Any]:
    return {
        "caption": "A bridge",
        "url": f"https://example.org/{key}.jpg",
        "key": key,
        "status": "success",
        "error_message": None,
        "width": 16,
        "height": 12,
        "exif": "{}",
        "latitude": 48.5,
        "longitude": 11.5,
    } | more


PICTURES = [photo(shade=shade) for shade in range(4)]


def test_pictures_of_a_shard_are_read_where_they_lie(
    module_database: Database, tmp_path: Path
) -> None:
    path = shard(
        tmp_path / "00000.tar",
        {
            "000000000.jpg": PICTURES[0],
            "000000000.txt": b"A caption",
            "000000000.json": json.dumps(of_img2dataset("000000000")).encode(),
            "more/000000001.left.jpg": PICTURES[1],
            "more/000000001.right.jpg": photo(gps(10, 1), shade=2),
            "more/000000001.txt": b"Two views",
            "000000002.json": json.dumps(of_img2dataset("000000002")).encode(),
            "000000003.jpg": PICTURES[3],
            "000000003.json": b"{",
            "000000004.jpg": b"no picture",
        },
    )
    uri = f"tar://{path}!/"
    first, left, right, none, broken, _ = found(path)
    assert first == {
        "uri": f"{uri}000000000.jpg",
        "place": (48.5, 11.5),
        "title": "A bridge",
        "source_id": "000000000",
    }
    assert left == {
        "uri": f"{uri}more/000000001.left.jpg",
        "title": "Two views",
        "source_id": "000000001",
    }
    assert none == {"rejected": "000000002: no picture in this sample"}
    assert broken["rejected"].startswith("000000003: Expecting property name")
    summary = ingest(module_database, [path], collection="shards")
    assert (summary.seen, summary.added, summary.unlocated, summary.rejected) == (6, 2, 1, 3)
    with module_database.connection() as connection:
        stored = connection.execute(
            "SELECT uri, sha256, ST_Y(geom) FROM geosearch.photos ORDER BY uri"
        ).fetchall()
    assert [(uri, place) for uri, _, place in stored] == [
        (first["uri"], 48.5),
        (left["uri"], None),
        (right["uri"], pytest.approx(10)),
    ]
    # What embed and localize read is the same.
    assert [hashlib.sha256(read_bytes(uri)).digest() for uri, _, _ in stored] == [
        bytes(sha256) for _, sha256, _ in stored
    ]


def test_the_table_beside_a_shard_names_its_pictures(tmp_path: Path) -> None:
    shard(tmp_path / "00000.tar", {f"{key}.webp": PICTURES[0] for key in "ac"})
    rows = [
        of_img2dataset("a"),
        of_img2dataset("b", status="failed_to_download", error_message="HTTP Error 404"),
        of_img2dataset("c", latitude=None, longitude=None),
        of_img2dataset("d"),
    ]
    table = tmp_path / "00000.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    uri = f"tar://{tmp_path}/00000.tar!/"
    known = {"title": "A bridge"}
    assert found(table) == [
        {"uri": f"{uri}a.webp", "place": (48.5, 11.5), "source_id": "a", **known},
        {"rejected": "img2dataset could not fetch it: HTTP Error 404"},
        {"uri": f"{uri}c.webp", "source_id": "c", **known},
        {"rejected": "the shard has no picture d"},
    ]
    # It may be a folder. Without, its addresses are what there is.
    (tmp_path / "00000.tar").unlink()
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000" / "a.jpg").write_bytes(PICTURES[0])
    assert found(table)[0]["uri"] == "00000/a.jpg"
    shutil.rmtree(tmp_path / "00000")
    assert found(table)[0]["uri"] == "https://example.org/a.jpg"


EXIF = {
    "GPS GPSLatitude": "[48, 30, 0]",
    "GPS GPSLatitudeRef": "S",
    "GPS GPSLongitude": "[11, 29, 1800/30]",
    "GPS GPSLongitudeRef": "E",
    "EXIF DateTimeOriginal": "2020:05:04 18:39:11",
    "Image Artist": "Ada",
}


@pytest.mark.parametrize("table", [False, True])
def test_img2dataset_keeps_the_exif_that_its_pictures_have_lost(
    tmp_path: Path, table: bool
) -> None:
    rows = [
        of_img2dataset("a", latitude=None, longitude=None, exif=json.dumps(EXIF)),
        of_img2dataset("b", exif=json.dumps(EXIF)),
        of_img2dataset(
            "c", latitude=None, longitude=None, exif=json.dumps(EXIF | {"GPS GPSLatitude": "[1/0]"})
        ),
    ]
    files = {f"{row['key']}.jpg": PICTURES[0] for row in rows}
    files |= {f"{row['key']}.json": json.dumps(row).encode() for row in rows}
    path = shard(tmp_path / "00000.tar", dict(sorted(files.items())))
    if table:
        path = tmp_path / "00000.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[::-1]), path)
    first, second, third = sorted(found(path), key=lambda each: str(each.get("uri", "x")))
    taken = {"taken_at": datetime(2020, 5, 4, 18, 39, 11)}
    assert first.items() >= {"place": (-48.5, 11.5), "author": "Ada", **taken}.items()
    assert second.items() >= {"place": (48.5, 11.5), "author": "Ada", **taken}.items()
    assert third == {"rejected": "c: EXIF has a denominator of zero"}


@pytest.mark.parametrize("cut", [0, 300, 512, 1536, 2000])
def test_a_damaged_shard_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    path = shard(tmp_path / "a.tar", {f"{key}.jpg": PICTURES[0] for key in "abc"})
    path.write_bytes(path.read_bytes()[:cut] + b"junk" * 300)
    items = [examine(item) if isinstance(item, Candidate) else item for item in read(path)]
    assert items
    assert isinstance(items[-1], Rejection)


@pytest.mark.parametrize(
    "uri",
    [
        "tar:///etc/passwd!/a.jpg",
        "tar:///proc/self/environ!/a.jpg",
        "tar:///missing.tar!/a.jpg",
        "tar://tar:///a.tar!/b.tar!/a.jpg",
        "tar://file:///proc/self/mem!/a.jpg",
        "tar://http://127.0.0.1:1/a.tar!/a.jpg",
        "tar://ftp://example.org/a.tar!/a.jpg",
        "parquet:///etc/passwd!/image/1",
        "parquet:///missing.parquet!/image/1",
        "tar://!/",
    ],
)
def test_what_is_named_inside_a_file_opens_no_other(uri: str) -> None:
    with pytest.raises(PhotoRejected) as raised:
        read_bytes(resolve(uri))
    assert raised.value.reason == Reason.UNREADABLE


def test_manifests_name_pictures_inside_files_beside_them(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"x.jpg": PICTURES[0]})
    (tmp_path / "a.csv").write_text("uri,lat,lon\ntar://a.tar!/x.jpg,1,2\ntar://a.tar!/y.jpg,1,2\n")
    items = [examine(item) for item in read(tmp_path / "a.csv") if isinstance(item, Candidate)]
    assert [item.uri for item in items] == [f"tar://{tmp_path}/a.tar!/{name}.jpg" for name in "xy"]
    assert isinstance(items[0], Photo)
    assert isinstance(items[1], Rejection)
    assert items[1].message == "the archive has no y.jpg"


def hugging_face(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


@pytest.mark.parametrize("as_struct", [True, False])
@pytest.mark.parametrize("kept", [0, 2**28])
def test_pictures_in_parquet_are_read_where_they_lie(
    tmp_path: Path, as_struct: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_BYTES_KEPT", kept)
    rows = [
        {
            "image": {"bytes": data, "path": f"{number}.jpg"} if as_struct else data,
            "lat": 48.5 + number,
            "lon": 11.5,
            "label": number,
        }
        for number, data in enumerate([*PICTURES, b"none", None])
    ]
    path = hugging_face(tmp_path / "train.parquet", rows, group=4)
    items = read(path)
    photos = [examine(item) for item in items if isinstance(item, Candidate)]
    assert len(photos) == 6
    for number, each in enumerate(photos[:4]):
        assert isinstance(each, Photo)
        assert each.uri == f"parquet://{path}!/image/{number + 1}"
        assert each.sha256 == hashlib.sha256(PICTURES[number]).digest()
        assert each.position == Position(48.5 + number, 11.5, "manifest")
    assert [each.reason for each in photos[4:] if isinstance(each, Rejection)] == [
        Reason.UNDECODABLE,
        Reason.UNREADABLE,
    ]
    for cell in ("image/7", "image/0", "image/-1", "image/x", "label/1", "none/1", "1"):
        with pytest.raises(PhotoRejected, match="the table has no picture"):
            read_bytes(f"parquet://{path}!/{cell}")


def test_pictures_that_parquet_only_names_are_files(tmp_path: Path) -> None:
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    images = pyarrow.array([{"bytes": None, "path": "a.jpg"}], kind)
    table = pyarrow.table({"image": images, "lat": [1.0], "lon": [2.0]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert found(tmp_path / "a.parquet") == [{"uri": "a.jpg", "place": (1.0, 2.0)}]


def test_files_in_a_bucket_are_looked_into_where_they_are(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"a.jpg": PICTURES[0], "a.json": b'{"lat": 1, "lon": 2}'})
    table = hugging_face(tmp_path / "a.parquet", [{"image": PICTURES[1], "lat": 3, "lon": 4}])
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/inside/{each.name}": each.read_bytes() for each in (path, table)})
    try:
        found = [
            examine(item)
            for name in ("a.tar", "a.parquet")
            for item in candidates(locate(f"memory://inside/{name}"))
            if isinstance(item, Candidate)
        ]
    finally:
        memory.rm("/inside", recursive=True)
    assert [(item.uri, item.position) for item in found if isinstance(item, Photo)] == [
        ("tar://memory://inside/a.tar!/a.jpg", Position(1.0, 2.0, "manifest")),
        ("parquet://memory://inside/a.parquet!/image/1", Position(3.0, 4.0, "manifest")),
    ]


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    for data in PICTURES[:2]:
        path = shard(tmp_path / "a.tar", {"a.jpg": data, data.hex()[:200]: b""})
        assert read_bytes(f"tar://{path}!/a.jpg") == data
        path = hugging_face(tmp_path / "a.parquet", [{"image": data}])
        assert read_bytes(f"parquet://{path}!/image/1") == data


# ---- layers of GIS ------------------------------------------------------------------------------


def test_photos_exported_and_ingested_again_are_the_same(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, data in enumerate(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    (tmp_path / "a.csv").write_text(
        "uri,lat,lon,author,licence,taken_at,accuracy_m,title,source_id,position_source\n"
        "0.jpg,48.5,11.5,Ada,CC0-1.0,2020-05-04T18:39:11Z,12.5,A bridge,42,\n"
        "1.jpg,-33.25,151,,,,,,,\n2.jpg,1,2,,,,,,,estimated\n"
    )
    ingest(database, [tmp_path / "a.csv"], collection="first")
    paths = [
        tmp_path / f"b{ending}" for ending in (".gpkg", ".parquet", ".geojson", ".fgb", ".csv")
    ]
    for path in paths:
        assert CommandLine(database.url, capsys)("export", "photos", "-o", path).code == 0
    for path in paths:
        summary = ingest(database, [path], collection=path.suffix)
        assert (summary.added, summary.estimated, summary.rejected) == (2, 0, 0)
    with database.connection() as connection:
        stored = connection.execute(
            "SELECT uri, sha256, geom, author, licence, taken_at, accuracy_m, title, source_id,"
            " count(*) FROM geosearch.photos WHERE geom IS NOT NULL GROUP BY 1,2,3,4,5,6,7,8,9"
        ).fetchall()
    assert [row[-1] for row in stored] == [1 + len(paths)] * 2


#: Without LIBKML GDAL knows nothing of a KML's columns but names and descriptions.
COLUMNS_OF_KML = pytest.mark.skipif(
    "LIBKML" not in pyogrio.list_drivers(), reason="this GDAL has no LIBKML"
)


@pytest.mark.parametrize(
    "ending", [".gpkg", ".shp", ".fgb", pytest.param(".kml", marks=COLUMNS_OF_KML)]
)
def test_layers_of_points_that_gdal_reads(tmp_path: Path, ending: str) -> None:
    layer(tmp_path / f"a{ending}", [(11.5, 48.5), (-70.25, -33.5)])
    assert [(each["uri"], each["place"]) for each in found(tmp_path / f"a{ending}")] == [
        ("0.jpg", (48.5, 11.5)),
        ("1.jpg", (-33.5, -70.25)),
    ]


def test_layers_of_points_may_be_projected(tmp_path: Path) -> None:
    layer(tmp_path / "a.shp", [(689_000, 5_374_000)], crs="EPSG:25832")
    assert found(tmp_path / "a.shp") == [
        {"uri": "0.jpg", "place": pytest.approx((48.49, 11.56), abs=0.01)}
    ]


def test_layers_that_are_no_points_or_name_no_photos(tmp_path: Path) -> None:
    line = shapely.LineString([(0, 0), (1, 1)])
    layer(tmp_path / "lines.gpkg", [line])
    layer(tmp_path / "other.gpkg", [(1, 2)], column="elevation")
    layer(tmp_path / "mixed.gpkg", [line, (1, 2), None], kind="Unknown")
    layer(tmp_path / "mixed.gpkg", [(1, 2)], column="elevation", name="more", append=True)
    layer(tmp_path / "pipe.shp", [(1, 2)])
    (tmp_path / "pipe.dbf").unlink()
    os.mkfifo(tmp_path / "pipe.dbf")
    (tmp_path / "virtual.gpkg").write_text("<OGRVRTDataSource></OGRVRTDataSource>")
    (tmp_path / "virtual.kml").write_text("<OGRVRTDataSource><kml></OGRVRTDataSource>")
    (tmp_path / "cut.gpkg").write_bytes((tmp_path / "lines.gpkg").read_bytes()[:5000])
    assert found(tmp_path / "mixed.gpkg") == [
        {"rejected": "the geometry is not a Point"},
        {"uri": "1.jpg", "place": (2.0, 1.0)},
        {"uri": "2.jpg"},
    ]
    for name, said in (
        ("lines.gpkg", "no layer of points"),
        ("other.gpkg", "no column for uri; its columns are elevation"),
        ("virtual.gpkg", r"not what its ending \.gpkg says"),
        ("virtual.kml", r"not what its ending \.kml says"),
        ("cut.gpkg", "cannot read the manifest"),
        ("pipe.shp", "not a regular file"),
    ):
        with pytest.raises(InputError, match=said):
            locate(tmp_path / name)


def layer(
    path: Path,
    places: list[Any],
    column: str = "uri",
    crs: str = "EPSG:4326",
    name: str = "a",
    kind: str | None = None,
    *,
    append: bool = False,
) -> None:
    """Write a file of GIS with one photo for each place."""
    points = [shapely.Point(each) if isinstance(each, tuple) else each for each in places]
    pyogrio.raw.write(
        path,
        np.array([each and shapely.to_wkb(each) for each in points], object),
        [np.array([f"{number}.jpg" for number in range(len(places))], object)],
        np.array([column]),
        geometry_type=kind or points[0].geom_type,
        crs=crs,
        layer=name,
        driver="KML" if path.suffix == ".kml" else None,
        append=append,
    )


# ---- whatever is in it --------------------------------------------------------------------------

_ITEMS: list[dict[str, Any]] = [
    {"filename": "a.jpg", "filetype": "image", "MAPLatitude": 1, "MAPCompassHeading": {}},
    {"id": "1", "captured_at": 1, "geometry": {"type": "Point", "coordinates": [1, 2]}},
    {
        "type": "Feature",
        "id": "1",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {"datetime": "2020-01-01", "pers:interior_orientation": {}},
        "providers": [{"name": "Ada", "roles": ["producer"]}],
        "assets": {"hd": {"href": "a.jpg", "roles": ["data"]}},
    },
    {"id": "1", "owner": "1@N01", "latitude": 1, "longitude": 2, "accuracy": 3, "license": 4},
]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_every_item_is_a_photo_or_a_reject_whatever_is_in_it(
    tmp_path: Path, data: st.DataObject
) -> None:
    items = []
    for item in data.draw(st.lists(st.sampled_from(_ITEMS), min_size=1, max_size=4)):
        names = st.sampled_from([*item, "geometry", "error", "creator", "title", "machine_tags"])
        items.append(item | data.draw(st.dictionaries(names, _VALUES, max_size=3)))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, items)))
    # Only a first object that does not say what is a photo in it is an error of the file.
    with suppress(InputError):
        assert len(read(tmp_path / "a.jsonl")) == len(items)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_shard_may_hold_anything(tmp_path: Path, data: st.DataObject) -> None:
    path = shard(tmp_path / "a.tar", {"a.jpg": b"a", "a.json": b'{"lat": 1}', "b.jpg": b"b" * 600})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4095))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for item in read(path):
        if isinstance(item, Candidate):
            examine(item)


def test_a_packed_file_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(manifests, "_LARGEST_DOCUMENT", 1000)
    for name in ("a.csv.gz", "a.tsv.bz2", "a.jsonl.gz", "a.json.gz"):
        pack = gzip.compress if name.endswith(".gz") else bz2.compress
        (tmp_path / name).write_bytes(pack(b" " * 1001))
        with pytest.raises(InputError, match=r"longer than|over 2 GiB"):
            locate(tmp_path / name)
