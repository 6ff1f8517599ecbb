"""Pictures that cannot tell where they were taken: blank ones, gradients, noise, text, drawings.

Any of them has an embedding, and so a nearest neighbour and a place. What the network is shown is
looked at instead: 224 pixels or so each way, in which a screenshot's text is lines of grey. The
limits lie between real photos, views of the Earth, deserts and ice among them, and generated
pictures of each kind, which `tests/test_low_information.py` looks at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Side that pictures are brought near before they are looked at, and the least that says anything.
_SIDE, _LEAST_SIDE = 224, 64

#: Standard deviation of the mean lightness, 0 to 255, of squares of 8 pixels: ice has 2.3 or more.
_BLANK = 1.5
#: In squares of 4 pixels all but a hundredth of a gradient bends less than this: 8 were found, and
#: in real pictures 14 or more.
_SMOOTH = 10.0
#: Correlation of neighbouring pixels: in noise less than this, in real pictures 0.53 or more.
_NOISE = 0.45

#: Of text: lower correlation than this, while so many pixels are of one lightness and so many of
#: the edges are hard. Real pictures have two of these at most.
_TEXT_CORRELATION, _TEXT_PAPER, _TEXT_HARD = 0.8, 0.25, 0.1
#: Of a drawing, or a window of a program: so many pixels are of two lightnesses, and hard edges.
_DRAWING_PAPER, _DRAWING_HARD = 0.8, 0.35

#: Differences of lightness between neighbours: what is an edge, and a hard one.
_EDGE, _HARD_EDGE = 4, 32

_LIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def low_information(pixels: NDArray[np.uint8]) -> str | None:
    """Why a picture (side, side, 3) says too little of a place: `blank`, `smooth`, `noise`, `text`
    or `drawing`; None if it may say enough.
    """
    side = len(pixels)
    if side < _LEAST_SIDE:
        return None
    light = _shrunk(pixels @ _LIGHTNESS, max(1, round(side / _SIDE)))
    if _shrunk(light, 8).std() < _BLANK:
        return "blank"
    coarse = _shrunk(light, 4)
    bent = 4 * coarse[1:-1, 1:-1] - coarse[:-2, 1:-1] - coarse[2:, 1:-1]
    bent -= coarse[1:-1, :-2] + coarse[1:-1, 2:]
    if np.quantile(np.abs(bent), 0.99) < _SMOOTH:
        return "smooth"
    apart = light - light.mean()
    across, down = (apart[:, 1:] * apart[:, :-1]).mean(), (apart[1:] * apart[:-1]).mean()
    correlation = (across + down) / 2 / (apart * apart).mean()
    if correlation < _NOISE:
        return "noise"
    steps = np.concatenate([np.diff(light, axis=1).ravel(), np.diff(light, axis=0).ravel()])
    steps = np.abs(steps)
    edges, hard_edges = int((steps > _EDGE).sum()), int((steps > _HARD_EDGE).sum())
    hard = hard_edges / max(1, edges)
    # Of one lightness: within a dozen levels of 256.
    levels = np.bincount((light / 4).astype(np.intp).ravel(), minlength=64) / light.size
    alike = np.convolve(levels, np.ones(3), mode="same")
    paper = int(alike.argmax())
    if correlation < _TEXT_CORRELATION and alike[paper] > _TEXT_PAPER and hard > _TEXT_HARD:
        return "text"
    ink = np.delete(alike, slice(max(0, paper - 2), paper + 3)).max()
    return "drawing" if alike[paper] + ink > _DRAWING_PAPER and hard > _DRAWING_HARD else None


def _shrunk(light: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means of squares of `factor` pixels; what is left over at the ends is left out."""
    side = len(light) // factor
    squares = light[: side * factor, : side * factor].reshape(side, factor, side, factor)
    return np.asarray(squares.mean(axis=(1, 3)))
