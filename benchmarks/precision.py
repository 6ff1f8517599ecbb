"""Networks in fewer bits, and by OpenVINO where it is installed, beside ONNX Runtime in float32.

Of each: processor time of a photo on one core, in turns; cosine to the embedding in float32; how
often the nearest other photo lies within a distance, and the gain over float32 with its 95 %
interval over photos. int8 is static: weights by channel, activations by what they are on photos of
the collection itself.

    python benchmarks/precision.py
    python benchmarks/precision.py --photos MANIFEST --within-km 0.025
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from evidence import gain
from numpy.typing import NDArray

from geosearch.defaults import DEFAULT_MODEL
from geosearch.features import load_backbone
from geosearch.features.onnx import OnnxNetwork, cached_files
from geosearch.features.unit_vectors import normalised
from geosearch.images import open_image
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Photo
from geosearch.ingest.sources import candidates, locate
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sphere import great_circle_km
from geosearch.storage import read_bytes

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Network = Callable[[Pixels], Vectors]

#: Photos at once, and photos that are timed.
BATCH, TIMED = 4, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="manifest or folder; default: views from space")
    parser.add_argument("--views", type=int, default=400, help="from space, without --photos")
    parser.add_argument("--within-km", type=float, default=200.0)
    parser.add_argument("--calibrate", type=int, default=64, help="photos that int8 is fitted to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    backbone = load_backbone(arguments.model, device="cpu")
    with tempfile.TemporaryDirectory() as made:
        source = arguments.photos
        if source is None:
            write_space_sample(SpaceSample(arguments.views, 0), Path(made))
            source = Path(made, "references")
        photos = list(_photos(str(source)))
        pixels = np.stack([backbone.preprocess(open_image(read_bytes(p.uri))) for p in photos])
        (float32, *_) = cached_files(backbone.description)
        int8 = Path(made, "int8.onnx")
        quantise(float32, int8, pixels[:: max(1, len(pixels) // arguments.calibrate)])
        networks: dict[str, Network] = {
            "ONNX Runtime float32": OnnxNetwork(float32),
            "ONNX Runtime int8": OnnxNetwork(int8),
            **_by_openvino(float32, int8),
        }
        spent = _spent(networks, pixels[:TIMED], arguments.rounds)
        rows = compare(networks, pixels, photos, arguments.within_km)
    for row in rows:
        row["processor_ms"] = spent[row["network"]]
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{len(photos)} photos, the nearest other within {arguments.within_km:g} km")
    for row in rows:
        mean, low, high = (100 * each for each in row["gain"])
        print(
            f"{row['network']:<24}{row['processor_ms']:>7.2f} ms  cosine {row['least_cosine']:.4f} "
            f"or more, median {row['median_cosine']:.4f}  {100 * row['hits']:>5.1f} % "
            f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
        )


def _photos(source: str) -> Iterator[Photo]:
    """The photos of a folder or manifest that have a position."""
    for item in candidates(locate(source)):
        photo = examine(item, decode=False) if isinstance(item, Candidate) else item
        if isinstance(photo, Photo) and photo.position is not None:
            yield photo


def quantise(model: Path, target: Path, photos: Pixels) -> None:
    """Write a network in int8, its activations' ranges those of these photos."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    batches = iter(np.array_split(photos, -(-len(photos) // BATCH)))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Pixels] | None:
            batch = next(batches, None)
            return None if batch is None else {"pixels": batch}

    logging.disable(logging.WARNING)  # of a step that this network does not need
    quantize_static(
        model,
        target,
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Clip"],
    )
    logging.disable(logging.NOTSET)


def _by_openvino(float32: Path, int8: Path) -> dict[str, Network]:
    try:
        import openvino
    except ImportError:
        return {}
    core, one = openvino.Core(), {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}

    def network(model: Path, precision: str) -> Network:
        hint = {**one, "INFERENCE_PRECISION_HINT": precision}
        compiled = core.compile_model(str(model), "CPU", hint)
        return lambda pixels: np.asarray(compiled(pixels)[0])

    return {
        "OpenVINO float32": network(float32, "f32"),
        "OpenVINO bfloat16": network(float32, "bf16"),
        "OpenVINO int8": network(int8, "f32"),
    }


def _spent(networks: dict[str, Network], pixels: Pixels, rounds: int) -> dict[str, float]:
    """Median processor time of a photo, milliseconds, after one round that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds + 1):
        for name, network in networks.items():
            started = time.process_time()
            _embed(network, pixels)
            spent[name].append(1000 * (time.process_time() - started) / len(pixels))
    return {name: statistics.median(each[1:]) for name, each in spent.items()}


def _embed(network: Network, pixels: Pixels) -> Vectors:
    parts = [network(pixels[n : n + BATCH]) for n in range(0, len(pixels), BATCH)]
    return normalised(np.concatenate(parts))


def compare(
    networks: dict[str, Network], pixels: Pixels, photos: list[Photo], within_km: float
) -> list[dict[str, Any]]:
    """Embeddings and neighbours by each network beside those by the first."""
    lat, lon = np.array([(p.position.lat, p.position.lon) for p in photos if p.position]).T
    rows: list[dict[str, Any]] = []
    truth, base = np.zeros(0, np.float32), np.zeros(0)
    for name, network in networks.items():
        vectors = _embed(network, pixels)
        alike = vectors @ vectors.T
        np.fill_diagonal(alike, -2)
        nearest = alike.argmax(axis=1)
        hits = great_circle_km(lat, lon, lat[nearest], lon[nearest]) <= within_km
        if not rows:
            truth, base = vectors, hits.astype(float)
        cosines = (vectors * truth).sum(axis=1)
        rows.append(
            {
                "network": name,
                "least_cosine": float(cosines.min()),
                "median_cosine": float(np.median(cosines)),
                "hits": float(hits.mean()),
                "gain": gain(hits - base),
            }
        )
    return rows


if __name__ == "__main__":
    main()
