"""Backbones by spec, each kind from a module of its own or from another package."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import check_choice
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import GeosearchError, InputError, ModelError
from geosearch.features.description import Description, Network, Source
from geosearch.features.hugging_face import is_folder
from geosearch.features.onnx import onnx_network
from geosearch.features.preprocessing import VIEWS
from geosearch.features.remembered_models import remembered
from geosearch.features.unit_vectors import normalised
from geosearch.installation import optional
from geosearch.settings import TrustSettings

if TYPE_CHECKING:
    from PIL import Image

    from geosearch.features.networks import EmbeddingNetwork

DEVICES = ("auto", "cuda", "mps", "cpu")

#: What a spec begins with → the module here whose `source` resolves the rest of it.
SOURCES = {
    "packaged/": "packaged",
    "torchvision/": "torchvision_models",
    "file:": "checkpoint",
    "geoclip": "geoclip_image",
    "onnx:": "onnx_file",
    "hub/": "hub_models",
    "open_clip/": "open_clip_models",
    "timm/": "timm_models",
    "transformers/": "transformers_models",
}
#: Those whose library is loaded to describe a model, which takes seconds.
_BY_LIBRARIES = ("torchvision/", "geoclip", "open_clip/", "timm/", "transformers/")
#: What the names of models begin with that only a database knows.
_STORED = ("external:", "whitened:", "places:")
#: Other packages add kinds by an entry point of this group: it is called with what follows its
#: name in `NAME/…`, and gives a `Source`.
PLUGINS = "geosearch.backbones"

_HELP = (
    "A model is one of: packaged/efficientnet-lite0; torchvision/NAME[@WEIGHTS][+avg|max|gem], "
    "such as torchvision/resnet50 or torchvision/vgg16+max; timm/NAME[.TAG]; "
    "open_clip/ARCH@PRETRAINED; transformers/REPO[@REVISION]; hub/OWNER/REPO@REF:ENTRY; onnx:FILE; "
    "geoclip; file:CHECKPOINT; NAME/… of a plug-in (docs/models.md). "
    "+views5 or +views9 after it takes several views of a photo. whitened:NAME is one that "
    "geosearch whiten made, external:NAME embeddings that were imported"
)
_VIEWS = re.compile(r"\+views(\d+)$")


class Backbone:
    """A network ready to embed photos, and its description. Made by `load_backbone`.

    `load_words`, where the model has one, makes what embeds a text (D) in the same space.
    """

    def __init__(
        self,
        description: Description,
        network: Network,
        load_words: Callable[[], Callable[[str], NDArray[np.float32]]] | None = None,
    ) -> None:
        self.description = description
        self.network = network
        self._load_words = load_words

    @property
    def device(self) -> str:
        """Where it runs: `cuda`, `mps` or `cpu`."""
        return self.network.device

    @property
    def batch_size(self) -> int:
        """Photos per call that suit the device."""
        # What layers make of more photos does not stay in the cache of a CPU.
        return max(1, (4 if self.device == "cpu" else 128) // self.description.views)

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels (side, side, 3), uint8 RGB, of an image opened by `geosearch.images.open_image`.

        With several views (views, side, side, 3).

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        return self.description.preprocessing.apply(image, self.description.views)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, dimension), float32, L2-normalised, of what `preprocess` gave of n photos.

        Of several views it is the mean, normalised again. A row is zero or not finite where the
        network gave nothing usable.
        """
        if self.description.views == 1:
            return self.network(pixels)
        each = self.network(pixels.reshape(-1, *pixels.shape[2:]))
        return normalised(each.reshape(*pixels.shape[:2], -1).mean(axis=1))

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """The embedding (dimension,) of a text, of length 1, in the space of the photos'.

        Raises
        ------
        InputError
            The model knows no words.
        """
        if self._words is None:
            raise InputError(
                f"{self.description.name} knows no words",
                "Ask a model of pictures and words: of open_clip, or CLIP and SigLIP of "
                "transformers.",
            )
        (vector,) = normalised(self._words(text)[None])
        unit: NDArray[np.float32] = vector
        return unit

    @cached_property
    def _words(self) -> Callable[[str], NDArray[np.float32]] | None:
        return None if self._load_words is None else self._load_words()


class _Later:
    """A network that is made when it is first called; not safe to call from several threads."""

    def __init__(self, device: str, make: Callable[[], Network]) -> None:
        self.device = device
        self._make = make

    @cached_property
    def _network(self) -> Network:
        return self._make()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._network(pixels)


def load_backbone(
    spec: str = DEFAULT_MODEL, *, device: str = "auto", at_once: bool = True
) -> Backbone:
    """Load a backbone; `geosearch.features.whitening.find_backbone` finds whitened ones too.

    Parameters
    ----------
    spec
        As docs/models.md lists them: one of `SOURCES`, or of a plug-in; each may end in `+views5`
        or `+views9`.
    device
        `auto` (CUDA, else MPS, else CPU), `cuda`, `mps` or `cpu`.
    at_once
        False leaves making the network to the first call, which may never come: then it is safe
        in one thread only, and wrong weights show there.
    Raises
    ------
    ModelError
        Unknown spec, or weights that are missing, altered or of another architecture.
    MissingExtraError
        The library that the model is of is not installed.
    InputError
        The device is unknown or not there.
    """
    source = resolve(spec)
    place = find_device(device)

    def network() -> Network:
        if source.network is not None:
            return source.network(place)
        if place == "cpu":
            exported = onnx_network(source.description, lambda: build_network(source))
            if exported is not None:
                return exported
        from geosearch.features.pytorch import TorchNetwork

        return TorchNetwork(build_network(source), place)

    made = network() if at_once else _Later(place, network)
    return Backbone(source.description, made, source.load_words)


def build_network(source: Source) -> EmbeddingNetwork:
    """A source's network in PyTorch, on the CPU, ready for inference. Raises ModelError."""
    wanted = source.description
    optional(f"preparing {wanted.name}", "torch", "torch", "torchvision", "onnxscript")
    from geosearch.features.networks import EmbeddingNetwork, Scaling, extractor

    if source.load_trunk is not None:
        trunk = source.load_trunk()
    else:
        trunk = extractor(wanted.architecture, source.weights(), wanted.preprocessing)
    return EmbeddingNetwork([Scaling(wanted.preprocessing), trunk], wanted.pooling).eval()


def resolve(spec: str) -> Source:
    """What a spec stands for: its description, and where its weights are. Builds no network.

    Raises ModelError as `load_backbone` does.
    """
    spec = spec.strip()
    if several := _VIEWS.search(spec):
        views = _known_views(int(several[1]))
        source = resolve(spec[: several.start()])
        if _VIEWS.search(spec[: several.start()]):
            raise ModelError(f"the model {spec!r} says twice how many views it takes", _HELP)
        name = source.description.name + (several[0] if views > 1 else "")
        return replace(source, description=replace(source.description, name=name, views=views))
    for prefix, module in SOURCES.items():
        if spec.startswith(prefix):
            describe = partial(_described, spec, prefix, module)
            return remembered(spec, describe) if prefix in _BY_LIBRARIES else describe()
    return _plugged_in(spec)


def _described(spec: str, prefix: str, module: str) -> Source:
    kind = optional(f"the model {spec}", "torch", f"geosearch.features.{module}")
    found: Source = kind.source(spec.removeprefix(prefix))
    return found


def _plugged_in(spec: str) -> Source:
    """What another package's entry point makes of a spec."""
    if spec.startswith(_STORED):
        raise ModelError(
            f"{spec} cannot be taken here: it is no network, but made of embeddings",
            "Name the model of a network: docs/models.md",
        )
    name, _, rest = spec.partition("/")
    plugins = entry_points(group=PLUGINS)
    if name not in plugins.names:
        raise ModelError(f"unknown model {spec!r}", _HELP)
    try:
        source = plugins[name].load()(rest)
    except GeosearchError:
        raise
    except Exception as error:  # code of others
        raise ModelError(
            f"the plug-in of {spec!r}, {plugins[name].value}, fails: "
            f"{type(error).__name__}: {error}",
            f"See what it takes after {name}/, or update or remove its package.",
        ) from error
    if not isinstance(source, Source):
        raise ModelError(f"the plug-in of {spec!r}, {plugins[name].value}, gives no Source")
    return source


def stored_spec(spec: str) -> str:
    """A spec that the database names, which another may have written there.

    Raises
    ------
    ModelError
        It would run code, of a repository or folder that `GEOSEARCH_TRUST_CODE` does not name.
    """
    place = spec.removeprefix("hub/").rsplit(":", 1)[0]
    if not is_folder(place):
        place = place.split("@")[0]
    if spec.startswith("hub/") and place.lower() not in TrustSettings().code:
        raise ModelError(
            f"the database names the model {spec}, which would run code from {place} here",
            f"If you trust it, set GEOSEARCH_TRUST_CODE={place}",
        )
    return spec


def with_views(spec: str, views: int) -> str:
    """The spec of a model that takes so many views, one of `VIEWS`. Raises ModelError."""
    return f"{spec}+views{_known_views(views)}"


def _known_views(views: int) -> int:
    if views not in VIEWS:
        raise ModelError(f"there is no model of {views} views", "Choose 1, 5 or 9.")
    return views


def find_device(device: str) -> str:
    """`cuda`, `mps` or `cpu` for one of `DEVICES`. Raises InputError as `load_backbone` does."""
    check_choice("device", device, DEVICES)
    if device == "cpu" or (device == "auto" and not _accelerator_likely()):
        return "cpu"
    from geosearch.features.pytorch import available

    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available(name))
    if not available(device):
        raise InputError(
            f"`device`: PyTorch sees no {device} here", "Give `device` auto, or install its driver."
        )
    return device


def _accelerator_likely() -> bool:
    """Whether to ask PyTorch at all: importing it takes seconds."""
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return sys.platform != "linux" or any(Path(driver).exists() for driver in drivers)
