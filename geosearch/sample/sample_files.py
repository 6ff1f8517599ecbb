"""The folder of a sample: claimed by its recipe, completed where a run was broken off."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ExifTags import GPS

from geosearch.atomic_files import replacing
from geosearch.errors import InputError
from geosearch.waiting import Progress

RECIPE_FILE = "sample.json"
JPEG_QUALITY = 92


def claim(directory: Path, recipe: Mapping[str, Any]) -> None:
    """Write the recipe into an empty or new folder, or check the one that is there.

    Raises
    ------
    InputError
        The folder holds another sample, or anything else.
    """
    path = directory / RECIPE_FILE
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
        write(path, (json.dumps(recipe, indent=2) + "\n").encode())


def write_missing(files: Mapping[Path, Callable[[], bytes]], progress: Progress | None) -> int:
    """Make and write the files that are not there yet, in threads; how many those were."""
    missing = [(path, made) for path, made in files.items() if not path.exists()]
    for folder in sorted({path.parent for path, _ in missing}):
        folder.mkdir(parents=True, exist_ok=True)
    done = len(files) - len(missing)
    if progress:
        progress(done, len(files))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda task: write(task[0], task[1]()), missing):
            done += 1
            if progress:
                progress(done, len(files))
    return len(missing)


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(data)


def jpeg(pixels: npt.NDArray[np.uint8], exif: Image.Exif | None = None) -> bytes:
    """A picture (height, width, 3) as JPEG."""
    stream = io.BytesIO()
    said = b"" if exif is None else exif.tobytes()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, exif=said)
    return stream.getvalue()


def gps_tags(lat: float, lon: float) -> dict[int, Any]:
    """A position in degrees as the GPS directory of EXIF, exact to 3 mm on the ground."""
    return {
        GPS.GPSLatitudeRef: "N" if lat >= 0 else "S",
        GPS.GPSLatitude: _degrees_minutes_seconds(lat),
        GPS.GPSLongitudeRef: "E" if lon >= 0 else "W",
        GPS.GPSLongitude: _degrees_minutes_seconds(lon),
        GPS.GPSMapDatum: "WGS-84",
    }


def _degrees_minutes_seconds(angle: float) -> tuple[Fraction, Fraction, Fraction]:
    """|angle| as EXIF rationals, exact to 1/10,000 of a second."""
    ticks = round(abs(angle) * 36_000_000)
    minutes, ticks = divmod(ticks, 600_000)
    return Fraction(minutes // 60), Fraction(minutes % 60), Fraction(ticks, 10_000)
