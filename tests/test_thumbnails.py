"""Small pictures of photos in the database: made when asked for, seen by who sees the photo."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from geosearch.client import Geosearch
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.deletion.photo_moves import move_photos
from geosearch.errors import NotFoundError
from geosearch.images import open_image
from geosearch.ingest import ingest
from geosearch.ingest.thumbnails import make_thumbnail
from geosearch.retrieval.filters import where
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import fetch


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2000, 1500), (512, 384)),
        ((300, 1200), (128, 512)),
        ((9, 7), (9, 7)),
        ((3000, 1), (512, 1)),
    ],
)
def test_a_thumbnail_is_the_picture_made_small(
    format: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    data = photo(gps(1, 2), format=format, size=size)
    made = make_thumbnail(open_image(data))
    with Image.open(io.BytesIO(made.webp)) as small:
        assert (small.format, small.size) == ("WEBP", expected) == ("WEBP", made[:2])
        assert not small.getexif()  # the place is nobody's who has but the thumbnail


def test_a_thumbnail_is_upright() -> None:
    lying = photo(size=(800, 600), image_tags={ExifTags.Base.Orientation: 6})
    assert make_thumbnail(open_image(lying))[:2] == (384, 512)


def test_thumbnails_are_stored_when_asked_for_and_later_too(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shade in range(2):
        (tmp_path / f"{shade}.jpg").write_bytes(photo(gps(1, 2), shade=shade, size=(800, 600)))
    (tmp_path / "cut.jpg").write_bytes(photo(gps(1, 2), size=(800, 600))[:2000])
    ingest(database, [tmp_path / "0.jpg"], collection="c")
    gs, count = Geosearch(database), "SELECT count(*) FROM geosearch.thumbnails"
    ((first,),) = fetch(database, "SELECT id FROM geosearch.photos")
    with pytest.raises(NotFoundError, match=f"no thumbnail of photo {first}"):
        gs.thumbnail(first)
    for _ in range(2):
        summary = ingest(database, [tmp_path], collection="c", thumbnails=True)
        assert summary.by_reason == {"truncated": 1}
        assert fetch(database, count) == [(2,)]
    command = CommandLine(database.url, capsys)
    file = tmp_path / "out.webp"
    assert command("photos", "thumbnail", first, "-o", file, "--json").json()["photo"] == first
    assert file.read_bytes() == gs.thumbnail(first)
    assert command("photos", "thumbnail", 10**9, "-o", file).code == 4
    assert command("photos", "thumbnail", first, "-o", tmp_path / "out.gif").code == 2
    assert command("photos", "delete", "--id", first, "--yes").code == 0
    assert fetch(database, count) == [(1,)]


def test_a_thumbnail_is_seen_by_who_sees_the_photo(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    ingest(database, [tmp_path], collection="c", thumbnails=True)
    (tmp_path / "b.jpg").write_bytes(photo(gps(1, 2), shade=1))
    ingest(database, [tmp_path / "b.jpg"], collection="d", thumbnails=True)

    def seen() -> list[bool]:
        with database.connection() as connection:
            connection.execute("SET LOCAL ROLE geosearch_reader")
            rows = connection.execute(
                "SELECT geosearch.thumbnail(i) IS NOT NULL FROM generate_series(1, 2) AS i"
            )
            return [row[0] for row in rows]

    assert seen() == [True, True]
    with database.connection() as connection:
        set_private(connection, "c", private=True)
    assert seen() == [False, True]
    move_photos(database, where(collection="d"), to="c")
    assert seen() == [False, False]
    with database.connection() as connection:
        set_private(connection, "c", private=False)
    assert seen() == [True, True]
