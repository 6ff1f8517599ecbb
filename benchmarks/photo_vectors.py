"""Embeddings of pictures, with the spread of real features: views of the space sample.

Each is embedded once by the packaged network (1280 dimensions, none negative). More rows are mixes
of three views each, drawn by chance from all, in shares drawn by chance, with noise a fifth as long
and nothing below zero: so each has likes all over the world. It stands near its largest view.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from geoclip_vectors import Vectors, jitter, kept
from numpy.typing import NDArray

from geosearch.defaults import DEFAULT_MODEL

#: Views that are embedded, for references and for queries.
VIEWS, QUERY_VIEWS = 4000, 400
_MIXED, _NOISE = 3, 0.2
_BATCH = 32


def references(rows: int, cache: Path) -> Vectors:
    """The first `rows` of a fixed order: views, then mixes of them."""
    return _mixed(rows, _views("reference", VIEWS, cache), 0)


def queries(count: int, cache: Path) -> Vectors:
    """Views of other places, each mixed with another of them: held out, none is a reference."""
    places, embedding = _views("query", QUERY_VIEWS, cache)
    mixed = _mixed(QUERY_VIEWS + count, (places, embedding), 1)
    new = slice(QUERY_VIEWS, None)
    return Vectors(mixed.lat[new], mixed.lon[new], mixed.embedding[new])


def _mixed(rows: int, views: tuple[NDArray[np.float64], NDArray[np.float32]], seed: int) -> Vectors:
    places, embedding = views
    rng = np.random.default_rng(seed)
    count, dimension = embedding.shape
    at = np.empty((rows, 2))
    made = np.empty((rows, dimension), dtype=np.float16)
    for start in range(0, rows, count):
        size = min(count, rows - start)
        block, at[start : start + size] = embedding[:size], places[:size]
        if start:
            chosen = rng.integers(0, count, (count, _MIXED))
            shares = rng.dirichlet(np.ones(_MIXED), count).astype(np.float32)
            noise = rng.normal(size=(count, dimension)) * (_NOISE / np.sqrt(dimension))
            mixed = sum(
                shares[:, part, np.newaxis] * embedding[chosen[:, part]] for part in range(_MIXED)
            )
            block = np.maximum(mixed + noise, 0)[:size]
            largest = chosen[np.arange(count), shares.argmax(axis=1)]
            at[start : start + size] = jitter(places[largest], rng)[:size]
        made[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return Vectors(at[:, 0], at[:, 1], made)


def _views(role: str, count: int, cache: Path) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Places (n, 2) and embeddings (n, 1280) of views of the space sample."""
    from geosearch.sample.views import Difficulty, Role, draw_view

    drawn = [draw_view(0, Role(role), index, Difficulty.JITTER) for index in range(count)]
    places = np.array([(view.lat, view.lon) for view in drawn])

    def embed() -> NDArray[np.float32]:
        from PIL import Image

        from geosearch.features import load_backbone
        from geosearch.sample.views import render

        network = load_backbone(DEFAULT_MODEL)
        batches = [drawn[start : start + _BATCH] for start in range(0, count, _BATCH)]
        return np.concatenate(
            [
                network.embed(
                    np.stack([network.preprocess(Image.fromarray(render(view))) for view in batch])
                )
                for batch in batches
            ]
        )

    return places, kept(cache / f"views-{role}-{count}.npy", embed).astype(np.float32)
