"""Small models of other libraries with random weights, each as its library keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
_VISION = _SMALL | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
WORDS = ("barn", "red", "a", "lake")


def timm_file(folder: Path, name: str = "test_vit", **options: Any) -> Path:
    """timm's weights of a small model, in safetensors."""
    torch.manual_seed(1)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name, pretrained=False, **options).state_dict(), path)
    return path


def transformers_folder(folder: Path, kind: str = "vit") -> Path:
    """A folder as `save_pretrained` makes it."""
    torch.manual_seed(2)
    folder = folder / kind
    text = _SMALL | {"num_attention_heads": 2, "vocab_size": 16, "max_position_embeddings": 8}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model: Any
    if kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**_VISION), add_pooling_layer=False)
    elif kind == "deit":
        config = transformers.DeiTConfig(**_VISION)
        model = transformers.DeiTModel(config, add_pooling_layer=False)
    elif kind == "dinov2":
        config = transformers.Dinov2WithRegistersConfig(**_VISION, num_register_tokens=4)
        model = transformers.Dinov2WithRegistersModel(config)
    elif kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        )
        model = transformers.ResNetModel(config)
    elif kind == "siglip":
        model = transformers.SiglipModel(
            transformers.SiglipConfig(text_config=text | ends, vision_config=_VISION)
        )
    else:
        wide = {"projection_dim": 768 if kind == "geoclip" else 24}
        config = transformers.CLIPConfig(
            text_config=text | wide | ends, vision_config=_VISION | wide, **wide
        )
        model = transformers.CLIPModel(config)
    model.eval().save_pretrained(folder)
    clip = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    processor: Any = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    if kind in ("clip", "geoclip"):
        processor = transformers.CLIPImageProcessor(**clip)
    processor.save_pretrained(folder)
    if kind in ("clip", "siglip"):
        names = {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "[UNK]": 3}
        names |= {word: 4 + number for number, word in enumerate(WORDS)}
        words = Tokenizer(WordLevel(names, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]", model_max_length=8
        ).save_pretrained(folder)
    return folder


OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {
        **{"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    },
}


def open_clip_folder(folder: Path) -> Path:
    """A folder with settings and weights, as open_clip puts on Hugging Face's hub."""
    torch.manual_seed(3)
    said = {"model_cfg": OPEN_CLIP, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    folder = folder / "open_clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(said), encoding="utf-8")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


HUBCONF = '''
dependencies = ["torch"]
import torch

def tiny(width=8, pretrained=True):
    """A network of one layer."""
    torch.manual_seed(width)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 16, 16), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(32, width),
    )
'''


def hub_folder(folder: Path) -> Path:
    """The folder of a repository for torch.hub."""
    folder = folder / "hub_repository"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    (folder / "LICENSE").write_text("MIT License\n\nCopyright", encoding="utf-8")
    return folder


def onnx_file(folder: Path, *, batch: int | str = "n", outside: str | None = None) -> Path:
    """A convolution of pictures of 32 pixels to a map of 4 × 4, in an ONNX file.

    `outside` is where its weights are said to be instead.
    """
    kernel = np.random.default_rng(4).normal(size=(6, 3, 8, 8)).astype(np.float32)
    weights = numpy_helper.from_array(kernel, "kernel")
    if outside is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=outside)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pictures", "kernel"], ["map"], strides=[8, 8])],
        "small",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [batch, 6, 4, 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"license": "CC0-1.0"})
    path = folder / "small.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def put_in_cache(cache: Path, repository: str, folder: Path, card: str = "") -> Path:
    """Put the files of a folder into Hugging Face's cache as a repository; returns them there."""
    place = cache / f"models--{repository.replace('/', '--')}"
    there = place / "snapshots" / COMMIT
    for made in (place / "refs", place / "blobs", there):
        made.mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    if card:
        (folder / "README.md").write_text(f"---\n{card}\n---\n", encoding="utf-8")
    for path in folder.iterdir():
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        (place / "blobs" / name).write_bytes(data)
        (there / path.name).symlink_to(Path("../../blobs") / name)
    return there


#: Kind → the spec of a small model made in a folder.
SPECS: dict[str, Callable[[Path], str]] = {
    "timm": lambda folder: f"timm/test_vit@{timm_file(folder)}",
    "transformers": lambda folder: f"transformers/{transformers_folder(folder)}",
    "open_clip": lambda folder: f"open_clip/{open_clip_folder(folder)}",
    "hub": lambda folder: f"hub/{hub_folder(folder)}:tiny(width=12)+side64",
    "onnx": lambda folder: f"onnx:{onnx_file(folder)}",
}


def bare(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Any:
    """What a network gives of images, as unit vectors in NumPy."""
    with torch.inference_mode():
        found = network(images)
    vectors = getattr(found, "pooler_output", found)
    return nn.functional.normalize(vectors, dim=1).numpy()
