"""`transformers/REPO[@REVISION][+POOLING]`: image models of Hugging Face's transformers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geosearch.errors import ModelError
from geosearch.features.description import Description, Source, check_pooling, file_sha256
from geosearch.features.hugging_face import Repository, opened, preprocessing_of
from geosearch.features.networks import Adapted, Tokens, width
from geosearch.installation import optional

_SPEC = re.compile(r"(?P<repo>[^@+]+)(@(?P<revision>[\w./-]+))?(\+(?P<pooling>\w+))?")
#: In the order they are preferred: safetensors carry no code.
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")


def _last(model: Any, images: Tensor) -> Tensor:
    """A model's last tokens (n, count, D), or map (n, D, height, width)."""
    last: Tensor = model(pixel_values=images).last_hidden_state
    return last


def _pictures(model: Any, images: Tensor) -> Tensor:
    """Of a model of pictures and words: the pictures in the space of both."""
    return _joint(model.get_image_features(pixel_values=images))


def _joint(found: Any) -> Tensor:
    """What `get_image_features` and its like mean, whatever they wrap it in."""
    features: Tensor = getattr(found, "pooler_output", found)
    return features


def source(spec: str) -> Source:
    """Resolve a spec; REPO is OWNER/NAME or a folder, by a path that begins with /, ./, ../ or ~.

    Raises
    ------
    MissingExtraError
        `transformers` is not installed.
    ModelError
        The model is not in the cache and cannot be fetched, needs code of its own, takes no square
        pictures, or has no such pooling.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ModelError(
            f"the model 'transformers/{spec}' is malformed",
            "Write transformers/OWNER/NAME[@REVISION][+avg|max|gem|token], such as "
            "transformers/facebook/dinov2-base",
        )
    library = _library()
    files = opened(match["repo"], match["revision"], _WEIGHTS)
    config = _read(files, library.AutoConfig.from_pretrained)
    preprocessing = preprocessing_of(
        _read(files, library.AutoImageProcessor.from_pretrained).to_dict()
    )
    with torch.device("meta"):
        bare = _read(files, lambda *_, **__: library.AutoModel.from_config(config))
    words = hasattr(bare, "get_image_features")
    special = 0 if words else _special(bare)
    known = ("own",) if words else (*["token"] * bool(special), "avg", "max", "gem")
    pooling = check_pooling(f"transformers/{spec}", match["pooling"], known)

    def trunk(model: Any) -> nn.Module:
        return (
            Adapted(model, _pictures) if words else Tokens(Adapted(model, _last), special, pooling)
        )

    def load_trunk() -> nn.Module:
        return trunk(load_model(files)).requires_grad_(False).eval()

    settings = file_sha256(files.folder / "config.json")
    description = Description(
        name=f"transformers/{spec}".replace(match["repo"], files.name, 1),
        architecture=f"transformers/{type(bare).__name__}, settings {settings[:16]}",
        weights_source=f"{files.source}, {', '.join(path.name for path in files.weights)}",
        weights_sha256=files.weights_sha256,
        preprocessing=preprocessing,
        pooling=pooling,
        dimension=width(trunk(bare), preprocessing.crop),
        licence=files.licence,
    )
    load_words = (lambda: _words(files)) if hasattr(bare, "get_text_features") else None
    return Source(
        description, load_trunk=load_trunk, load_words=load_words, rests_on=files.rests_on
    )


def _words(files: Repository) -> Callable[[str], NDArray[np.float32]]:
    """What embeds a text."""
    tokenizer = _read(files, _library().AutoTokenizer.from_pretrained)
    model = load_model(files).requires_grad_(False).eval()
    # SigLIP has learned from texts that were filled up, and looks at all of them.
    takes = ["input_ids"]
    if not model.config.model_type.startswith("siglip"):
        takes.append("attention_mask")
    most = model.config.text_config.max_position_embeddings

    def embed(text: str) -> NDArray[np.float32]:
        options = {"padding": "max_length", "truncation": True, "max_length": most}
        tokens = tokenizer([text], return_tensors="pt", **options)
        with torch.inference_mode():
            found = _joint(model.get_text_features(**{name: tokens[name] for name in takes}))
        vector: NDArray[np.float32] = found[0].numpy()
        return vector

    return embed


def _library() -> Any:
    library = optional("a model of transformers", "transformers", "transformers")
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def load_model(files: Repository) -> Any:
    """The whole model with its weights, in float32.

    Raises
    ------
    ModelError
        Its weights do not fit, or are missing but for a pooler that is not asked.
    """
    model, told = _read(
        files,
        _library().AutoModel.from_pretrained,
        output_loading_info=True,
        dtype=torch.float32,
        use_safetensors=files.weights[0].suffix == ".safetensors",
    )
    lost = [name for name in told["missing_keys"] if not re.match(r"(\w+\.)?pooler\.", name)]
    if lost or told["mismatched_keys"]:
        names = ", ".join([*map(str, lost), *map(str, told["mismatched_keys"])][:3])
        raise ModelError(f"{files.folder}: its weights do not fit it (such as {names})")
    return model


def _read(files: Repository, read: Callable[..., Any], **options: Any) -> Any:
    """What the library reads of a folder. It runs none of the code that may be there."""
    try:
        return read(str(files.folder), local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # of many types, for what is not its own
        raise ModelError(
            f"{files.folder}: transformers cannot read this model: {error}",
            "Give one that transformers knows; code that comes with a model is not run.",
        ) from error


def _special(model: Any) -> int:
    """How many of a model's tokens, the first, show no part of the photo."""
    known = re.compile(r"(cls|class|distillation)_(token|embedding)$")
    found = sum(bool(known.search(name)) for name, _ in model.named_parameters())
    return found + bool(found) * (getattr(model.config, "num_register_tokens", 0) or 0)
