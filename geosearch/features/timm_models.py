"""`timm/NAME[.TAG][@FILE][+POOLING]`: image models of the library timm."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geosearch.errors import ModelError
from geosearch.features.description import (
    Description,
    Source,
    check_pooling,
    file_sha256,
    weights_file,
)
from geosearch.features.hugging_face import opened
from geosearch.features.networks import Adapted, Tokens, width
from geosearch.features.preprocessing import Preprocessing
from geosearch.installation import optional

_SPEC = re.compile(r"(?P<name>\w+(\.\w+)?)(@(?P<file>.+?))?(\+(?P<pooling>\w+))?")


def _last(model: Any, images: Tensor) -> Tensor:
    """A model's last feature map (n, D, height, width), or tokens (n, count, D)."""
    features: Tensor = model.forward_features(images)
    channels_last = getattr(model, "output_fmt", None) == "NHWC"
    return features.permute(0, 3, 1, 2) if channels_last else features


def source(spec: str) -> Source:
    """Resolve a spec; the weights are those of the tag, in Hugging Face's cache, or a file's.

    Raises
    ------
    MissingExtraError
        `timm` is not installed.
    ModelError
        Unknown model or pooling; weights that are missing and cannot be fetched, or do not fit.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ModelError(
            f"the model 'timm/{spec}' is malformed",
            "Write timm/NAME[.TAG][@FILE][+avg|max|gem|token], such as "
            "timm/vit_small_patch14_dinov2.lvd142m",
        )
    timm = optional("a model of timm", "timm", "timm")
    name = match["name"]
    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # it has no such tag
        config = None
    if config is None:
        likely = timm.list_pretrained(f"*{name.split('.')[0]}*")[:20]
        raise ModelError(
            f"timm has no model {name!r} with weights",
            f"It has: {', '.join(likely)}" if likely else "Names: timm.list_pretrained()",
        )
    if match["file"]:
        path, stated = weights_file(match["file"], "timm/NAME@FILE"), None
        rests_on: tuple[Path, ...] = (path,)
        whole, origin = f"{name}@{path}", f"file {path.name}"
    else:
        whole = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
        if not config.hf_hub_id:
            raise ModelError(
                f"the weights of timm/{whole} are not on Hugging Face's hub",
                f"Download {config.url} and give timm/{name}@FILE",
            )
        chosen = config.hf_hub_filename
        weights = (chosen,) if chosen else ("model.safetensors", "pytorch_model.bin")
        files = opened(config.hf_hub_id, None, weights)
        (path, *_), stated = files.weights, files.weights_sha256
        rests_on = files.rests_on
        origin = f"{files.source}, {path.name}"
    preprocessing = _preprocessing(timm, config)

    with torch.device("meta"):
        bare = timm.create_model(name, pretrained=False, num_classes=0)
    special = int(getattr(bare, "num_prefix_tokens", None) or 0)
    known = ("own", "avg", "max", "gem", *["token"] * bool(special))
    pooling = check_pooling(f"timm/{name}", match["pooling"], known)

    def trunk(model: Any) -> nn.Module:
        return model if pooling == "own" else Tokens(Adapted(model, _last), special, pooling)

    description = Description(
        name=f"timm/{whole}" + (f"+{pooling}" if match["pooling"] else ""),
        architecture=f"timm/{config.architecture}",
        weights_source=origin,
        weights_sha256=stated or file_sha256(path),
        preprocessing=preprocessing,
        pooling=pooling,
        dimension=width(trunk(bare), preprocessing.crop),
        licence=None if match["file"] else config.license,
    )

    def load_trunk() -> nn.Module:
        return trunk(_loaded(timm, name, config, path)).requires_grad_(False).eval()

    return Source(description, load_trunk=load_trunk, rests_on=rests_on)


def _preprocessing(timm: Any, config: Any) -> Preprocessing:
    """What `timm.data.create_transform` does to a photo when it evaluates."""
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    channels, height, side = data["input_size"]
    if channels != 3 or height != side or data["crop_mode"] not in ("center", "squash"):
        raise ModelError(
            f"timm/{config.architecture} takes pictures that cannot be made here: "
            f"{data['input_size']}, {data['crop_mode']}"
        )
    return Preprocessing(
        resize=math.floor(side / data["crop_pct"]),
        crop=side,
        mean=tuple(255 * value for value in data["mean"]),
        std=tuple(255 * value for value in data["std"]),
        interpolation=data["interpolation"],
        fit="squash" if data["crop_mode"] == "squash" else "crop",
    )


def _loaded(timm: Any, name: str, config: Any, path: Path) -> Any:
    """The model without its classifier, with the weights of a file, which may have one."""
    problem: Exception | None = None
    # timm takes weights that lack some only where the classifier is another: so it must not be.
    for classes in (config.num_classes, 0):
        overlay = {"file": str(path), "custom_load": False, "num_classes": classes}
        try:
            model = timm.create_model(
                name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay
            )
        except Exception as error:  # of many types, for what is not its own, or carries code
            problem = problem or error
            continue
        model.reset_classifier(0)
        return model
    raise ModelError(
        f"{path}: its weights cannot be loaded into timm/{name}: {problem}",
        "Give safetensors, or a state dict, of exactly this model.",
    ) from problem
