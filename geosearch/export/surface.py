"""The density of an answer as a Cloud Optimized GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geosearch.arguments import check_range
from geosearch.atomic_files import replacing
from geosearch.density import Mixture
from geosearch.density.density_cells import COVERED
from geosearch.density.regions import highest_density_regions
from geosearch.errors import InputError, NotFoundError
from geosearch.installation import optional
from geosearch.localization import Localization
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors
from geosearch.waiting import Progress

#: Pixels to a bandwidth, where that does not take too many.
_PIXELS_PER_BANDWIDTH = 4
_FEW_PIXELS, _MOST_PIXELS = 4_000_000, 64_000_000
_TILE = 512


@dataclass(frozen=True)
class Grid:
    """Pixels of `step` degrees; `west` and `north` are the corner of the first, in degrees."""

    west: float
    north: float
    step: float
    width: int
    height: int

    @classmethod
    def of(cls, density: Mixture, step: float | None = None) -> Grid:
        """Pixels over the highest-density region of `COVERED`, and a bandwidth around it.

        They are fractions of a degree of which a whole number makes 180°, so that the surfaces of
        several answers fit one another if their `step` is the same.

        Raises
        ------
        InputError
            The step is not between 0 and 10 degrees, or takes too many pixels.
        """
        check_range("step", step, 0, 10, above=True)
        bandwidth = float(np.degrees(density.bandwidth.min()))
        region = highest_density_regions(density, (COVERED,))[COVERED].geometry
        west, south, east, north = region.bounds
        south, north = max(south - bandwidth, -90.0), min(north + bandwidth, 90.0)
        narrowing = max(np.cos(np.radians(max(-south, north))), 1e-6)
        aside = float(bandwidth / narrowing)
        west, east = max(west - aside, -180.0), min(east + aside, 180.0)
        if step is None:
            fewest = np.sqrt((east - west) * (north - south) / _FEW_PIXELS)
            step = max(bandwidth / _PIXELS_PER_BANDWIDTH, float(fewest))
        step = 180 / np.ceil(180 / step - 1e-9)
        first, last = np.floor((west + 180) / step + 1e-9), np.ceil((east + 180) / step - 1e-9)
        top, bottom = np.floor((90 - north) / step + 1e-9), np.ceil((90 - south) / step - 1e-9)
        width, height = int(max(last - first, 1)), int(max(bottom - top, 1))
        if width * height > _MOST_PIXELS:
            raise InputError(
                f"`step`: {step:g} takes {width:,} x {height:,} pixels",
                f"Give a larger step: at most {_MOST_PIXELS:,} pixels are written.",
            )
        return cls(float(first * step - 180), float(90 - top * step), float(step), width, height)

    def positions(self, rows: range, columns: range) -> tuple[Array, Array]:
        """Latitude and longitude (n, m) of the middles of pixels."""
        lat = self.north - (np.array(rows) + 0.5) * self.step
        lon = self.west + (np.array(columns) + 0.5) * self.step
        grid = np.meshgrid(lat, lon, indexing="ij")
        return grid[0], grid[1]


def density_of(answer: Localization) -> Mixture:
    """The density that an answer's radii and regions are of.

    Raises
    ------
    NotFoundError
        The answer has no density: there were no neighbours, or its method needs none.
    """
    density = answer.density
    if not answer.parameters.retrieves:
        raise NotFoundError(
            f"answer {answer.id} has geocells, not a density",
            f"Export its regions: geosearch export regions --id {answer.id} -o regions.gpkg",
        )
    if density is None:
        raise NotFoundError(
            f"answer {answer.id} has no density: no reference passed its filter",
            "Localize the photo again with a wider filter.",
        )
    return density


def write_density(
    answer: Localization,
    path: Path,
    *,
    step: float | None = None,
    progress: Progress | None = None,
) -> Grid:
    """Write an answer's probability per square kilometre, at the middle of each pixel.

    The raster is in degrees (EPSG:4326), float32, with overviews. `step` is a pixel's side; by
    default a quarter of the bandwidth, or more where that would take over about 4 million pixels.
    Where the region lies across the antimeridian, the raster goes all the way round. `progress` is
    called with the rows of pixels done and all of them.

    Raises
    ------
    InputError
        The step or the file cannot be used.
    NotFoundError
        The answer has no density: there were no neighbours, or its method needs none.
    MissingExtraError
        rasterio is not installed.
    """
    parts = ("rasterio", "rasterio.shutil", "rasterio.windows")
    rasterio = optional("writing a GeoTIFF", "gis", *parts)
    density = density_of(answer)
    grid = Grid.of(density, step)
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(grid.step, 0, grid.west, 0, -grid.step, grid.north),
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
    }
    with replacing(path) as part:
        plain = part.with_suffix(".plain.tif")
        with rasterio.open(plain, "w", **profile) as raster:
            raster.update_tags(**_tags(answer))
            raster.set_band_description(1, "probability per square kilometre")
            raster.set_band_unit(1, "km-2")
            for top in range(0, grid.height, _TILE):
                rows = range(top, min(top + _TILE, grid.height))
                for left in range(0, grid.width, _TILE):
                    columns = range(left, min(left + _TILE, grid.width))
                    lat, lon = grid.positions(rows, columns)
                    logs = density.log_density(unit_vectors(lat.ravel(), lon.ravel()))
                    values = np.exp(logs.reshape(lat.shape)) / EARTH_RADIUS_KM**2
                    window = rasterio.windows.Window(left, top, len(columns), len(rows))
                    raster.write(values.astype(np.float32), 1, window=window)
                if progress is not None:
                    progress(rows.stop, grid.height)
        # A COG has its overviews before its pixels, so GDAL makes it from a finished raster.
        rasterio.shutil.copy(
            plain,
            part,
            driver="COG",
            compress="DEFLATE",
            predictor="YES",
            blocksize=_TILE,
            overview_resampling="AVERAGE",
        )
    return grid


def _tags(answer: Localization) -> dict[str, str]:
    return {
        "LOCALIZATION_ID": str(answer.id),
        "PHOTO": answer.photo,
        "METHOD": answer.parameters.method,
        "MODEL": answer.model["name"],
        "ESTIMATE": f"{answer.lat}, {answer.lon}",
    }
