"""Views of the Earth: where they look, and what they see of the Blue Marble."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
import numpy.typing as npt

from geosearch.earth import blue_marble_at, is_land
from geosearch.errors import InputError
from geosearch.sample.window import EARTH, Window

WIDTH_DEGREES = 8.0
#: Antarctica is left out: most of its views are plain white, and no method could tell them apart.
MINIMUM_LATITUDE = -60.0
PIXELS = 256
#: Places tried for one view.
_MOST_TRIES = 10_000

Array = npt.NDArray[np.float32]


class Difficulty(StrEnum):
    """How far query views stray from the references' north-up, 8° wide, evenly lit views."""

    CLEAN = "clean"
    JITTER = "jitter"
    HARD = "hard"


class Role(StrEnum):
    """What a view is for."""

    REFERENCE = "reference"
    QUERY = "query"


@dataclass(frozen=True)
class Perturbation:
    """Standard deviations: rotation in degrees, scale and brightness as fractions."""

    rotation: float
    scale: float
    brightness: float


PERTURBATIONS = {
    Difficulty.CLEAN: Perturbation(0.0, 0.0, 0.0),
    Difficulty.JITTER: Perturbation(15.0, 0.10, 0.15),
    Difficulty.HARD: Perturbation(45.0, 0.25, 0.30),
}


@dataclass(frozen=True)
class View:
    """A square view straight down on (`lat`, `lon`), degrees.

    It is `scale` · 8° wide, its top looks `rotation` degrees east of north, and its light is
    multiplied by `brightness`.
    """

    lat: float
    lon: float
    rotation: float = 0.0
    scale: float = 1.0
    brightness: float = 1.0


def draw_view(
    seed: int, role: Role, index: int, difficulty: Difficulty, window: Window = EARTH
) -> View:
    """The view number `index` of a sample.

    Centres are uniform over the land of the window north of 60° S. Each view has a random
    stream of its own, spawned from (`seed`, `role`, `index`): it is the same whatever the
    number of views, and a query's centre is the same at every difficulty. References are never
    perturbed. Scale and brightness are log-normal, so that both stay positive.

    Raises InputError where there is hardly any land.
    """
    stream = np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(list(Role).index(role), index))
    )
    lowest, highest = (
        math.sin(math.radians(min(max(each, MINIMUM_LATITUDE), 90.0)))
        for each in (window.south, window.north)
    )
    for _ in range(_MOST_TRIES):
        # Rounded to what the manifest and the EXIF tags hold, so that all three agree.
        lat = round(math.degrees(math.asin(stream.uniform(lowest, highest))), 6)
        lon = round(stream.uniform(window.west, window.east), 6)
        if abs(lon) > 180:
            lon = round((lon + 180) % 360 - 180, 6)
        if window.holds(lat, lon) and is_land(lat, lon):
            break
    else:
        raise InputError("`window`: hardly any land is in it", "Give a larger one.")
    if role is Role.REFERENCE:
        return View(lat, lon)
    sigma = PERTURBATIONS[difficulty]
    rotation, scale, brightness = stream.standard_normal(3)
    return View(
        lat,
        lon,
        rotation=float(sigma.rotation * rotation),
        scale=math.exp(sigma.scale * scale),
        brightness=math.exp(sigma.brightness * brightness),
    )


def render(view: View) -> npt.NDArray[np.uint8]:
    """The (256, 256, 3) RGB image of a view.

    The projection is azimuthal equidistant: the distance of a pixel from the centre is the
    angle seen from the Earth's centre, in every direction alike and round the poles too.
    """
    colours = blue_marble_at(*_pixel_positions(view))
    if view.brightness != 1.0:
        colours *= np.float32(view.brightness)
        np.minimum(colours, 255.0, out=colours)
    colours += np.float32(0.5)  # astype truncates
    image = colours.astype(np.uint8).reshape(3, PIXELS, PIXELS)
    return np.ascontiguousarray(image.transpose(1, 2, 0))


@cache
def _plane() -> tuple[Array, Array]:
    """East and north offset of each pixel from the centre, radians, at scale 1, north up."""
    offsets = (np.arange(PIXELS) + 0.5) / PIXELS - 0.5
    east, south = np.meshgrid(offsets, offsets)
    width = math.radians(WIDTH_DEGREES)
    return (east.ravel() * width).astype(np.float32), (-south.ravel() * width).astype(np.float32)


def _pixel_positions(view: View) -> tuple[Array, Array]:
    """Latitude and longitude under each pixel, degrees; the longitude may be out of range.

    Source of the formula: J. P. Snyder, Map Projections: A Working Manual (1987), eq. 20-14,
    20-15 and 25-16, the inverse azimuthal equidistant projection of the sphere.
    """
    right, up = _plane()
    cos, sin = math.cos(math.radians(view.rotation)), math.sin(math.radians(view.rotation))
    east = view.scale * (cos * right + sin * up)
    north = view.scale * (cos * up - sin * right)
    angle = np.sqrt(east * east + north * north)
    sine = np.sinc(angle / np.float32(math.pi))  # sin(angle) / angle, without 0/0 at the centre
    cosine = np.cos(angle)
    lat = math.radians(view.lat)
    sin_lat, cos_lat = math.sin(lat), math.cos(lat)
    latitude = np.arcsin(np.clip(cosine * sin_lat + north * sine * cos_lat, -1.0, 1.0))
    longitude = np.arctan2(east * sine, cosine * cos_lat - north * sine * sin_lat)
    return np.degrees(latitude), np.degrees(longitude) + np.float32(view.lon)
