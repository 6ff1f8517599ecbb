"""How near to a photo its copies are, and how near other photos: what `--duplicate-distance` means.

python benchmarks/duplicates.py ~/Pictures --photos 200

Prints, for each way of copying a photo, cosine distances between photo and copy, and the share of
copies below some thresholds; then the distances from each photo to the nearest other one.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import PhotoRejected
from geosearch.features import Backbone, load_backbone
from geosearch.images import decode, open_image
from geosearch.ingest.records import Candidate
from geosearch.ingest.sources import candidates, locate
from geosearch.storage import read_bytes

THRESHOLDS = (0.01, 0.02, 0.03, 0.05)
QUANTILES = (0.05, 0.5, 0.95)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without this share of width and height."""
    width, height = image.size
    left, top = int(width * share / 2), int(height * share / 2)
    return image.crop((left, top, width - left, height - top))


def resized(image: Image.Image, longest: int) -> Image.Image:
    """With a longest side of so many pixels; smaller ones stay."""
    copy = image.copy()
    copy.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return copy


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG quality 75": lambda image: jpeg(image, 75),
    "JPEG quality 50": lambda image: jpeg(image, 50),
    "1024 pixels, quality 85": lambda image: jpeg(resized(image, 1024), 85),
    "640 pixels, quality 85": lambda image: jpeg(resized(image, 640), 85),
    "500 pixels, quality 85": lambda image: jpeg(resized(image, 500), 85),
    "10 % brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.1), 95),
    "2 % cropped": lambda image: jpeg(cropped(image, 0.02), 95),
    "5 % cropped": lambda image: jpeg(cropped(image, 0.05), 95),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=200, help="at most so many, evenly drawn")
    parser.add_argument("--at-least", type=int, default=1, help="pixels on the shorter side")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    images = read(arguments.folder, arguments.at_least)
    step = max(1, len(images) // arguments.photos)
    figures = measure(load_backbone(arguments.model), images[::step][: arguments.photos])
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{figures['photos']} photos, {arguments.model}: cosine distances, and % below")
    heads = [f"{100 * q:g} %" for q in QUANTILES] + [f"< {t:g}" for t in THRESHOLDS]
    print(f"{'':<26}" + "".join(f"{head:>9}" for head in heads))
    for name, row in figures["distances"].items():
        cells = [f"{value:>9.4f}" for value in row["quantiles"]]
        cells += [f"{100 * value:>9.1f}" for value in row["below"]]
        print(f"{name:<26}" + "".join(cells))


def read(folder: str, at_least: int) -> list[Image.Image]:
    """All photos below a folder that can be read and are large enough."""
    images = []
    for item in candidates(locate(folder)):
        if not isinstance(item, Candidate):
            continue
        try:
            image = decode(open_image(read_bytes(item.uri)))
        except PhotoRejected:
            continue
        if min(image.size) >= at_least:
            images.append(image)
    return images


def measure(backbone: Backbone, images: list[Image.Image]) -> dict[str, Any]:
    """Distances of the copies, by kind, and of the nearest other photo."""
    originals = embed(backbone, [jpeg(image, 95) for image in images])
    between = 1 - originals @ originals.T
    np.fill_diagonal(between, np.inf)
    distances = {
        name: 1 - np.vecdot(originals, embed(backbone, [copy(image) for image in images]))
        for name, copy in COPIES.items()
    } | {"nearest other photo": between.min(axis=1)}
    return {
        "photos": len(images),
        "distances": {
            name: {
                "quantiles": [float(value) for value in np.quantile(found, QUANTILES)],
                "below": [float(np.mean(found < threshold)) for threshold in THRESHOLDS],
            }
            for name, found in distances.items()
        },
    }


def embed(backbone: Backbone, photos: list[bytes]) -> NDArray[np.float32]:
    """Embeddings (n, D) of photos held in memory."""
    size = backbone.batch_size
    return np.concatenate(
        [
            backbone.embed(
                np.stack([backbone.preprocess(open_image(data)) for data in photos[at : at + size]])
            )
            for at in range(0, len(photos), size)
        ]
    )


if __name__ == "__main__":
    main()
