"""`geoclip`: GeoCLIP's image encoder, in the space of its location encoder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import nn

from geosearch.errors import ModelError
from geosearch.features.description import Description, Source, file_sha256, joined_sha256
from geosearch.features.geoclip_location import DIMENSION, LICENCE
from geosearch.features.hugging_face import opened, preprocessing_of
from geosearch.features.transformers_models import load_model
from geosearch.installation import optional

#: Of which the package `geoclip` has only what comes after it.
_CLIP = "openai/clip-vit-large-patch14"


def source(spec: str) -> Source:
    """Resolve the spec: CLIP's weights in Hugging Face's cache, and those of the package.

    Raises
    ------
    MissingExtraError
        `geoclip` is not installed.
    ModelError
        CLIP's weights are not in the cache and cannot be fetched.
    """
    if spec:
        raise ModelError(f"unknown model 'geoclip{spec}'", "Write geoclip")
    # Its package is compiled by what PyTorch will drop: nothing that its users could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit\.")
    package = optional("the model geoclip", "geoclip", "geoclip.model.image_encoder", "geoclip")
    head = Path(package.__file__).parent / "weights" / "image_encoder_mlp_weights.pth"
    files = opened(_CLIP, None, ("model.safetensors",))
    try:
        text = (files.folder / "preprocessor_config.json").read_text(encoding="utf-8")
        preprocessing = preprocessing_of(json.loads(text))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{files.folder}: its preprocessing cannot be read: {error}", f"hf download {_CLIP}"
        ) from error

    def load_trunk() -> nn.Module:
        with torch.device("meta"):
            encoder = package.ImageEncoder(from_pretrained=False)
        weights = torch.load(head, map_location="cpu", weights_only=True)
        encoder.mlp.load_state_dict(weights, assign=True)
        encoder.CLIP = load_model(files)
        trunk: nn.Module = encoder.requires_grad_(False).eval()
        return trunk

    description = Description(
        name="geoclip",
        architecture="geoclip, image encoder",
        weights_source=f"{files.source}, {files.weights[0].name}; PyPI geoclip, {head.name}",
        weights_sha256=joined_sha256([files.weights_sha256, file_sha256(head)]),
        preprocessing=preprocessing,
        pooling="own",
        dimension=DIMENSION,
        licence=LICENCE,
    )
    return Source(description, load_trunk=load_trunk, rests_on=(*files.rests_on, head))
