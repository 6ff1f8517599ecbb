"""Trajectories up a density of von Mises-Fisher kernels, to its modes.

Where log f is concave and the top near, a step is Newton's on the tangent plane. Elsewhere it is
mean shift, to the direction of Σ wᵢ κᵢ Cᵢ xᵢ exp(κᵢ y·xᵢ), if that is long, since it never
descends; and if it is short, a Newton step whose curvatures count by their absolute values, so
that it leads uphill too. What comes to rest on a saddle is pushed off it along the direction in
which the density rises.

There are two of the same climb. Here all trajectories move at once, by NumPy, which costs a few
milliseconds; `geosearch.density.compiled_climb` moves one after the other in machine code, five
times as fast, but is not ready for half a second, and the first time on a machine for seconds. So
it is loaded when it has become worth while: for the many answers of an evaluation, not for one.
"""

from __future__ import annotations

import numpy as np

from geosearch.density.kernel import NEGLIGIBLE, squared_chords
from geosearch.sphere import Array

#: The columns of trajectories (t, 7): the unit vector; how near another must be to be the same, as
#: an angle; log f; the mass; whether it still moves, 1 or 0.
X, Y, Z, REACH, LOG_DENSITY, MASS, MOVING = range(7)

#: All lengths below are in bandwidths: of 1/√κ, with κ the root mean square of those of the kernels
#: felt at a point, because the narrow kernels make the detail. (Machine code that is kept on disk
#: holds these numbers: it is renewed when `compiled_climb` changes, not this file.)
LONGEST_STEP = 0.5  # of Newton's; a step of mean shift that is longer is preferred
SHORTEN_AFTER = 20  # steps, so that no trajectory circles for ever
MOST_STEPS = 1000

#: Trajectories end in one mode if they are closer than log f is concave (its least downward
#: curvature in units of κ, at most 1), since modes as concave are further apart; or than this.
SAME_TRAJECTORY = 1e-2
LAST_STEP = 1e-3  # of that distance: the error after a step of Newton's is about its square
NUDGE = 0.1  # how far to push off a saddle

FLAT = 1e-6  # a curvature that is practically none, in units of κ


def climb(kernels: Array, trajectories: Array) -> int:
    """Take all `trajectories` (t, 7) to the tops, in place: returns how many are left, the first.

    `kernels` (5, k): the unit vectors, κ, and log of weight times peak.
    """
    state = _joined(trajectories.T.copy())
    for number in range(MOST_STEPS):
        moving = np.flatnonzero(state[MOVING])
        state[:, moving] = step(
            kernels, state[:, moving], LONGEST_STEP / (1 + number // SHORTEN_AFTER)
        )
        state = _joined(state)
        if not state[MOVING].any():
            break
    count = len(state.T)
    trajectories[:count] = state.T
    return count


def step(kernels: Array, state: Array, longest: float) -> Array:
    """Trajectories (7, t), all of which move, one step further uphill."""
    kappas, peaks = kernels[3:]
    here = state[:REACH]
    apart = kernels[:REACH, None] - here[:, :, None]
    squared = np.einsum("itk,itk->tk", apart, apart)
    logs = peaks - kappas * squared / 2
    highest = logs.max(axis=1)
    logs -= highest[:, None]
    felt = logs >= NEGLIGIBLE
    share = np.exp(np.where(felt, logs, 0.0)) * felt

    # Tangent vectors u and v (3, t): rows of the Householder reflection that takes the point to
    # the pole of the other hemisphere.
    x, y, z = here
    side, height = np.copysign(1.0, z), 1 + np.abs(z)
    u = np.stack([1 - x * x / height, -x * y / height, -x * side])
    v = np.stack([u[1], 1 - y * y / height, -y * side])
    along = np.einsum("it,itk->tk", u, apart)
    across = np.einsum("it,itk->tk", v, apart)

    total = share.sum(axis=1)
    share *= kappas
    pull = (share.sum(axis=1) - _sums(share, squared) / 2) / total
    ga, gb = _sums(share, along) / total, _sums(share, across) / total
    share *= kappas
    kappa = np.sqrt(share.sum(axis=1) / total)
    bandwidth = 1 / np.sqrt(kappa)
    # The Hessian of log f: `middle` - `pull` on the diagonal, and its trace-free part.
    aa = _sums(share * along, along) / total - ga * ga
    bb = _sums(share * across, across) / total - gb * gb
    ab = _sums(share * along, across) / total - ga * gb
    middle, skew = (aa + bb) / 2, (aa - bb) / 2
    spread = np.hypot(skew, ab)
    flattest = middle + spread - pull
    limit = longest * bandwidth
    reach = np.maximum(-flattest / kappa, SAME_TRAJECTORY) * bandwidth

    # |H|, with the curvatures of H by their absolute values, has the inverse p + qD, where D is
    # the trace-free part of H, whose own curvatures are `spread` and its negative.
    first = np.abs(flattest) + 1e-3 * FLAT * kappa
    second = np.abs(flattest - 2 * spread) + 1e-3 * FLAT * kappa
    q = (second - first) / (spread + 1e-12 * kappa)
    a = ((first + second) * ga + q * (skew * ga + ab * gb)) / (2 * first * second)
    b = ((first + second) * gb + q * (ab * ga - skew * gb)) / (2 * first * second)
    length = np.hypot(a, b)
    shorter = limit / np.maximum(length, limit)
    a, b = a * shorter, b * shorter
    moving = length > np.maximum(LAST_STEP * reach, 1e-15)
    saddle = ~moving & (flattest > FLAT * kappa)
    angle = np.arctan2(ab, skew) / 2  # of the highest curvature
    a = np.where(saddle, NUDGE * bandwidth * np.cos(angle), a)
    b = np.where(saddle, NUDGE * bandwidth * np.sin(angle), b)
    far = np.hypot(ga, gb) > limit * kappa
    a, b = np.where(far, ga, a), np.where(far, gb, b)

    there = np.where(far, pull, 1.0) * here + a * u + b * v
    there /= np.sqrt((there * there).sum(axis=0))
    log_density = np.log(total) + highest + (ga * a + gb * b) / 2
    return np.vstack([there, reach, log_density, state[MASS], moving | saddle | far])


def _sums(first: Array, second: Array) -> Array:
    return np.asarray(np.einsum("tk,tk->t", first, second))


def _joined(state: Array) -> Array:
    """Trajectories (7, t), those within reach of each other as one.

    It moves if the first of them does.
    """
    reach = np.minimum.outer(state[REACH], state[REACH])
    points = state[:REACH].T
    first = (squared_chords(points, points) <= reach * reach).argmax(axis=1)
    while (first != first[first]).any():
        first = first[first]
    kept = np.flatnonzero(first == np.arange(len(first)))
    mass = np.bincount(first, weights=state[MASS])
    state = state[:, kept]
    state[MASS] = mass[kept]
    return state
