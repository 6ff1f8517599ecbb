"""Local features of a picture, and how many of two pictures' agree on one view of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.installation import optional

#: Pictures are scaled down until their longer side has so many pixels, and so many features of one
#: are kept, the most marked: bounds time and memory.
SIDE, MOST = 640, 1000

#: A match is a descriptor that is nearer than this share of the distance to the next best (Lowe,
#: Distinctive image features from scale-invariant keypoints, IJCV 60, 2004).
_RATIO = 0.8

#: A match agrees if it is no farther off than so many pixels.
_REPROJECTION = 3.0

#: Fewer matches than this never show one scene: by `chance`, more would have to agree.
_FEWEST = 8


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Of n features: positions (n, 2) in pixels, and descriptors (n, 128) of length 1."""

    at: NDArray[np.float32]
    descriptors: NDArray[np.float32]


def opencv() -> Any:
    """OpenCV.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    return optional("`verify`", "verify", "cv2")


def local_features(data: bytes) -> LocalFeatures:
    """The features of a picture held in memory.

    They are SIFT's; of their descriptors the square roots (Arandjelović and Zisserman, Three things
    everyone should know to improve object retrieval, CVPR 2012).

    Raises
    ------
    PhotoRejected
        It cannot be decoded.
    """
    from geosearch.images import decode, open_image, room_for  # loads Pillow

    cv2 = opencv()
    image = open_image(data)
    with room_for(image):
        image = decode(image, at_least=max(1, SIDE * min(image.size) // max(image.size)))
        image.thumbnail((SIDE, SIDE))
        light = np.asarray(image.convert("L"))
    try:
        points, found = cv2.SIFT_create(nfeatures=MOST).detectAndCompute(light, None)
    except cv2.error:  # a picture of a few pixels
        points, found = (), None
    if found is None:
        return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-9)
    return LocalFeatures(np.array([point.pt for point in points], np.float32), np.sqrt(shares))


def inliers(one: LocalFeatures, other: LocalFeatures) -> int:
    """Matches that agree on one view of the same scene; 0 if no more do than `chance` explains.

    They agree on a homography, which is exact for what is flat or far away, as in pictures from the
    air, facades and distant views, and holds for parts of the rest. It is fixed by four matches, a
    fundamental matrix by seven, of which each leaves another a whole line to lie on: of wrong
    matches fewer agree by chance.
    """
    start, end = _matched(one, other)
    if len(start) < _FEWEST:
        return 0
    cv2 = opencv()
    try:
        _, agrees = cv2.findHomography(start, end, cv2.USAC_MAGSAC, _REPROJECTION)
    except cv2.error:  # all in one place, or in a line
        return 0
    agreeing = 0 if agrees is None else int(agrees.sum())
    return agreeing if agreeing > chance(len(start)) else 0


def chance(matches: int) -> float:
    """So many of the matches of two pictures may agree and yet show nothing.

    Beyond it the odds that they show one scene, a million to one against it at first, are over a
    thousand to one, if a match agrees with probability 0.6 there and 0.1 elsewhere (Brown and Lowe,
    Automatic panoramic image stitching using invariant features, IJCV 74, 2007, section 3.2).
    """
    return 8.0 + 0.3 * matches


def _matched(
    one: LocalFeatures, other: LocalFeatures
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Positions (m, 2) of matching features, in each picture; none of them twice."""
    pairs: dict[int, int] = {}
    if len(one.at) and len(other.at) > 1:
        cv2 = opencv()
        found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptors, other.descriptors, k=2)
        for best, second in found:
            if best.distance < _RATIO * second.distance:
                pairs.setdefault(best.trainIdx, best.queryIdx)
    return one.at[list(pairs.values())], other.at[list(pairs)]
