"""The climb to the modes (`geosearch.density.climb`) as machine code.

A step takes microseconds: what NumPy needs to begin its operations takes longer than their
arithmetic. Numba compiles these loops when they are first run, which takes seconds, once for each
machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba
import numpy as np

from geosearch.density import climb as c
from geosearch.density.kernel import NEGLIGIBLE
from geosearch.sphere import Array

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


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
    for number in range(c.MOST_STEPS):
        step(kernels, trajectories[:count], c.LONGEST_STEP / (1 + number // c.SHORTEN_AFTER))
        count = _join(trajectories[:count])
        if not trajectories[:count, c.MOVING].any():
            break
    return count


@compiled
def step(kernels: Array, trajectories: Array, longest: float) -> None:
    """Move the trajectories that still move one step uphill."""
    logs = np.empty(kernels.shape[1])
    for one in trajectories:
        if one[c.MOVING]:
            _move(kernels, logs, one, longest)


@compiled
def _move(kernels: Array, logs: Array, one: Array, longest: float) -> None:
    kx, ky, kz, kappas, peaks = kernels
    x, y, z = one[c.X], one[c.Y], one[c.Z]
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
    reach = max(-flattest / kappa, c.SAME_TRAJECTORY) * bandwidth

    # |H|, with the curvatures of H by their absolute values, has the inverse p + qD, where D is
    # the trace-free part of H, whose own curvatures are `spread` and its negative.
    first = abs(flattest) + 1e-3 * c.FLAT * kappa
    second = abs(flattest - 2 * spread) + 1e-3 * c.FLAT * kappa
    q = (second - first) / (spread + 1e-12 * kappa)
    a = ((first + second) * ga + q * (skew * ga + ab * gb)) / (2 * first * second)
    b = ((first + second) * gb + q * (ab * ga - skew * gb)) / (2 * first * second)
    length = math.hypot(a, b)
    if length > limit:
        a, b = a * limit / length, b * limit / length
    ahead = 1.0
    moving = length > max(c.LAST_STEP * reach, 1e-15)
    if not moving and flattest > c.FLAT * kappa:
        angle = math.atan2(ab, skew) / 2  # of the highest curvature
        a, b = c.NUDGE * bandwidth * math.cos(angle), c.NUDGE * bandwidth * math.sin(angle)
        moving = True
    if math.hypot(ga, gb) > limit * kappa:
        a, b, ahead, moving = ga, gb, pull, True

    x, y, z = ahead * x + a * ux + b * vx, ahead * y + a * uy + b * vy, ahead * z + a * uz + b * vz
    length = math.sqrt(x * x + y * y + z * z)
    one[c.X], one[c.Y], one[c.Z] = x / length, y / length, z / length
    one[c.REACH] = reach
    one[c.LOG_DENSITY] = math.log(total) + highest + (ga * a + gb * b) / 2
    one[c.MOVING] = moving


@compiled
def _join(trajectories: Array) -> int:
    """Make those within reach of each other one, which moves if the first of them does.

    Returns how many are left, which come first.
    """
    count = len(trajectories)
    leader = np.arange(count)
    for one in range(count):
        for other in range(one):
            reach = min(trajectories[one, c.REACH], trajectories[other, c.REACH])
            dx = trajectories[one, c.X] - trajectories[other, c.X]
            dy = trajectories[one, c.Y] - trajectories[other, c.Y]
            dz = trajectories[one, c.Z] - trajectories[other, c.Z]
            if dx * dx + dy * dy + dz * dz <= reach * reach:
                leader[one] = leader[other]
                trajectories[leader[one], c.MASS] += trajectories[one, c.MASS]
                break
    left = 0
    for one in range(count):
        if leader[one] == one:
            trajectories[left] = trajectories[one]
            left += 1
    return left
