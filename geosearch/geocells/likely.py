"""From a photo's embedding to its likely cells: what a model's classifiers say together.

The cells are those of the finest partition. In each partition p the classifier's probability of a
cell is compared with the cell's share of the photos it was made of; the geometric mean over the
partitions of these ratios r_p, at the medoid of a cell i of the finest, says how much likelier a
photo is there than photos are on the whole:

    mass_i ∝ photos_i · (∏_p r_p(i))^(1/P),   r_p = probability / share of the photos

a logarithmic opinion pool (Genest and Zidek, Statistical Science 1, 1986) with photos for measure.
Compared with areas or not at all, a coarse cell would count for more the more fine cells it is
divided into. One partition alone keeps its probabilities as they are. All classifiers see the same
embedding, so their evidence is not multiplied up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon

from geosearch.database.connection import Connection
from geosearch.density import Mixture, Mode, Place, Region
from geosearch.density.caps import cap_radii_km
from geosearch.errors import NotFoundError
from geosearch.features.model_rows import Model
from geosearch.geocells.classifier import Classifier, classifiers_by_id, require_classifiers
from geosearch.geocells.geocell_rows import photo_positions
from geosearch.geocells.partition import Partition
from geosearch.geocells.polygons import united
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.softmax import log_softmax
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors

#: Cells listed in an answer, the likeliest first.
LISTED = 10

#: Cells that together are no likelier than this have no say in radii.
_LIGHTEST = 1e-3


@dataclass(frozen=True, eq=False)
class Geocells:
    """The classifiers of a model, the one with the fewest cells first, and where photos may be.

    `cells` is the finest partition with the counts and medoids of the photos that may be the
    answer: those it was made of, or those of them that pass a filter.
    """

    classifiers: tuple[Classifier, ...]
    cells: Partition

    @classmethod
    def of(cls, classifiers: Sequence[Classifier]) -> Geocells:
        """The classifiers with all photos of their finest partition."""
        ordered = sorted(classifiers, key=lambda item: len(item.partition))
        return cls(tuple(ordered), ordered[-1].partition)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the classifiers in the database."""
        return tuple(item.id for item in self.classifiers if item.id is not None)

    def log_masses(self, embeddings: NDArray[np.float32]) -> Array:
        """Log probabilities (m, n) of the cells, for L2-normalised embeddings (m, D).

        They are -inf for cells in which no photo may be.
        """
        with np.errstate(divide="ignore"):
            photos = np.log(self.cells.photos)
        pooled = np.zeros((len(embeddings), len(self.cells)))
        for item, over in zip(self.classifiers, self._over, strict=True):
            share = np.log(item.partition.photos / item.partition.photos.sum())
            pooled += (item.log_probabilities(embeddings) - share)[:, over]
        pooled /= len(self.classifiers)
        return log_softmax(pooled + photos)

    def within(self, embeddings: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
        """Which cells (m, n) are `Likely.likeliest` for embeddings (m, D)."""
        found = np.zeros((len(embeddings), len(self.cells)), bool)
        for row, masses in enumerate(np.exp(self.log_masses(embeddings))):
            found[row, Likely(self.cells, masses).likeliest(share)] = True
        return found

    def likely(self, embedding: NDArray[np.float32]) -> Likely:
        """What is said of one embedding (D,)."""
        return Likely(self.cells, np.exp(self.log_masses(embedding[None])[0]))

    @cached_property
    def _over(self) -> list[NDArray[np.int64]]:
        """For each partition, the cell (n,) that the medoid of a finest one lies in."""
        finest = self.classifiers[-1].partition
        return [
            np.arange(len(finest))
            if item.partition is finest
            else item.partition.locate(finest.lat, finest.lon)
            for item in self.classifiers
        ]


@dataclass(frozen=True, eq=False)
class Likely:
    """Probabilities (n,) of cells for one photo."""

    cells: Partition
    mass: Array

    @property
    def best(self) -> int:
        """The most probable cell."""
        return int(self.mass.argmax())

    def place(self, levels: Sequence[float], *, regions: bool = True) -> Place:
        """The medoid of the most probable cell, and how sure that is.

        The agreement is the probability of that cell. For the radii, each cell's probability is
        spread as its photos are. The modes are the likeliest cells, with their probability and
        its density per steradian. The region at a level is the smallest area of whole cells that
        holds it.
        """
        lat, lon = float(self.cells.lat[self.best]), float(self.cells.lon[self.best])
        radii = cap_radii_km(self.mixture, unit_vectors(lat, lon), levels)
        listed = [cell for cell in self._likeliest[:LISTED].tolist() if self.mass[cell] > 0]
        return Place(
            lat=lat,
            lon=lon,
            agreement=float(self.mass[self.best]),
            radius_km=dict(zip(levels, radii, strict=True)),
            modes=tuple(
                Mode(
                    float(self.cells.lat[cell]),
                    float(self.cells.lon[cell]),
                    mass=float(self.mass[cell]),
                    density=float(self.mass[cell] / self._steradians[cell]),
                )
                for cell in listed
            ),
            weights=np.zeros(0),
            regions={level: self.region(level) for level in levels} if regions else {},
        )

    @property
    def mixture(self) -> Mixture:
        """The probabilities spread round the medoids of the cells, as their photos are."""
        kept = np.sort(self._likeliest[: self._needed(self._likeliest, 1 - _LIGHTEST)])
        mass = self.mass[kept] / self.mass[kept].sum()
        cells = self.cells
        return Mixture.at(cells.lat[kept], cells.lon[kept], mass, cells.spread_km[kept])

    def region(self, level: float) -> Region:
        """The smallest area of whole cells that holds a share of the probability, in (0, 1)."""
        chosen = np.sort(self._densest[: self._needed(self._densest, level)])
        area = float(self.cells.area_km2[chosen].sum())
        return Region(level, united(self.cells.polygons(chosen)), area)

    def level_of(self, lat: float, lon: float) -> float:
        """The smallest level, in [0, 1], beyond which regions contain a point in degrees."""
        return float(np.clip(self.mass[self._down_to(lat, lon)[:-1]].sum(), 0.0, 1.0))

    def area_at(self, lat: float, lon: float) -> float:
        """Area, km², of the smallest region that contains a point in degrees."""
        return float(self.cells.area_km2[self._down_to(lat, lon)].sum())

    def _down_to(self, lat: float, lon: float) -> NDArray[np.int64]:
        """The densest cells, the last of them the one with a point in degrees."""
        cell = int(self.cells.locate(lat, lon)[0])
        return self._densest[: int(np.flatnonzero(self._densest == cell)[0]) + 1]

    def likeliest(self, share: float) -> NDArray[np.int64]:
        """Numbers of the fewest cells that hold a share of the probability, likeliest first."""
        return self._likeliest[: self._needed(self._likeliest, share)]

    def area(self, share: float) -> MultiPolygon:
        """The fewest cells that hold a share of the probability, as one area."""
        return united(self.cells.polygons(np.sort(self.likeliest(share))))

    def _needed(self, order: NDArray[np.int64], share: float) -> int:
        """How many of the cells in this order hold the share; at least one."""
        held = np.cumsum(self.mass[order])
        likely = int(np.count_nonzero(self.mass))
        return min(int(np.searchsorted(held, share * held[-1])) + 1, likely)

    @cached_property
    def _likeliest(self) -> NDArray[np.int64]:
        return np.argsort(-self.mass, kind="stable")

    @cached_property
    def _densest(self) -> NDArray[np.int64]:
        return np.argsort(-self.mass / self._steradians, kind="stable")

    @property
    def _steradians(self) -> Array:
        return self.cells.area_km2 / EARTH_RADIUS_KM**2


def find_geocells(
    connection: Connection,
    model: Model,
    where: Filter = EVERYTHING,
    *,
    partitions: Sequence[str] = (),
    classifiers: Sequence[int] = (),
) -> Geocells:
    """A model's classifiers: those over some partitions, those with some ids, or all.

    With a filter, an answer must be in a cell with photos that pass it.

    Raises
    ------
    NotFoundError
        The model has no classifier, or not those asked for; no photo passes the filter, or a
        collection or country in it does not exist.
    """
    if classifiers:
        found = classifiers_by_id(connection, classifiers)
    else:
        found = require_classifiers(connection, model)
    if partitions:
        by_name = {item.partition.name: item for item in found}
        missing = [name for name in partitions if name not in by_name]
        if missing:
            raise NotFoundError(
                f"the model {model.name} has no classifier over {', '.join(missing)}",
                f"It has over: {', '.join(by_name)}",
            )
        found = [by_name[name] for name in dict.fromkeys(partitions)]
    geocells = Geocells.of(found)
    if where == EVERYTHING:
        return geocells
    lat, lon = photo_positions(connection, where)
    if not len(lat):
        raise NotFoundError(f"no photo passes the filter ({where})", "Widen it.")
    return Geocells(geocells.classifiers, geocells.cells.recounted(lat, lon))
