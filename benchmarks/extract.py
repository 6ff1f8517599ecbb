"""Extraction: JPEG files to committed rows, beside the bare network on the decoded pixels.

The bare network is the faster of two: on a CPU, ONNX Runtime with its default threads, and
calls in parallel with one thread each; on CUDA, the forward pass on pixels already on the
device. Both paths alternate within one run; the ratio of the medians is what counts.

    python benchmarks/extract.py --photos 1000
    python benchmarks/extract.py --folder ~/Pictures --model torchvision/resnet50
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scratch import scratch_database

from geosearch.database.connection import Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.features import Backbone, embed, load_backbone
from geosearch.features.onnx import OnnxNetwork, cache_path
from geosearch.images import open_image
from geosearch.ingest import ingest
from geosearch.parallel import processors
from geosearch.sample.space import SpaceSample, write_space_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000, help="views to cut, without --folder")
    parser.add_argument("--folder", type=Path, help="geotagged JPEG files to use instead")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    backbone = load_backbone(arguments.model, device=arguments.device)
    with tempfile.TemporaryDirectory() as made, scratch_database() as database:
        folder = arguments.folder
        if folder is None:
            write_space_sample(SpaceSample(arguments.photos, 0), Path(made, "space"))
            folder = Path(made, "space", "references")
        ingest(database, [folder], collection="benchmark")
        result = measure(database, backbone, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    what = f"{result['photos']} photos of {result['mean_kb']:.0f} kB"
    print(f"{what}, {result['model']} on {result['device']}, {os.cpu_count()} cores")
    for name, rate in result["bare_photos_per_s"].items():
        print(f"{'bare network, ' + name:<40}{rate:>8.1f} photos/s")
    print(f"{'files to committed rows':<40}{result['photos_per_s']:>8.1f} photos/s")
    print(f"{'ratio to the faster bare network':<40}{result['ratio']:>8.2f}")


def measure(database: Database, backbone: Backbone, rounds: int) -> dict[str, Any]:
    """Median rates over alternating rounds, after one unmeasured round of each path."""
    with database.connection() as connection:
        photos = connection.execute("SELECT uri, size_bytes FROM geosearch.photos").fetchall()
    pixels = np.stack(
        [backbone.preprocess(open_image(Path(uri).read_bytes())) for uri, _ in photos]
    )
    bare = bare_paths(backbone, pixels)
    taken: dict[str, list[float]] = {name: [] for name in bare}
    ours: list[float] = []
    for round_ in range(rounds + 1):
        for name, run in bare.items():
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
        with database.connection() as connection:
            connection.execute("TRUNCATE geosearch.all_embeddings")
        started = time.perf_counter()
        summary = embed(database, backbone)
        ours.append(time.perf_counter() - started)
        if summary.embedded != len(photos):
            raise SystemExit(f"only {summary.embedded} of {len(photos)} photos were embedded")
        if round_ == 0:
            ours.clear()
            taken = {name: [] for name in bare}
    rates = {name: len(photos) / statistics.median(seconds) for name, seconds in taken.items()}
    rate = len(photos) / statistics.median(ours)
    return {
        "photos": len(photos),
        "mean_kb": sum(size for _, size in photos) / len(photos) / 1000,
        "model": backbone.description.name,
        "device": backbone.device,
        "cores": os.cpu_count(),
        "bare_photos_per_s": rates,
        "photos_per_s": rate,
        "ratio": rate / max(rates.values()),
    }


def bare_paths(backbone: Backbone, pixels: NDArray[np.uint8]) -> dict[str, Callable[[], object]]:
    """Ways to run the network on decoded pixels, by name."""
    batches = [
        pixels[start : start + backbone.batch_size]
        for start in range(0, len(pixels), backbone.batch_size)
    ]

    def parallel() -> object:
        with ThreadPoolExecutor(processors()) as pool:
            return list(pool.map(backbone.embed, batches))

    if isinstance(backbone.network, OnnxNetwork):
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(cache_path(backbone.description)), providers=["CPUExecutionProvider"]
        )
        return {
            "ONNX Runtime, default threads": lambda: [
                session.run(None, {"pixels": batch}) for batch in batches
            ],
            "ONNX Runtime, parallel calls": parallel,
        }
    if backbone.device == "cuda":
        return {"on the device": lambda: forward_on_device(backbone, batches)}
    return {"parallel calls": parallel}


def forward_on_device(backbone: Backbone, batches: list[NDArray[np.uint8]]) -> None:
    import torch

    from geosearch.features.pytorch import TorchNetwork

    network = backbone.network
    assert isinstance(network, TorchNetwork)
    with torch.inference_mode():
        there = torch.from_numpy(batches[0]).to(network.device)
        for batch in batches:  # the same pixels each time: they need not fit the device at once
            network.forward(there[: len(batch)])
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
