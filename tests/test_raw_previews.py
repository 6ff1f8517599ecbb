"""Raw files of cameras, made here: the picture inside is read, with the EXIF of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from geosearch.errors import PhotoRejected, Reason
from geosearch.images import decode, open_image
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Photo, Unread
from geosearch.ingest.sources import candidates, locate
from geosearch.raw_previews import is_raw

from .photo_files import gps, photo

PLACE = (48.5, 11.5)
THUMBNAIL, PREVIEW = photo(size=(160, 120)), photo(size=(640, 480), shade=1)
#: The pixels of a sensor as some makers keep them: JPEG without loss, which no viewer shows.
SENSOR = photo(size=(1280, 960)).replace(b"\xff\xc0", b"\xff\xc3")


def raw(kind: str, *pictures: bytes) -> bytes:
    """A file as this kind of camera writes it: tables first, then pictures among other bytes."""
    exif = Image.Exif()
    exif.endian = "<"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps(*PLACE))
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:05:04 18:39:11"
    exif[ExifTags.Base.Orientation] = 6
    if kind == ".dng":
        exif[50706] = b"\1\4\0\0"
    if kind in (".nef", ".arw"):
        exif[ExifTags.Base.PhotometricInterpretation] = 32803
    tables = exif.tobytes().removeprefix(b"Exif\0\0")
    starts = {".rw2": b"IIU\0", ".orf": b"IIRO"}
    tables = starts.get(kind, tables[:4]) + tables[4:]
    if kind == ".raf":
        tables = b"FUJIFILMCCD-RAW 0201FF129502"
    return tables + b"".join(b"\0\xff\xd8\xff\0" + each + bytes(7) for each in pictures)


@pytest.mark.parametrize("kind", [".dng", ".nef", ".arw", ".rw2", ".orf"])
def test_the_largest_picture_inside_is_the_photo(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{kind.upper()}"
    path.write_bytes(raw(kind, THUMBNAIL, SENSOR, PREVIEW))
    (only,) = candidates(locate(tmp_path))
    assert isinstance(only, Candidate)
    found = examine(only)
    assert isinstance(found, Photo)
    assert (found.width, found.height, found.format) == (640, 480, "JPEG")
    assert found.position is not None
    assert (found.position.lat, found.position.lon) == pytest.approx(PLACE)
    assert found.taken_at is not None
    assert found.taken_at.year == 2020
    upright = decode(open_image(path.read_bytes()))
    assert upright.size == (480, 640)
    assert upright.rotate(90, expand=True).tobytes() == decode(open_image(PREVIEW)).tobytes()


def test_a_raf_has_the_exif_in_its_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.raf"
    path.write_bytes(raw(".raf", photo(gps(*PLACE), size=(640, 480)), THUMBNAIL))
    found = examine(Candidate(str(path)))
    assert isinstance(found, Photo)
    assert found.position is not None
    assert found.width == 640


def test_a_raw_file_beside_its_photo_is_counted_and_not_a_second_one(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    for name in ("a.NEF", "b.NEF"):
        (tmp_path / name).write_bytes(raw(".nef", PREVIEW))
    found = list(candidates(locate(tmp_path)))
    assert [item if isinstance(item, Unread) else Path(item.uri).name for item in found] == [
        Unread(".nef"),
        "a.jpg",
        "b.NEF",
    ]
    assert list(candidates(locate(tmp_path / "a.NEF"))) == [Candidate(str(tmp_path / "a.NEF"))]


@pytest.mark.parametrize("pictures", [(), (SENSOR,), (PREVIEW[:100],)])
def test_a_raw_file_without_a_picture_says_so(pictures: tuple[bytes, ...]) -> None:
    with pytest.raises(PhotoRejected, match="a raw file without a JPEG inside") as raised:
        open_image(raw(".dng", *pictures))
    assert raised.value.reason == Reason.UNSUPPORTED


def test_a_cr2_is_known_by_its_mark() -> None:
    assert is_raw(b"II*\0\x10\0\0\0CR\2\0")


@pytest.mark.parametrize("format", ["TIFF", "JPEG", "PNG"])
def test_other_files_are_no_raw_files(format: str) -> None:
    data = photo(gps(*PLACE), format=format)
    assert not is_raw(data)
    assert open_image(data).format == format


@settings(max_examples=40)
@given(st.data())
def test_no_damage_to_a_raw_file_raises_anything_but_a_rejection(data: st.DataObject) -> None:
    content = bytearray(raw(data.draw(st.sampled_from([".dng", ".nef", ".raf", ".rw2"])), PREVIEW))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, 999))] = data.draw(st.integers(0, 255))
    try:
        decode(open_image(bytes(content[: data.draw(st.integers(0, len(content)))])))
    except PhotoRejected:
        return


def test_many_beginnings_of_pictures_take_no_time() -> None:
    for filling in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\2", PREVIEW[:700]):
        with pytest.raises(PhotoRejected):
            open_image(raw(".dng") + filling * (2_000_000 // len(filling)))
