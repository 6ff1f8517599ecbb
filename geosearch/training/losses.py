"""What training minimises: classification into geocells, or distances between pairs of photos.

`n` photos of a batch have L2-normalised embeddings (n, D) and a `Target`. Classification knows
places as cells of partitions; the metric losses know pairs: photos within `positive_km` of one
another are of one place, photos farther apart than `negative_km` are not, and the pairs between
count as neither. Importing this imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geosearch.arguments import check_choice, check_known, check_range
from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosearch.geocells.partition import Partition

#: Photos nearer than the first, in kilometres, are of one place; farther than the second, not.
POSITIVE_KM, NEGATIVE_KM = 200.0, 1000.0

_SMALLEST_SQUARE = 1e-12  # of a distance: its root has a finite gradient


@dataclass(frozen=True, eq=False)
class Target:
    """Where the photos of a batch were taken.

    `cells` (n, partitions): the number of the cell in each partition. `lat`, `lon` (n,): degrees.
    """

    cells: Tensor
    lat: Tensor
    lon: Tensor

    @classmethod
    def at(cls, lat: ArrayLike, lon: ArrayLike, partitions: Sequence[Partition] = ()) -> Target:
        """The target of photos at positions (n,) in degrees."""
        lat, lon = np.asarray(lat, float), np.asarray(lon, float)
        cells = np.zeros((len(lat), len(partitions)), np.int64)
        for column, partition in enumerate(partitions):
            cells[:, column] = partition.locate(lat, lon)
        return cls(torch.from_numpy(cells), torch.tensor(lat), torch.tensor(lon))

    def to(self, device: torch.device | str) -> Target:
        """The same on another device."""
        return Target(self.cells.to(device), self.lat.to(device), self.lon.to(device))


class Loss(nn.Module):
    """A scalar to minimise. Computed in float32, or in double if the embeddings are.

    Raises
    ------
    InputError
        An option is unknown or out of range.
    """

    #: Whether batches should hold several photos of a place: `batches(..., paired=True)`.
    paired: ClassVar[bool] = False
    #: The options, all above 0, with their defaults; each is an attribute.
    defaults: ClassVar[Mapping[str, float]] = {}

    def __init__(self, **options: float) -> None:
        super().__init__()
        check_known("option of this loss", options, self.defaults)
        for name, value in {**self.defaults, **options}.items():
            check_range(name, value, 0, above=True)
            setattr(self, name, value)

    def forward(self, embeddings: Tensor, target: Target) -> Tensor:
        """The loss of L2-normalised embeddings (n, D)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            exact = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
            return self.of(exact, target)

    def of(self, embeddings: Tensor, target: Target) -> Tensor:
        """What a loss defines; never under autocast."""
        raise NotImplementedError

    def classifiers(self) -> list[tuple[Tensor, Tensor]]:
        """For each partition, weights (cells, D) and bias (cells,) of its logits; none: []."""
        return []


class Classification(Loss):
    """Cross-entropy of a photo's cell, summed over one or several partitions of the world.

    For each partition, with the cell c of the photo and the embedding e,
    ``-log softmax(s W e + b)[c]``: one linear head on a shared backbone. The scale s is learned
    too, since logits of a unit vector by weights of usual size are too small to be sure of a cell.

    Sources: T. Weyand, I. Kostrikov and J. Philbin, PlaNet, ECCV 2016 (one partition);
    N. Vo, N. Jacobs and J. Hays, Revisiting IM2GPS in the Deep Learning Era, ICCV 2017 (several).
    """

    defaults: ClassVar[Mapping[str, float]] = {"scale": 16.0}
    scale: float

    def __init__(self, dimension: int, partitions: Sequence[Partition], **options: float) -> None:
        super().__init__(**options)
        if not partitions:
            raise InputError(
                "`partitions`: none is given, and this loss classifies photos into geocells",
                "Make one with `geosearch partition` and name it, or choose a metric loss.",
            )
        self.weights = nn.ParameterList(
            torch.randn(len(one), dimension) * dimension**-0.5 for one in partitions
        )
        self.biases = nn.ParameterList(torch.zeros(len(one)) for one in partitions)
        self.log_scales = nn.Parameter(torch.full((len(partitions),), math.log(self.scale)))

    def of(self, embeddings: Tensor, target: Target) -> Tensor:
        """The sum over partitions of the mean cross-entropy."""
        losses = [
            functional.cross_entropy(
                functional.linear(embeddings, *classifier), self.labels(column, target)
            )
            for column, classifier in enumerate(self.classifiers())
        ]
        return torch.stack(losses).sum()

    def labels(self, column: int, target: Target) -> Tensor:
        """The true cells (n,) of a partition, or a distribution (n, cells) over its cells."""
        return target.cells[:, column]

    def classifiers(self) -> list[tuple[Tensor, Tensor]]:
        """Weights with the scale folded in, and biases."""
        scaled = (s * w for s, w in zip(self.log_scales.exp(), self.weights, strict=True))
        return list(zip(scaled, self.biases, strict=True))


class Smoothed(Classification):
    """Cross-entropy with labels smoothed by great-circle distance, summed over partitions.

    The label of cell i for a photo at x is ``exp(-d(x, g_i) / τ)`` over the sum of the same for
    all cells, g_i being the middle of the cell's photos and τ `smoothing_km`: to mistake a cell
    for its neighbour costs less than for its antipode. PIGEON divides each label by that of the
    true cell instead, which changes the weight of a photo but not the shape of its labels.

    Source: L. Haas, M. Skreta, S. Alberti and C. Finn, PIGEON: Predicting Image Geolocations,
    CVPR 2024, where τ is 75 km.
    """

    defaults: ClassVar[Mapping[str, float]] = {**Classification.defaults, "smoothing_km": 75.0}
    smoothing_km: float

    def __init__(self, dimension: int, partitions: Sequence[Partition], **options: float) -> None:
        super().__init__(dimension, partitions, **options)
        for column, partition in enumerate(partitions):
            centres = torch.tensor(np.asarray(partition.centres, float))
            self.register_buffer(f"centres_{column}", centres, persistent=False)

    def labels(self, column: int, target: Target) -> Tensor:
        """A distribution (n, cells) over the cells of a partition."""
        centres = self.get_buffer(f"centres_{column}")
        away = _great_circle_km(target.lat[:, None], target.lon[:, None], *centres.T)
        labels = torch.softmax(-away / self.smoothing_km, dim=1)
        return labels.to(self.log_scales.dtype)


class Metric(Loss):
    """Base of the losses over distances between photos."""

    paired = True
    defaults: ClassVar[Mapping[str, float]] = {
        "positive_km": POSITIVE_KM,
        "negative_km": NEGATIVE_KM,
    }
    positive_km: float
    negative_km: float

    def __init__(self, **options: float) -> None:
        super().__init__(**options)
        if self.positive_km > self.negative_km:
            raise InputError(
                f"`positive_km`: {self.positive_km:g} is more than `negative_km`",
                f"Give at most {self.negative_km:g}.",
            )

    def pairs(self, target: Target) -> tuple[Tensor, Tensor]:
        """Masks (n, n): of one place and not the same photo; of different places."""
        lat, lon = target.lat, target.lon
        away = _great_circle_km(lat[:, None], lon[:, None], lat, lon)
        same = torch.eye(len(lat), dtype=torch.bool, device=lat.device)
        return (away <= self.positive_km) & ~same, away > self.negative_km


class Contrastive(Metric):
    """Photos of one place are pulled together, others pushed beyond a margin.

    A pair at distance d costs ``d² / 2`` if it is of one place and ``max(0, m - d)² / 2`` if it is
    not, where d is Euclidean, from 0 to 2, and m the margin. Over all pairs of a batch, the mean
    of those of one place and the mean of the others that cost anything count alike: most others
    are beyond the margin, and would dilute the rest.

    Source: R. Hadsell, S. Chopra and Y. LeCun, Dimensionality Reduction by Learning an Invariant
    Mapping, CVPR 2006.
    """

    defaults: ClassVar[Mapping[str, float]] = {"margin": 0.7, **Metric.defaults}
    margin: float

    def of(self, embeddings: Tensor, target: Target) -> Tensor:
        """The mean over positive pairs and the mean over negative pairs within the margin."""
        positive, negative = self.pairs(target)
        squares = _squared_distances(embeddings)
        lacking = (self.margin - squares.clamp(min=_SMALLEST_SQUARE).sqrt()).clamp(min=0)
        return (_mean(squares, positive) + _mean(lacking.square(), negative & (lacking > 0))) / 2


class Triplet(Metric):
    """A photo is to be nearer to one of its place than to others, by a margin in squared distance.

    ``max(0, d(a, p)² - d(a, n)² + m)`` for an anchor a, a positive p and a negative n. Mining takes
    for each pair (a, p) of the batch the semi-hard negative: the nearest of those that are farther
    from a than p is, or, if there is none, the farthest of all. The mean is over the triplets that
    cost anything.

    Source: F. Schroff, D. Kalenichenko and J. Philbin, FaceNet: A Unified Embedding for Face
    Recognition and Clustering, CVPR 2015.
    """

    defaults: ClassVar[Mapping[str, float]] = {"margin": 0.2, **Metric.defaults}
    margin: float

    def of(self, embeddings: Tensor, target: Target) -> Tensor:
        """The mean over mined triplets that lack the margin."""
        squares = _squared_distances(embeddings)
        near, far = _mined(squares, *self.pairs(target))
        lacking = (near - far + self.margin).clamp(min=0)
        return _mean(lacking, lacking > 0)


class DistanceLogistic(Metric):
    """The distance-based logistic loss, over all triplets of the batch.

    ``log(1 + exp(s (d(a, p)² - d(a, n)²)))``: a soft margin, which every triplet feels. The
    authors' embeddings have any length; squared distances of unit vectors end at 4, so that a
    scale s takes the place of that length.

    Source: N. Vo and J. Hays, Localizing and Orienting Street Views Using Overhead Imagery, ECCV
    2016, the form for triplets, trained on all triplets of a batch.
    """

    defaults: ClassVar[Mapping[str, float]] = {"scale": 10.0, **Metric.defaults}
    scale: float

    def of(self, embeddings: Tensor, target: Target) -> Tensor:
        """The mean over all triplets."""
        positive, negative = self.pairs(target)
        squares = _squared_distances(embeddings)
        anchors, partners = positive.nonzero(as_tuple=True)
        excess = squares[anchors, partners][:, None] - squares[anchors]
        return _mean(functional.softplus(self.scale * excess), negative[anchors])


#: The losses by name.
LOSSES: dict[str, type[Loss]] = {
    "classification": Classification,
    "smoothed": Smoothed,
    "contrastive": Contrastive,
    "triplet": Triplet,
    "distance-logistic": DistanceLogistic,
}


def make_loss(
    name: str, *, dimension: int, partitions: Sequence[Partition] = (), **options: float
) -> Loss:
    """A loss by name, its heads freshly drawn from torch's generator.

    `dimension`: of the embeddings. `partitions`: those to classify into; the metric losses take
    none. `options`: those of the loss, such as `margin` or `positive_km`.

    Raises
    ------
    InputError
        Unknown loss or option, an option out of range, or partitions that are missing or unused.
    """
    check_choice("loss", name, LOSSES)
    made = LOSSES[name]
    if issubclass(made, Classification):
        return made(dimension, partitions, **options)
    if partitions:
        raise InputError(
            f"`partitions`: the loss {name} compares photos and uses no geocells",
            "Leave the partitions out, or choose classification or smoothed.",
        )
    return made(**options)


def loss_options(name: str) -> dict[str, float]:
    """The options of a loss and their defaults."""
    return dict(LOSSES[name].defaults)


def _great_circle_km(lat1: Tensor, lon1: Tensor, lat2: Tensor, lon2: Tensor) -> Tensor:
    """Great-circle distances in kilometres by the haversine formula; degrees that broadcast."""
    half_lat, half_lon = (torch.deg2rad(b - a) / 2 for a, b in ((lat1, lat2), (lon1, lon2)))
    cosines = torch.deg2rad(lat1).cos() * torch.deg2rad(lat2).cos()
    haversine = half_lat.sin().square() + cosines * half_lon.sin().square()
    return 2 * EARTH_RADIUS_KM * haversine.clamp(0, 1).sqrt().asin()


def _squared_distances(embeddings: Tensor) -> Tensor:
    """Squared Euclidean distances (n, n) of unit vectors."""
    return (2 - 2 * embeddings @ embeddings.T).clamp(min=0)


def _mined(squares: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances of each positive pair, and of its semi-hard negative."""
    usable = positive & negative.any(dim=1, keepdim=True)
    anchors, partners = usable.nonzero(as_tuple=True)
    near, others, allowed = squares[anchors, partners], squares[anchors], negative[anchors]
    semi_hard = others.masked_fill(~(allowed & (others > near[:, None])), math.inf)
    easiest = others.masked_fill(~allowed, -math.inf)
    if not len(anchors):
        return near, near
    nearest, farthest = semi_hard.amin(dim=1), easiest.amax(dim=1)
    return near, torch.where(nearest.isinf(), farthest, nearest)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values; of none, a zero through which gradients still pass."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
