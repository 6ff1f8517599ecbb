"""`open_clip/ARCH@PRETRAINED`: models of pictures and words of the library open_clip."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosearch.errors import ModelError
from geosearch.features.description import Description, Source, file_sha256, weights_file
from geosearch.features.hugging_face import is_folder, opened
from geosearch.features.networks import Adapted, width
from geosearch.features.preprocessing import Preprocessing
from geosearch.installation import optional

_SPEC = re.compile(r"(?P<arch>[\w.-]+)@(?P<pretrained>.+)")
#: In the order they are preferred: safetensors carry no code.
_WEIGHTS = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
)


def _pictures(model: Any, images: Tensor) -> Tensor:
    """What the tower of pictures gives."""
    features: Tensor = model.encode_image(images)
    return features


def source(spec: str) -> Source:
    """Resolve a spec: PRETRAINED is a tag of open_clip's, or a file of weights.

    A folder with `open_clip_config.json` and weights stands for both.

    Raises
    ------
    MissingExtraError
        `open-clip-torch` is not installed.
    ModelError
        Unknown model or tag; weights that are missing and cannot be fetched, or do not fit.
    """
    library = optional("a model of open_clip", "open-clip", "open_clip")
    stated: dict[str, Any] = {}
    licence = None
    if is_folder(spec):
        files = opened(spec, None, _WEIGHTS)
        name, arch = f"open_clip/{files.name}", f"local-dir:{files.folder}"
        path, digest, licence = files.weights[0], files.weights_sha256, files.licence
        origin, rests_on = files.source, files.rests_on
        architecture = f"settings {file_sha256(files.folder / 'open_clip_config.json')[:16]}"
    else:
        match = _SPEC.fullmatch(spec)
        arch, pretrained = (match["arch"], match["pretrained"]) if match else (spec, "")
        if arch not in library.list_models() or not pretrained:
            raise ModelError(
                f"open_clip has no model {arch!r}, or no weights are named",
                "Write open_clip/ARCH@PRETRAINED, such as open_clip/ViT-B-32@laion2b_s34b_b79k. "
                "Pairs: open_clip.list_pretrained()",
            )
        stated = library.get_pretrained_cfg(arch, pretrained) or {}
        name, architecture = f"open_clip/{spec}", arch
        if stated:
            repository, _, chosen = stated["hf_hub"].rpartition("/")
            patterns = (f"{Path(chosen).stem}.safetensors", chosen) if chosen else _WEIGHTS
            files = opened(repository, None, patterns)
            path, digest, licence = files.weights[0], files.weights_sha256, files.licence
            origin, rests_on = files.source, files.rests_on
        elif is_folder(pretrained):
            path = weights_file(pretrained, "open_clip/ARCH@FILE")
            name, digest, origin = f"open_clip/{arch}@{path}", file_sha256(path), "file"
            rests_on = (path,)
        else:
            tags = ", ".join(library.list_pretrained_tags_by_model(arch))
            raise ModelError(
                f"open_clip/{arch} has no weights {pretrained!r}", f"It has: {tags}; or ./FILE"
            )
    quick = bool(stated.get("quick_gelu"))
    options = {
        **{"force_quick_gelu": quick, "load_weights": False},
        **{"pretrained_image": False, "pretrained_text": False},
    }

    def create(device: str) -> Any:
        try:
            with _quiet(), torch.device(device):
                return library.create_model(arch, device=device, **options).eval()
        except Exception as error:  # of many types, for what is not its own
            raise ModelError(f"open_clip cannot make {name}: {error}") from error

    def load() -> Any:
        model = create("cpu")
        try:
            with _quiet():
                library.load_checkpoint(model, str(path), strict=True, weights_only=True)
        except Exception as error:  # the same, or it carries code
            raise ModelError(
                f"{path}: its weights cannot be loaded into {name}: {error}",
                "Give safetensors, or a state dict, of exactly this model.",
            ) from error
        return model.requires_grad_(False)

    def load_words() -> Any:
        try:
            with _quiet():
                tokens = library.get_tokenizer(arch)
        except Exception as error:  # of a text tower of another repository
            raise ModelError(
                f"the words of {name} cannot be read: {error}",
                "With a network, ask once: its settings stay in the cache.",
            ) from error
        model = load()

        def embed(text: str) -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = model.encode_text(tokens([text]))[0].numpy()
            return found

        return embed

    bare = create("meta")
    preprocessing = _preprocessing(name, bare.visual.preprocess_cfg | stated)
    description = Description(
        name=name,
        architecture=f"open_clip/{architecture}" + ", quick GELU" * quick,
        weights_source=f"{origin}, {path.name}",
        weights_sha256=digest,
        preprocessing=preprocessing,
        pooling="own",
        dimension=width(Adapted(bare, _pictures), preprocessing.crop),
        licence=licence,
    )
    return Source(
        description,
        load_trunk=lambda: Adapted(load(), _pictures),
        load_words=load_words,
        rests_on=rests_on,
    )


def _preprocessing(name: str, values: dict[str, Any]) -> Preprocessing:
    size = values["size"] if isinstance(values["size"], (tuple, list)) else [values["size"]]
    if len({*size}) > 1 or values["resize_mode"] not in ("shortest", "squash"):
        raise ModelError(
            f"{name} takes pictures that cannot be made here: {size}, {values['resize_mode']}"
        )
    return Preprocessing(
        resize=size[0],
        crop=size[0],
        mean=tuple(255 * value for value in values["mean"]),
        std=tuple(255 * value for value in values["std"]),
        interpolation=values["interpolation"],
        fit="squash" if values["resize_mode"] == "squash" else "crop",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what open_clip says of a model that has no weights yet, to those who keep no log.

    It speaks by the root of all logs, which would then repeat what geosearch says.
    """
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addHandler(nobody)
    try:
        yield
    finally:
        root.removeHandler(nobody)
