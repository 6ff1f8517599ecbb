"""Architectures as PyTorch modules: feature extractor, pooling, and the whole embedding network.

Importing this imports torch, which takes seconds; import it only where a network is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
import torchvision.models as zoo
from torch import Tensor, nn

from geosearch.errors import ModelError
from geosearch.features.description import GEM_EXPONENT
from geosearch.features.preprocessing import Preprocessing

_LITE0 = "efficientnet-lite0"
_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_FEATURES = (
    zoo.AlexNet,
    zoo.ConvNeXt,
    zoo.EfficientNet,
    zoo.MobileNetV2,
    zoo.MobileNetV3,
    zoo.SqueezeNet,
)
#: Name prefixes of the torchvision classifiers whose feature map is known below.
_FAMILIES = (
    "alexnet",
    "convnext",
    "densenet",
    "efficientnet",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resne",
    "shufflenet",
    "squeezenet",
    "swin",
    "vgg",
    "vit",
    "wide_resnet",
)


class Scaling(nn.Module):
    """Pixels (n, height, width, 3), uint8 RGB → what a trunk takes (n, 3, height, width)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.flip = preprocessing.channels == "BGR"
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale a batch."""
        # NHWC in memory seen as NCHW is what PyTorch calls channels_last: no copy.
        images = pixels.permute(0, 3, 1, 2).float()
        if self.flip:
            images = images.flip(1)
        scaled: Tensor = (images - self.mean) / self.std
        return scaled


class EmbeddingNetwork(nn.Module):
    """Steps in turn, the last up to a feature map → embeddings (n, dimension), float32, L2 = 1.

    It takes what the first step takes: pixels, where that is `Scaling`.
    """

    def __init__(self, steps: Iterable[nn.Module], pooling: str) -> None:
        super().__init__()
        self.steps = nn.Sequential(*steps)
        self.pooling = pooling

    def forward(self, batch: Tensor) -> Tensor:
        """Embed a batch."""
        features = self.steps(batch).float()
        return nn.functional.normalize(pool(features, self.pooling), dim=1)


def pool(features: Tensor, pooling: str) -> Tensor:
    """Pool a feature map (n, channels, height, width) to (n, channels).

    `gem` is the generalised mean (mean x³)^(1/3); `token` and `own` pass (n, channels) through.
    """
    if pooling == "avg":
        return features.mean((2, 3))
    if pooling == "max":
        return features.amax((2, 3))
    if pooling == "gem":
        powers = features.clamp(min=1e-6) ** GEM_EXPONENT
        return powers.mean((2, 3)) ** (1 / GEM_EXPONENT)
    return features


class Adapted(nn.Module):
    """A network of another library: `ask(model, images)` gives what is taken of it as features."""

    def __init__(self, model: nn.Module, ask: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self._ask = model, ask

    def forward(self, images: Tensor) -> Tensor:
        """Features of a batch."""
        return self._ask(self.model, images)


class Tokens(nn.Module):
    """A transformer → its class token (n, D) for the pooling `token`, else a map (n, D, others, 1).

    `found` gives its tokens (n, count, D), of which the first `special` show no part of the photo,
    or a map that it passes on.
    """

    def __init__(self, found: nn.Module, special: int, pooling: str) -> None:
        super().__init__()
        self.found, self.special, self.pooling = found, special, pooling

    def forward(self, images: Tensor) -> Tensor:
        """Features of a batch."""
        features: Tensor = self.found(images)
        if features.ndim != 3:
            return features
        if self.pooling == "token":
            return features[:, 0]
        return features[:, self.special :].transpose(1, 2).unsqueeze(3)


def width(trunk: nn.Module, side: int) -> int:
    """Length of the features that a trunk on the device `meta` gives of images of a side."""
    with torch.inference_mode():
        return int(trunk.eval()(torch.empty(1, 3, side, side, device="meta")).shape[1])


@cache
def architectures() -> tuple[str, ...]:
    """All architectures `extractor` can build."""
    names = zoo.list_models(module=zoo)
    return (_LITE0, *(f"torchvision/{name}" for name in names if name.startswith(_FAMILIES)))


def poolings(architecture: str) -> tuple[str, ...]:
    """Poolings an architecture can have, its default first."""
    if architecture.startswith("torchvision/vit_"):
        return ("token",)
    return ("avg", "max", "gem")


def feature_dimension(architecture: str, preprocessing: Preprocessing) -> int:
    """Length of an architecture's embeddings, found on tensors without memory."""
    return width(_trunk(_network(architecture, preprocessing.crop)), preprocessing.crop)


def extractor(
    architecture: str, weights: Mapping[str, Tensor], preprocessing: Preprocessing
) -> nn.Module:
    """The part of a network up to its last feature map, with `weights`, ready for inference.

    `weights` has the names of the architecture's own state dict; its classifier may be left out.

    Raises
    ------
    ModelError
        Unknown architecture, or weights that do not fit it.
    """
    return loaded(architecture, weights, preprocessing)[1].requires_grad_(False)


def loaded(
    architecture: str, weights: Mapping[str, Tensor], preprocessing: Preprocessing
) -> tuple[nn.Module, nn.Module]:
    """A whole network, whose names are those of its state dict, and its trunk; both in eval mode.

    The two share the trunk's modules; what the network has besides, its classifier, holds no
    memory. Raises as `extractor` does.
    """
    if architecture not in architectures():
        raise ModelError(
            f"unknown architecture {architecture!r}", f"Known: {', '.join(architectures())}"
        )
    network = _network(architecture, preprocessing.crop)
    if isinstance(network, zoo.DenseNet):  # weights of old torchvision write norm.1 for norm1
        weights = {_DENSENET_KEY.sub(r"\1\2", name): value for name, value in weights.items()}
    try:
        unexpected = network.load_state_dict(weights, strict=False, assign=True).unexpected_keys
    except RuntimeError as error:
        raise ModelError(f"the weights do not fit {architecture}: {error}") from error
    part = _trunk(network)
    missing = [name for name, value in part.state_dict().items() if value.is_meta]
    if unexpected or missing:
        raise ModelError(
            f"the weights do not fit {architecture}: {len(missing)} tensors are missing, "
            f"{len(unexpected)} unknown (such as {', '.join([*unexpected, *missing][:3])})",
            "Give the state dict of exactly this architecture.",
        )
    return network.eval(), part.float().eval()


def stages(trunk: nn.Module) -> list[nn.Module]:
    """The steps of a trunk, first to last: its children, with nested `nn.Sequential` laid flat."""
    if type(trunk) is not nn.Sequential:  # a subclass may do more than its children in turn
        return [trunk]
    return [stage for child in trunk for stage in stages(child)]


def _network(architecture: str, side: int) -> nn.Module:
    """The whole network without memory: its tensors wait for weights to be assigned."""
    name = architecture.removeprefix("torchvision/")
    # RegNet computes its layout with tensors, which takes ones that hold values.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        if name == _LITE0:
            from efficientnet_lite_pytorch import EfficientNet

            # Its padding depends on the size of the input.
            network: nn.Module = EfficientNet.from_name(_LITE0, image_size=side)
        else:
            options = {"image_size": side} if name.startswith("vit_") else {}
            network = zoo.get_model(name, weights=None, **options)
    return network.to("meta")


def _trunk(network: Any) -> nn.Module:
    """The modules of `network` that lead to its last feature map (shared, not copied)."""
    match network:
        case zoo.VGG():
            # Up to the last convolution and its ReLU: conv5_3 in VGG-16. The max pool after it
            # would change nothing under `max` and blur `avg`.
            return nn.Sequential(*network.features[:-1])
        case zoo.DenseNet():
            return nn.Sequential(network.features, nn.ReLU())
        case zoo.SwinTransformer():
            return nn.Sequential(network.features, network.norm, network.permute)
        case zoo.VisionTransformer():
            network.heads = nn.Identity()
            return nn.Sequential(network)
        case zoo.RegNet():
            return nn.Sequential(network.stem, network.trunk_output)
        case zoo.MNASNet():
            return nn.Sequential(network.layers)
        case zoo.ShuffleNetV2():
            names: tuple[str, ...] = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
        case zoo.ResNet():
            names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        case _ if isinstance(network, _FEATURES):
            return nn.Sequential(network.features)
        case _:  # EfficientNet-Lite, up to the feature map of its head convolution
            return nn.Sequential(
                *(network._conv_stem, network._bn0, network._swish),
                *network._blocks,
                *(network._conv_head, network._bn1, network._swish),
            )
    return nn.Sequential(*(getattr(network, name) for name in names))
