"""Extraction: JPEG files to committed rows, beside the bare network on the decoded pixels.

The bare network is the faster of two: on a CPU, ONNX Runtime with its default threads, and
calls in parallel with one thread each; on CUDA, the forward pass on pixels already on the
device. Bare decoding reads the files and decodes them at the scale that the network needs; bare
pixels are resampled besides, to the square that it takes. On a CPU all take the same processors,
and so the limit is what they allow one after the other, 1 / (1 / network + 1 / decoding) photos/s:
even without any other work no rate comes nearer to that of the bare network.

All paths alternate within one run; the ratio of the medians is what counts. So does the processor
time of this process, which says more where other programs are at work; the server's is not in it.

    python benchmarks/extract.py --photos 1000
    python benchmarks/extract.py --large 48
    python benchmarks/extract.py --folder ~/Pictures --model torchvision/resnet50
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from ingest import write_photos
from numpy.typing import NDArray
from PIL import Image
from scratch import scratch_database

from geosearch.database.connection import Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.features import Backbone, embed, load_backbone
from geosearch.features.embedded_ingest import ingest_and_embed
from geosearch.features.onnx import OnnxNetwork, cached_files
from geosearch.images import open_image
from geosearch.ingest import ingest
from geosearch.parallel import processors
from geosearch.sample.space import SpaceSample, write_space_sample

#: The collection that is embedded again and again.
EMBEDDED = "benchmark"
_EMBED, _ONE_STEP = "embed", "ingest --embed"
_DECODING, _PIXELS = "bare decoding", "bare pixels"
#: What the network and one of these in turn allow.
_LIMITS = {_DECODING: "limit with decoding", _PIXELS: "limit with pixels"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000, help="views to cut, without --folder")
    parser.add_argument("--large", type=int, help="write so many of 12 megapixels instead")
    parser.add_argument("--folder", type=Path, help="geotagged JPEG files to use instead")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    backbone = load_backbone(arguments.model, device=arguments.device)
    with tempfile.TemporaryDirectory() as made, scratch_database() as database:
        folder = arguments.folder
        if arguments.large:
            folder = Path(made, "large")
            write_photos(folder, arguments.large, (4000, 3000))
        elif folder is None:
            write_space_sample(SpaceSample(arguments.photos, 0), Path(made, "space"))
            folder = Path(made, "space", "references")
        result = measure(database, backbone, folder, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    what = f"{result['photos']} photos of {result['mean_kb']:.0f} kB"
    print(f"{what}, {result['model']} on {result['device']}, {os.cpu_count()} cores")
    for name, rate in result["photos_per_s"].items():
        spent = result["processor_ms"][name]
        print(f"{name:<40}{rate:>8.1f} photos/s{spent:>8.2f} ms of a processor")
    for name, ratios in result["ratios"].items():
        print(f"{name:<40}" + "".join(f"{ratio:>8.2f} by {by}" for by, ratio in ratios.items()))


def measure(database: Database, backbone: Backbone, folder: Path, rounds: int) -> dict[str, Any]:
    """Median rates over alternating rounds, after one unmeasured round of each path."""
    ingest(database, [folder], collection=EMBEDDED)
    with database.connection() as connection:
        photos = connection.execute("SELECT uri, size_bytes FROM geosearch.photos").fetchall()
    uris = [uri for uri, _ in photos]
    pixels = np.stack([shown(backbone, uri) for uri in uris])
    bare = bare_paths(backbone, pixels)
    fresh = (f"round {number}" for number in itertools.count())

    def embedded() -> int:
        return embed(database, backbone, collection=EMBEDDED).embedded

    def one_step() -> int:
        return ingest_and_embed(database, [folder], collection=next(fresh), model=backbone).embedded

    def two_steps() -> int:
        name = next(fresh)
        ingest(database, [folder], collection=name)
        return embed(database, backbone, collection=name).embedded

    least = backbone.description.preprocessing.resize
    ours = {_EMBED: embedded, _ONE_STEP: one_step, "ingest and then embed": two_steps}
    others = {
        _DECODING: lambda: in_threads(partial(decoded, least), uris),
        _PIXELS: lambda: in_threads(partial(shown, backbone), uris),
    }
    paths = {**bare, **others, **ours}
    taken: dict[str, list[float]] = {name: [] for name in paths}
    spent: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds + 1):
        for name, run in paths.items():
            with database.connection() as connection:
                connection.execute("TRUNCATE geosearch.all_embeddings, geosearch.all_queries")
            started, before = time.perf_counter(), time.process_time()
            done = run()
            taken[name].append(time.perf_counter() - started)
            spent[name].append(time.process_time() - before)
            if name in ours and done != len(photos):
                raise SystemExit(f"only {done} of {len(photos)} photos were embedded")
    waited, processor = (
        {name: statistics.median(seconds[1:]) / len(photos) for name, seconds in each.items()}
        for each in (taken, spent)
    )
    ratios: dict[str, dict[str, float]] = {}
    for by, seconds in (("time", waited), ("processor", processor)):
        network = min(seconds[name] for name in bare)
        ratios.setdefault("embed to the bare network", {})[by] = network / seconds[_EMBED]
        for least_work, limit in _LIMITS.items() if backbone.device == "cpu" else ():
            seconds[limit] = network + seconds[least_work]
            of_network = ratios.setdefault(f"{limit} to the bare network", {})
            of_network[by] = network / seconds[limit]
            for name in (_EMBED, _ONE_STEP):
                ratios.setdefault(f"{name} to {limit}", {})[by] = seconds[limit] / seconds[name]
    return {
        "photos": len(photos),
        "mean_kb": sum(size for _, size in photos) / len(photos) / 1000,
        "model": backbone.description.name,
        "device": backbone.device,
        "cores": os.cpu_count(),
        "photos_per_s": {name: 1 / seconds for name, seconds in waited.items()},
        "processor_ms": {name: 1000 * seconds for name, seconds in processor.items()},
        "ratios": ratios,
    }


def decoded(least: int, uri: str) -> None:
    """Read and decode a photo to a shorter side of `least` pixels or more."""
    with Image.open(io.BytesIO(Path(uri).read_bytes())) as image:
        scale = least / min(image.size)
        image.draft("RGB", (ceil(image.width * scale), ceil(image.height * scale)))
        image.load()


def shown(backbone: Backbone, uri: str) -> NDArray[np.uint8]:
    """What the network is given of a photo."""
    return backbone.preprocess(open_image(Path(uri).read_bytes()))


def in_threads(work: Callable[[Any], object], items: Iterable[object]) -> None:
    """Do the work, a thread per core."""
    with ThreadPoolExecutor(processors()) as pool:
        for _ in pool.map(work, items):
            pass


def bare_paths(backbone: Backbone, pixels: NDArray[np.uint8]) -> dict[str, Callable[[], object]]:
    """Ways to run the network on decoded pixels, by name."""
    batches = [
        pixels[start : start + backbone.batch_size]
        for start in range(0, len(pixels), backbone.batch_size)
    ]
    parallel = partial(in_threads, backbone.embed, batches)
    if isinstance(backbone.network, OnnxNetwork):
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(cached_files(backbone.description)[0]), providers=["CPUExecutionProvider"]
        )
        return {
            "bare network, default threads": lambda: [
                session.run(None, {"pixels": batch}) for batch in batches
            ],
            "bare network, parallel calls": parallel,
        }
    if backbone.device == "cuda":
        return {"bare network, on the device": lambda: forward_on_device(backbone, batches)}
    return {"bare network, parallel calls": parallel}


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
