"""Trajectories up a density of von Mises-Fisher kernels, compiled to machine code.

A step takes microseconds: what NumPy needs to begin its operations would take longer than their
arithmetic. Numba compiles these loops when they are first run, which takes seconds, once for each
machine.

Where log f is concave and the top near, a step is Newton's on the tangent plane. Elsewhere it is
mean shift, to the direction of Σ wᵢ κᵢ Cᵢ xᵢ exp(κᵢ y·xᵢ), if that is long, since it never
descends; and if it is short, a Newton step whose curvatures count by their absolute values, so
that it leads uphill too. What comes to rest on a saddle is pushed off it along the direction in
which the density rises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba
import numpy as np

from geosearch.density.kernel import NEGLIGIBLE
from geosearch.sphere import Array

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

#: The columns of trajectories (t, 7): the unit vector; how near another must be to be the same, as
#: an angle; log f; the mass; whether it still moves, 1 or 0.
X, Y, Z, REACH, LOG_DENSITY, MASS, MOVING = range(7)

#: All lengths below are in bandwidths: of 1/√κ, with κ the root mean square of those of the kernels
#: felt at a point, because the narrow kernels make the detail.
LONGEST_STEP = 0.5  # of Newton's; a step of mean shift that is longer is preferred
SHORTEN_AFTER = 20  # steps, so that no trajectory circles for ever
MOST_STEPS = 1000

#: Trajectories end in one mode if they are closer than log f is concave (its least downward
#: curvature in units of κ, at most 1), since modes as concave are further apart; or than this.
SAME_TRAJECTORY = 1e-2
LAST_STEP = 1e-3  # of that distance: the error after a step of Newton's is about its square
NUDGE = 0.1  # how far to push off a saddle

FLAT = 1e-6  # a curvature that is practically none, in units of κ


def compiled(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The function as machine code, kept on disk if there is a folder to keep it in.

    Sums may be taken in another order, as NumPy does.
    """
    try:
        return _njit(function, cache=True)
    except RuntimeError:
        return _njit(function, cache=False)


def _njit(function: Callable[Arguments, Answer], *, cache: bool) -> Callable[Arguments, Answer]:
    return numba.njit(cache=cache, error_model="numpy", fastmath={"contract", "reassoc"})(function)


@compiled
def climb(kernels: Array, trajectories: Array) -> int:
    """Take all `trajectories` (t, 7) to the tops, in place: returns how many are left, the first.

    `kernels` (5, k): the unit vectors, κ, and log of weight times peak.
    """
    count = _join(trajectories)
    for number in range(MOST_STEPS):
        step(kernels, trajectories[:count], LONGEST_STEP / (1 + number // SHORTEN_AFTER))
        count = _join(trajectories[:count])
        if not trajectories[:count, MOVING].any():
            break
    return count


@compiled
def step(kernels: Array, trajectories: Array, longest: float) -> None:
    """Move the trajectories that still move one step uphill."""
    logs = np.empty(kernels.shape[1])
    for one in trajectories:
        if one[MOVING]:
            _move(kernels, logs, one, longest)


@compiled
def _move(kernels: Array, logs: Array, one: Array, longest: float) -> None:
    kx, ky, kz, kappas, peaks = kernels
    x, y, z = one[X], one[Y], one[Z]
    for k in range(len(logs)):
        dx, dy, dz = kx[k] - x, ky[k] - y, kz[k] - z
        logs[k] = peaks[k] - kappas[k] * (dx * dx + dy * dy + dz * dz) / 2
    highest = -math.inf
    for k in range(len(logs)):
        highest = max(highest, logs[k])

    # Tangent vectors (ux, uy, uz) and (vx, vy, vz): rows of the Householder reflection that takes
    # the point to the pole of the other hemisphere.
    side = math.copysign(1.0, z)
    height = 1 + abs(z)
    ux, uy, uz = 1 - x * x / height, -x * y / height, -x * side
    vx, vy, vz = uy, 1 - y * y / height, -y * side

    total = square = pull = ga = gb = aa = ab = bb = 0.0
    for k in range(len(logs)):
        if logs[k] - highest < NEGLIGIBLE:
            continue
        dx, dy, dz = kx[k] - x, ky[k] - y, kz[k] - z
        a = ux * dx + uy * dy + uz * dz
        b = vx * dx + vy * dy + vz * dz
        share = math.exp(logs[k] - highest)
        total += share
        share *= kappas[k]
        pull += share * (1 - (dx * dx + dy * dy + dz * dz) / 2)
        ga += share * a
        gb += share * b
        share *= kappas[k]
        square += share
        aa += share * a * a
        ab += share * a * b
        bb += share * b * b

    kappa = math.sqrt(square / total)
    bandwidth = 1 / math.sqrt(kappa)
    pull, ga, gb = pull / total, ga / total, gb / total
    # The Hessian of log f: `middle` - `pull` on the diagonal, and its trace-free part.
    aa, bb, ab = aa / total - ga * ga, bb / total - gb * gb, ab / total - ga * gb
    middle, skew = (aa + bb) / 2, (aa - bb) / 2
    spread = math.hypot(skew, ab)
    flattest = middle + spread - pull
    limit = longest * bandwidth
    reach = max(-flattest / kappa, SAME_TRAJECTORY) * bandwidth

    # |H|, with the curvatures of H by their absolute values, has the inverse p + qD, where D is
    # the trace-free part of H, whose own curvatures are `spread` and its negative.
    first = abs(flattest) + 1e-3 * FLAT * kappa
    second = abs(flattest - 2 * spread) + 1e-3 * FLAT * kappa
    q = (second - first) / (spread + 1e-12 * kappa)
    a = ((first + second) * ga + q * (skew * ga + ab * gb)) / (2 * first * second)
    b = ((first + second) * gb + q * (ab * ga - skew * gb)) / (2 * first * second)
    length = math.hypot(a, b)
    if length > limit:
        a, b = a * limit / length, b * limit / length
    ahead = 1.0
    moving = length > max(LAST_STEP * reach, 1e-15)
    if not moving and flattest > FLAT * kappa:
        angle = math.atan2(ab, skew) / 2  # of the highest curvature
        a, b = NUDGE * bandwidth * math.cos(angle), NUDGE * bandwidth * math.sin(angle)
        moving = True
    if math.hypot(ga, gb) > limit * kappa:
        a, b, ahead, moving = ga, gb, pull, True

    x, y, z = ahead * x + a * ux + b * vx, ahead * y + a * uy + b * vy, ahead * z + a * uz + b * vz
    length = math.sqrt(x * x + y * y + z * z)
    one[X], one[Y], one[Z] = x / length, y / length, z / length
    one[REACH] = reach
    one[LOG_DENSITY] = math.log(total) + highest + (ga * a + gb * b) / 2
    one[MOVING] = moving


@compiled
def _join(trajectories: Array) -> int:
    """Make those within reach of each other one, which moves if the first of them does.

    Returns how many are left, which come first.
    """
    count = len(trajectories)
    leader = np.arange(count)
    for one in range(count):
        for other in range(one):
            reach = min(trajectories[one, REACH], trajectories[other, REACH])
            dx = trajectories[one, X] - trajectories[other, X]
            dy = trajectories[one, Y] - trajectories[other, Y]
            dz = trajectories[one, Z] - trajectories[other, Z]
            if dx * dx + dy * dy + dz * dz <= reach * reach:
                leader[one] = leader[other]
                trajectories[leader[one], MASS] += trajectories[one, MASS]
                break
    left = 0
    for one in range(count):
        if leader[one] == one:
            trajectories[left] = trajectories[one]
            left += 1
    return left
