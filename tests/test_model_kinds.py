"""Models of other libraries: what each kind of spec stands for, offline, with random weights."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from huggingface_hub import constants
from PIL import Image

import geosearch
from geosearch.database.connection import Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError, MissingExtraError, ModelError
from geosearch.features import Backbone, backbones, embed, load_backbone
from geosearch.features.backbones import build_network, resolve, stored_spec
from geosearch.features.geoclip_location import encode_places
from geosearch.features.hugging_face import preprocessing_of
from geosearch.features.licences import remark
from geosearch.features.model_rows import find_model
from geosearch.features.preprocessing import Preprocessing
from geosearch.ingest import ingest
from geosearch.localization import Localization
from geosearch.localization.localizing import localize
from tests import foreign_models as made
from tests.photo_files import photos_at

_CROPPED = (256, 224, "crop")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: Any) -> None:
    """No network, an empty cache, and, but in system tests, no export to ONNX, which takes long."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    if "exported" not in request.node.name:
        monkeypatch.setattr(backbones, "onnx_network", lambda *_: None)


def picture(side: int) -> Image.Image:
    """A square that needs no resizing."""
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))


def embedded(backbone: Backbone, image: Image.Image) -> Any:
    """The embedding (1, D) of an image."""
    return backbone.embed(backbone.preprocess(image)[None])


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind == "onnx" else pytest.param(kind, marks=pytest.mark.system)
        for kind in made.SPECS
    ],
)
def test_a_model_of_each_kind_embeds_is_recorded_and_searched(
    kind: str, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    photos_at(folder, [(10 + n, 20) for n in range(4)], size=(96, 72))
    ingest(database, [folder], collection="mine")
    spec = made.SPECS[kind](tmp_path)

    summary = embed(database, spec, device="cpu")

    assert (summary.embedded, summary.rejected) == (4, 0)
    described = resolve(spec).description
    with database.connection() as connection:
        row = find_model(connection, described.name)
    assert row.fingerprint == described.fingerprint
    assert row.weights_sha256 == described.weights_sha256
    (answer,) = localize(database, [folder / "2.jpg"], model=spec, device="cpu")
    assert isinstance(answer, Localization)
    assert (answer.lat, answer.lon) == pytest.approx((12, 20), abs=1e-6)


def test_timm_embeds_as_timm_does(tmp_path: Path) -> None:
    path = made.timm_file(tmp_path)
    model = timm.create_model("test_vit", checkpoint_path=str(path)).eval()
    config = timm.data.resolve_data_config(model=model)
    image = picture(168)
    images = timm.data.create_transform(**config)(image)[None]
    backbone = load_backbone(f"timm/test_vit@{path}", device="cpu")
    model.reset_classifier(0)
    assert embedded(backbone, image) == pytest.approx(made.bare(model, images), abs=1e-4)
    tokens = model.forward_features(images).detach()
    for pooling, features in (("token", tokens[:, 0]), ("max", tokens[:, 1:].amax(1))):
        other = load_backbone(f"timm/test_vit@{path}+{pooling}", device="cpu")
        wanted = torch.nn.functional.normalize(features, dim=1).numpy()
        assert embedded(other, image) == pytest.approx(wanted, abs=1e-4)
        assert other.description.fingerprint != backbone.description.fingerprint


def test_timm_maps_are_pooled_whatever_their_order(tmp_path: Path) -> None:
    path = made.timm_file(tmp_path, "test_resnet", num_classes=0)
    described = resolve(f"timm/test_resnet@{path}+gem").description
    assert (described.pooling, described.dimension) == ("gem", 96)
    with pytest.raises(ModelError, match="no pooling 'token'"):
        resolve(f"timm/test_resnet@{path}+token")


def test_timm_weights_of_a_tag_come_from_the_cache(tmp_path: Path) -> None:
    spec = "timm/test_vit.r160_in1k"
    with pytest.raises(ModelError, match="not in the cache") as missing:
        resolve(spec)
    assert "hf download timm/test_vit.r160_in1k" in str(missing.value)
    made.timm_file(tmp_path).rename(tmp_path / "model.safetensors")
    folder = tmp_path / "served"
    folder.mkdir()
    (tmp_path / "model.safetensors").rename(folder / "model.safetensors")
    cached = made.put_in_cache(tmp_path / "cache", "timm/test_vit.r160_in1k", folder)
    described = resolve("timm/test_vit").description
    assert described.name == spec
    with pytest.raises(ModelError, match=r"no model 'test_vit\.other' with weights") as unknown:
        resolve("timm/test_vit.other")
    assert "test_vit.r160_in1k" in (unknown.value.remedy or "")
    assert made.COMMIT in described.weights_source
    assert described.weights_sha256 == (cached / "model.safetensors").resolve().name
    assert described.licence == "apache-2.0"

    (cached / "model.safetensors").resolve().write_bytes(b"other weights")
    with pytest.raises(ModelError, match="its sha256 is not"):
        resolve(spec)


@pytest.mark.parametrize(
    ("kind", "side", "poolings"),
    [
        ("vit", 32, ["token", "avg", "max", "gem"]),
        ("dinov2", 32, ["token", "avg"]),
        ("deit", 32, ["token", "avg"]),
        ("resnet", 32, ["avg", "max"]),
        ("clip", 40, ["own"]),
        ("siglip", 32, ["own"]),
    ],
)
def test_transformers_embed_as_transformers_do(
    kind: str, side: int, poolings: list[str], tmp_path: Path
) -> None:
    folder = made.transformers_folder(tmp_path, kind)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    processor: Any = transformers.AutoImageProcessor.from_pretrained(folder)
    image = picture(side)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    if poolings == ["own"]:
        found = {"own": made.bare(lambda x: model.get_image_features(pixel_values=x), pixels)}
    else:
        last = model(pixel_values=pixels).last_hidden_state.detach()
        special = {"vit": 1, "dinov2": 5, "deit": 2}.get(kind, 0)
        features = last[:, special:].transpose(1, 2) if last.ndim == 3 else last.flatten(2)
        found = {"token": last[:, 0], "avg": features.mean(2), "max": features.amax(2)}
        found = {
            name: torch.nn.functional.normalize(each, dim=1).numpy()
            for name, each in found.items()
            if each.ndim == 2
        }
    first = load_backbone(f"transformers/{folder}", device="cpu")
    assert first.description.pooling == poolings[0]
    assert embedded(first, image) == pytest.approx(found[poolings[0]], abs=1e-4)
    for pooling in poolings[1:3]:
        other = load_backbone(f"transformers/{folder}+{pooling}", device="cpu")
        assert embedded(other, image) == pytest.approx(found[pooling], abs=1e-4)


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("cc-by-nc-4.0", "allows no commercial use"),
        ("dinov3-license", "has terms of its own"),
        ("fair-noncommercial-research-license", "allows no commercial use"),
        ("mit, cc-by-nc-4.0", "allows no commercial use"),
        ("apache-2.0, gemma", "has terms of its own"),
        *((free, None) for free in ("apache-2.0", "MIT", "cc-by-4.0", "GPL-3.0", None)),
    ],
)
def test_a_licence_that_asks_for_something_is_said(licence: str | None, said: str | None) -> None:
    described = replace(resolve(DEFAULT_MODEL).description, licence=licence)
    assert (remark(described) or "").endswith(said or "")
    assert (remark(described) is None) == (said is None)


def test_a_repository_of_transformers_comes_from_the_cache_with_its_licence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not in the cache") as missing:
        resolve("transformers/me/street@v2")
    assert "snapshot_download('me/street', revision='v2')" in str(missing.value)
    folder = made.transformers_folder(tmp_path)
    made.put_in_cache(tmp_path / "cache", "me/street", folder, "license: cc-by-nc-4.0")
    described = resolve("transformers/me/street+avg").description
    assert described.name == "transformers/me/street+avg"
    assert described.licence == "cc-by-nc-4.0"
    assert (
        described.weights_source == f"huggingface.co/me/street at {made.COMMIT}, model.safetensors"
    )
    assert resolve(f"transformers/me/street@{made.COMMIT}").description.pooling == "token"


def test_weights_that_lack_some_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = made.transformers_folder(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"do not fit it \(such as layernorm.weight"):
        build_network(resolve(f"transformers/{folder}"))
    path = made.timm_file(tmp_path)
    weights = load_file(path)
    del weights["norm.weight"]
    save_file(weights, path)
    with pytest.raises(ModelError, match="cannot be loaded into timm/test_vit"):
        build_network(resolve(f"timm/test_vit@{path}"))


def test_open_clip_embeds_as_open_clip_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.open_clip_folder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(logging.getLogger(), "handlers", [])
        build_network(resolve(f"open_clip/{folder}"))
        assert logging.getLogger().handlers == []
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    image = picture(32)
    backbone = load_backbone(f"open_clip/{folder}", device="cpu")
    wanted = made.bare(model.eval().encode_image, transform(image)[None])
    assert embedded(backbone, image) == pytest.approx(wanted, abs=1e-4)

    path = folder / "open_clip_model.safetensors"
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", made.OPEN_CLIP)
    described = resolve(f"open_clip/tiny@{path}").description
    assert described.weights_sha256 == backbone.description.weights_sha256
    assert described.preprocessing != backbone.description.preprocessing
    for spec, said in (("tiny", "no weights"), ("tiny@other", "ARCH"), ("none@x", "no model")):
        with pytest.raises(ModelError, match=f"{said}|FILE"):
            resolve(f"open_clip/{spec}")
    with pytest.raises(ModelError, match=r"timm/resnet50_clip\.openai is not in the cache"):
        resolve("open_clip/RN50@openai")


def test_hub_runs_what_a_folder_makes(tmp_path: Path) -> None:
    folder = made.hub_folder(tmp_path)
    spec = f"hub/{folder}:tiny(width=12)+side64"
    backbone = load_backbone(spec, device="cpu")
    described = backbone.description
    assert (described.name, described.dimension, described.licence) == (spec, 12, "MIT")
    network: Any = torch.hub.load(str(folder), "tiny", source="local", width=12)  # type: ignore[no-untyped-call]
    image = picture(64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((torch.from_numpy(np.array(image)) / 255 - mean) / std).permute(2, 0, 1)[None]
    assert embedded(backbone, image) == pytest.approx(made.bare(network, images), abs=1e-4)

    (folder / "more.py").write_text("# other code")
    assert resolve(spec).description.fingerprint != described.fingerprint
    with pytest.raises(ModelError, match="other makes no model") as error:
        resolve(f"hub/{folder}:other")
    assert "tiny" in str(error.value)


def test_hub_fetches_no_code_that_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for spec in ("me/models:tiny", "../me@x:tiny()()", "me/../x@y:tiny"):
        with pytest.raises(ModelError, match="malformed"):
            resolve(f"hub/{spec}")
    with pytest.raises(ModelError, match="would run the code of its authors") as error:
        resolve("hub/me/models@v1:tiny")
    assert "GEOSEARCH_TRUST_CODE=me/models" in str(error.value)
    fetched = []

    def fetch(*arguments: Any, **_: Any) -> None:
        fetched.append(arguments)
        folder = tmp_path / "torch" / "hub"
        folder.mkdir(parents=True)
        made.hub_folder(folder).rename(folder / "me_models_v1")

    monkeypatch.setattr(torch.hub, "list", fetch)
    monkeypatch.setenv("GEOSEARCH_TRUST_CODE", "you/more, Me/Models")
    assert resolve("hub/me/models@v1:tiny").description.dimension == 8
    monkeypatch.delenv("GEOSEARCH_TRUST_CODE")
    described = resolve("hub/me/models@v1:tiny").description
    assert described.weights_source.startswith("torch.hub me/models@v1, code ")
    assert fetched == [("me/models:v1",)]

    # What the database names, another may have written.
    with pytest.raises(ModelError, match="would run code from me/models"):
        stored_spec("hub/me/models@v1:tiny")
    monkeypatch.setenv("GEOSEARCH_TRUST_CODE", "me/models")
    assert stored_spec("hub/me/models@v1:tiny") == "hub/me/models@v1:tiny"
    # A folder has its whole name, and no revision.
    monkeypatch.setenv("GEOSEARCH_TRUST_CODE", "/models/mine")
    assert stored_spec("hub//models/mine:tiny") == "hub//models/mine:tiny"
    with pytest.raises(ModelError, match="would run code"):
        stored_spec("hub//models/mine@other:tiny")


@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_onnx_files_run_as_they_are(tmp_path: Path, batch: Any) -> None:
    path = made.onnx_file(tmp_path, batch=batch)
    backbone = load_backbone(f"onnx:{path}+max", device="cpu")
    described = backbone.description
    assert (described.pooling, described.dimension, described.licence) == ("max", 6, "CC0-1.0")
    kernel = torch.from_numpy(np.random.default_rng(4).normal(size=(6, 3, 8, 8))).float()
    image = picture(32)
    pixels = np.stack([backbone.preprocess(image), backbone.preprocess(image.rotate(90))])
    mean, std = np.array(described.preprocessing.mean), np.array(described.preprocessing.std)
    images = torch.from_numpy((pixels - mean) / std).float().permute(0, 3, 1, 2)
    maps = torch.nn.functional.conv2d(images, kernel, stride=8)
    wanted = torch.nn.functional.normalize(maps.amax((2, 3)), dim=1).numpy()
    assert backbone.embed(pixels) == pytest.approx(wanted, abs=1e-4)

    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"height": 36, "width": 36}, "do_center_crop": true, "crop_size": 32,'
        '"resample": 3}'
    )
    taken = resolve(f"onnx:{path}").description.preprocessing
    assert (taken.resize, taken.crop, taken.fit) == (36, 32, "squash")
    assert taken.interpolation == "bicubic"
    with pytest.raises(ModelError, match="64 pixels are asked for, and of 32"):
        resolve(f"onnx:{path}+side64")
    with pytest.raises(InputError, match="run on the processor"):
        resolve(f"onnx:{path}").network("cuda")  # type: ignore[misc]


def test_an_onnx_file_in_the_cache_has_what_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    made.onnx_file(folder, outside="small.onnx_data")
    weights = np.random.default_rng(4).normal(size=(6, 3, 8, 8)).astype(np.float32)
    (folder / "small.onnx_data").write_bytes(weights.tobytes())
    (folder / "preprocessor_config.json").write_text('{"size": 32, "resample": 0}')
    cached = made.put_in_cache(tmp_path / "cache", "me/small", folder)
    backbone = load_backbone(f"onnx:{cached / 'small.onnx'}", device="cpu")
    assert backbone.description.preprocessing.interpolation == "nearest"
    there = load_backbone(f"onnx:{folder / 'small.onnx'}", device="cpu")
    assert backbone.description.fingerprint == there.description.fingerprint
    image = picture(32)
    assert embedded(backbone, image) == pytest.approx(embedded(there, image), abs=1e-6)


@pytest.mark.system
def test_geoclip_is_clip_and_what_its_package_adds(database: Database, tmp_path: Path) -> None:
    from geoclip import ImageEncoder

    with pytest.raises(ModelError, match="hf download openai/clip-vit-large-patch14"):
        resolve("geoclip")
    folder = made.transformers_folder(tmp_path, "geoclip")
    made.put_in_cache(tmp_path / "cache", "openai/clip-vit-large-patch14", folder)
    backbone = load_backbone("geoclip", device="cpu")
    assert backbone.description.dimension == 512
    with torch.device("meta"):
        encoder: Any = ImageEncoder(from_pretrained=False)
    encoder.CLIP = transformers.CLIPModel.from_pretrained(folder).eval()
    head = Path(timm.__file__).parents[1] / "geoclip/model/weights/image_encoder_mlp_weights.pth"
    encoder.mlp.load_state_dict(torch.load(head, weights_only=True), assign=True)
    processor: Any = transformers.AutoImageProcessor.from_pretrained(folder)
    image = picture(40)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    asked = embedded(backbone, image)
    assert asked == pytest.approx(made.bare(encoder, pixels), abs=1e-4)

    # And so are pictures placed where nobody took any.
    points = tmp_path / "points.csv"
    points.write_text("lat,lon\n47,8\n-34,18\n60,25\n")
    image.save(tmp_path / "asked.png")
    with geosearch.connect(database.url) as gs:
        gs.gallery(points=points)
        found = gs.nearest(tmp_path / "asked.png", 3, model="places:geoclip")
    places = encode_places(np.array([[47.0, 8], [-34, 18], [60, 25]]))
    near = np.argsort(-(places @ asked[0]))
    assert found.lat.tolist() == np.array([47, -34, 60])[near].tolist()

    next((tmp_path / "cache").rglob("model.safetensors")).resolve().write_bytes(b"other weights")
    with pytest.raises(ModelError, match="its sha256 is not"):
        resolve("geoclip")


@pytest.mark.parametrize(
    ("package", "extra", "spec"),
    [
        ("timm", "timm", "timm/resnet18"),
        ("open_clip", "open-clip", "open_clip/RN50@openai"),
        ("transformers", "transformers", "transformers/me/street"),
        ("geoclip.model.image_encoder", "geoclip", "geoclip"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    package: str, extra: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as error:
        resolve(spec)
    assert extra in (error.value.remedy or "")


@pytest.mark.parametrize(
    ("said", "resize", "crop", "fit"),
    [
        ({"size": 224, "crop_size": 224, "do_center_crop": True}, 224, 224, "crop"),
        ({"size": 224}, 224, 224, "squash"),
        ({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}, *_CROPPED),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, *_CROPPED),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.95}, 384, 384, "squash"),
        ({"size": {"height": 64, "width": 64}, "do_normalize": False}, 64, 64, "squash"),
    ],
)
def test_settings_of_image_processors_are_read(
    said: dict[str, Any], resize: int, crop: int, fit: str
) -> None:
    taken = preprocessing_of(said)
    assert (taken.resize, taken.crop, taken.fit) == (resize, crop, fit)
    plain = not said.get("do_normalize", True)
    assert taken.mean[0] == (0 if plain else pytest.approx(123.675))
    assert taken.std[0] == (255 if plain else pytest.approx(58.395))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"size": {"height": 224, "width": 336}},
        {"size": {"longest_edge": 224}},
        {"size": 224, "crop_size": {"height": 2, "width": 1}, "do_center_crop": True},
        {"size": 224, "image_mean": [0.5]},
        {"size": 224, "resample": 9},
    ],
)
def test_settings_that_cannot_be_done_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="preprocessing"):
        preprocessing_of(said)


def test_a_whole_photo_is_squashed_where_the_model_asks_for_it() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    taken = Preprocessing(30, 30, (0, 0, 0), (1, 1, 1), "nearest", fit="squash")
    (row,) = np.unique(taken.apply(image), axis=0)
    assert (row[:, 2] == 255).tolist() == [False] * 10 + [True] * 10 + [False] * 10
    cropped = Preprocessing(30, 10, (0, 0, 0), (1, 1, 1), "nearest", fit="squash").apply(image)
    assert np.unique(cropped.reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize("kind", ["timm", "transformers", "open_clip"])
def test_what_a_library_said_of_a_model_is_known_while_its_files_are_what_they_were(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AskedError(Exception):
        """The library is asked."""

    def ask(*_: Any) -> Any:
        raise AskedError

    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "made"))
    spec = made.SPECS[kind](tmp_path)
    described = resolve(spec)
    views = resolve(f"{spec}+views5").description
    with monkeypatch.context() as patched:
        patched.setattr(backbones, "optional", ask)
        known = resolve(spec)
        assert known.description == described.description
        assert resolve(f"{spec}+views5").description == views
        assert (known.load_words is None) == (described.load_words is None)
        with pytest.raises(AskedError):  # to build it
            build_network(known)
        (weights,) = tmp_path.rglob("*.safetensors")
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(AskedError):
            resolve(spec)
        weights.write_bytes(whole)
        resolve(spec)
        if kind != "timm":  # its card says another licence
            (weights.parent / "README.md").write_text("---\nlicense: mit\n---\n")
            with pytest.raises(AskedError):
                resolve(spec)
    if kind != "timm":
        assert resolve(spec).description.licence == "mit"
    (kept,) = (tmp_path / "made" / "models").iterdir()
    kept.write_text("{}")
    assert resolve(spec).description.fingerprint == described.description.fingerprint


@pytest.mark.system
@pytest.mark.parametrize("kind", [kind for kind in made.SPECS if kind != "onnx"])
def test_a_model_of_each_kind_is_exported_to_onnx(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geosearch.features.onnx import TOLERANCE, OnnxNetwork

    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "networks"))
    spec = made.SPECS[kind](tmp_path)
    backbone = load_backbone(spec, device="cpu")
    assert isinstance(backbone.network, OnnxNetwork)
    side = backbone.description.preprocessing.crop
    pixels = np.random.default_rng(6).integers(0, 255, (3, side, side, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = build_network(resolve(spec))(torch.from_numpy(pixels)).numpy()
    assert np.max(1 - np.sum(backbone.embed(pixels) * wanted, axis=1)) < TOLERANCE
