"""Where the outlines of regions run: a mesh of triangles, fine there and nowhere else.

Equal-area cells of the sphere are split wherever bounds of the density on a cell leave open which
thresholds it reaches, down to a size that follows the bandwidth of the kernels felt there. Each
cell keeps the kernels that matter in it, so a mixture of many scales costs little more than one
of a single scale. The last cells are cut into triangles between their sides and their centre,
without gaps between cells of different sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.density.kernel import NEGLIGIBLE, Mixture
from geosearch.sphere import Array, Cells, unit_vectors, z_to_lat

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

#: The last cells are as large as squares of 0.7 to 1 times this side, in bandwidths.
SIDE = 0.4

#: Kernels that together add less than this share of the lowest threshold are left out of a cell.
IGNORED = 5e-4

#: By which bounds are widened, to be sure in spite of what is left out at every depth.
MARGIN = 0.02

#: A kernel that adds more than this share of the lowest threshold has a say in the size of cells.
FELT = 0.02

#: Depth at which the search begins: 128 cells, each smaller than 30 degrees.
FIRST_DEPTH = 7

#: Depth at which it ends at the earliest: cells of a side of 5 degrees.
LAST_DEPTH = 11


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles that cover the outlines of a density, in the plane of longitude and latitude.

    Nodes (n,) have `lon`, `lat` (degrees) and `log_density`. Triangle i has the corners `tail[i]`,
    `head[i]`, both on the side of a cell, and `centre[i]`, anticlockwise; `cell[i]` is that cell.
    `border` marks the triangles whose side lies on the antimeridian or at a pole.
    """

    lon: Array
    lat: Array
    log_density: Array
    tail: Index
    head: Index
    centre: Index
    cell: Index
    border: Mask
    leaves: Leaves

    @classmethod
    def of(cls, mixture: Mixture, thresholds: Array, side: float = SIDE) -> Mesh:
        """The mesh for ascending log densities, of cells as large as squares of a side.

        The side is in bandwidths of the kernels felt in a cell.
        """
        leaves = Leaves.of(mixture, thresholds, side)
        west, east, south, north = leaves.west, leaves.east, leaves.south, leaves.north
        lon, z = np.stack([west, east, east, west]), np.stack([south, south, north, north])
        corners, first, corner = np.unique(
            (lon + 1j * z).ravel(), return_index=True, return_inverse=True
        )
        southwest, southeast, northeast, northwest = corner.reshape(4, -1)

        # Sorted along meridians, as they are, or along parallels, the corners between the ends
        # of a side are those of smaller cells beyond it.
        along = np.lexsort((corners.real, corners.imag))
        rank = np.empty_like(along)
        rank[along] = np.arange(len(along))
        up = np.arange(len(corners))
        bottom, top = (
            _pieces(along, rank[a], rank[b])
            for a, b in ((southwest, southeast), (northwest, northeast))
        )
        left, right = (
            _pieces(up, a, b) for a, b in ((southwest, northwest), (southeast, northeast))
        )
        tail, head, cell = (
            np.concatenate(parts)
            for parts in zip(bottom, right, _reversed(top), _reversed(left), strict=True)
        )
        border = np.concatenate(
            [
                (south == -1)[bottom[2]],
                (east == 180)[right[2]],
                (north == 1)[top[2]],
                (west == -180)[left[2]],
            ]
        )
        count = len(west)
        node_lon = np.concatenate([corners.real, (west + east) / 2])
        node_lat = z_to_lat(np.concatenate([corners.imag, (south + north) / 2]))
        owner = np.concatenate([first % count, np.arange(count)])
        return cls(
            lon=node_lon,
            lat=node_lat,
            log_density=leaves.log_density(node_lon, node_lat, owner),
            tail=tail,
            head=head,
            centre=len(corners) + cell,
            cell=cell,
            border=border,
            leaves=leaves,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """The last cells (n,): sides as in `Cells`, and the kernels that matter in each.

    Those of cell i are `kernel[start[i] : start[i + 1]]`.
    """

    mixture: Mixture
    west: Array
    east: Array
    south: Array
    north: Array
    kernel: Index
    start: Index

    @classmethod
    def of(cls, mixture: Mixture, thresholds: Array, side: float) -> Leaves:
        """The cells in which the density may cross one of the ascending thresholds.

        And those at the antimeridian and the poles in which it exceeds the lowest.
        """
        peaks, kappa = mixture.log_peaks - thresholds[0], mixture.kappa
        ratios = np.exp(thresholds - thresholds[0])
        cells = Cells.of_sphere(FIRST_DEPTH)
        counts = np.full(len(cells), len(kappa))
        kernel = np.tile(np.arange(len(kappa)), len(cells))
        found: list[tuple[Cells, Index, Index]] = []
        while len(cells):
            owner, radii = np.repeat(np.arange(len(cells)), counts), cells.chord_radii()
            away = np.sqrt(_squared_chords(cells.centres(), owner, mixture.centres, kernel))
            nearest = np.maximum(away - radii[owner], 0.0)
            most = _kernels(peaks[kernel], kappa[kernel], nearest**2)
            high = np.bincount(owner, most, len(cells))
            # Without the cells out of reach, and in the others the kernels that hardly count.
            kept = (most > (IGNORED / counts)[owner]) & (high >= 1 - MARGIN)[owner]
            owner, kernel, away, most = owner[kept], kernel[kept], away[kept], most[kept]
            farthest = np.minimum(away + radii[owner], 2.0)
            least = _kernels(peaks[kernel], kappa[kernel], farthest**2)
            low = np.bincount(owner, least, len(cells))
            passed = np.searchsorted(ratios, low * (1 - MARGIN), side="right")
            undecided = passed < np.searchsorted(ratios, high * (1 + MARGIN), side="right")

            felt = np.zeros(len(cells))
            np.maximum.at(felt, owner, np.where(most > FELT, kappa[kernel], 0.0))
            unclear = np.zeros(len(cells))
            np.maximum.at(unclear, owner, kappa[kernel])
            felt = np.where(felt > 0, felt, unclear)
            last = (cells.steradians * felt <= side**2) & (cells.depth >= LAST_DEPTH)
            border = (cells.west == -180) | (cells.east == 180)
            border |= (cells.south == -1) | (cells.north == 1)
            leaf = (undecided & last) | (~undecided & (passed > 0) & border)
            split = undecided & ~last
            counts = np.bincount(owner, minlength=len(cells))
            found.append((cells.where(leaf), kernel[leaf[owner]], counts[leaf]))

            kernel, counts, cells = kernel[split[owner]], counts[split], cells.where(split)
            times = 1 if (cells.steradians * felt[split] <= 2 * side**2).any() else 2
            for _ in range(times):
                cells = cells.split()
            kernel, counts = _repeated(kernel, counts, 2**times)
        total = np.concatenate([counts for _, _, counts in found])
        west, east, south, north = np.concatenate([part.sides for part, _, _ in found], axis=1)
        return cls(
            *(mixture, west, east, south, north),
            kernel=np.concatenate([kernel for _, kernel, _ in found]),
            start=np.concatenate([[0], np.cumsum(total)]),
        )

    def log_density(self, lon: Array, lat: Array, cell: Index) -> Array:
        """Log density (m,) at points in degrees, each by the kernels of the cell it lies in."""
        counts = np.diff(self.start)[cell]
        point = np.repeat(np.arange(len(cell)), counts)
        first = np.cumsum(counts) - counts
        kernel = self.kernel[np.arange(len(point)) + (self.start[cell] - first)[point]]
        mixture = self.mixture
        squared = _squared_chords(unit_vectors(lat, lon), point, mixture.centres, kernel)
        peaks = mixture.log_peaks
        highest = float(peaks.max())
        values = _kernels(peaks[kernel] - highest, mixture.kappa[kernel], squared)
        return np.asarray(np.log(np.bincount(point, values, len(cell))) + highest)


def _kernels(log_peaks: Array, kappa: Array, squared_chords: Array) -> Array:
    logs = log_peaks - kappa / 2 * squared_chords
    return np.asarray(np.exp(np.maximum(logs, NEGLIGIBLE, out=logs), out=logs))


def _squared_chords(points: Array, point: Index, others: Array, other: Index) -> Array:
    """Squared chords (p,) of pairs, given by their places among unit vectors (n, 3), (k, 3)."""
    total = np.zeros(len(point))
    # By coordinates: NumPy picks numbers from a row six times as fast as rows from an array.
    for here, there in zip(points.T.copy(), others.T.copy(), strict=True):
        apart = here[point]
        apart -= there[other]
        apart *= apart
        total += apart
    return total


def _repeated(kernel: Index, counts: Index, times: int) -> tuple[Index, Index]:
    """The kernels of cells that have become `times` cells each, side by side."""
    first = np.cumsum(counts) - counts
    repeated, start = np.repeat(counts, times), np.repeat(first, times)
    begin = np.cumsum(repeated) - repeated
    places = np.arange(repeated.sum()) + np.repeat(start - begin, repeated)
    return kernel[places], repeated


def _pieces(order: Index, start: Index, stop: Index) -> tuple[Index, Index, Index]:
    """Sides from rank `start` to rank `stop` of an order of corners, cut at those between.

    Returns the corners at both ends of each piece, and the number of the side it is of.
    """
    counts = stop - start
    side = np.repeat(np.arange(len(start)), counts)
    rank = np.arange(len(side)) + (start - np.cumsum(counts) + counts)[side]
    return order[rank], order[rank + 1], side


def _reversed(pieces: tuple[Index, Index, Index]) -> tuple[Index, Index, Index]:
    tail, head, side = pieces
    return head, tail, side
