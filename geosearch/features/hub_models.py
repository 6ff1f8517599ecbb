"""`hub/OWNER/REPO@REF:ENTRY`: models that torch.hub makes, by running the code of others.

ENTRY may have arguments, as `get_trained_model(backbone=ResNet50,fc_output_dim=2048)`. `+side322`
after it is the side of the squares it takes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geosearch.arguments import at_home
from geosearch.errors import ModelError
from geosearch.features.description import Description, Source
from geosearch.features.hugging_face import is_folder, preprocessing_of
from geosearch.features.networks import Adapted
from geosearch.settings import TrustSettings

logger = logging.getLogger(__name__)
hub: Any = torch.hub

_SPEC = re.compile(
    r"(?P<place>[^:]+):(?P<entry>\w+)(\((?P<arguments>[^()]*)\))?(\+side(?P<side>\d+))?"
)
_REPOSITORY = re.compile(r"(?P<owner>\w[\w-]*)/(?P<repo>\w[\w.-]*)@(?P<ref>\w[\w./-]*)")
#: The squares that the networks of a repository take, and whether they show all of a photo: the
#: code says neither. Those for place recognition are asked with all of it.
_TAKES = {
    "gmberton/megaloc": (322, True),
    "serizba/salad": (322, True),
    "gmberton/eigenplaces": (512, True),
    "amaralibey/bag-of-queries": (322, True),
}
#: What is looked for in a repository's LICENSE, in this order.
_LICENCES = (
    *(("noncommercial", "non-commercial"), ("affero", "AGPL-3.0")),
    *(("gnu general public", "GPL"), ("apache license", "Apache-2.0"), ("mit license", "MIT")),
)


def _vector(model: Any, images: Tensor) -> Tensor:
    """A model's answer, if that is a vector (n, D), or the first of several."""
    found: Any = model(images)
    if isinstance(found, Mapping):
        found = next(iter(found.values()))
    elif isinstance(found, Sequence):
        found = found[0]
    vector: Tensor = found
    return vector if vector.ndim == 2 else vector.flatten(2).mean(2)


def source(spec: str) -> Source:
    """Resolve a spec, which runs the code of the repository; a folder stands for OWNER/REPO@REF.

    A folder of one's own, and a repository that is in torch's cache (`TORCH_HOME`), are run; others
    are fetched only where `GEOSEARCH_TRUST_CODE` names them.

    Raises
    ------
    ModelError
        Malformed; not there and not to be fetched; or what it makes is no network for photos.
    """
    match = _SPEC.fullmatch(spec)
    place = match["place"] if match else ""
    named = _REPOSITORY.fullmatch(place)
    if match is None or not (named or is_folder(place)):
        raise ModelError(
            f"the model 'hub/{spec}' is malformed",
            "Write hub/OWNER/REPO@REF:ENTRY, with a tag or commit for REF: code changes; or "
            "hub/FOLDER:ENTRY",
        )
    folder = _repository(named) if named else at_home(Path(place)).resolve()
    if not (folder / "hubconf.py").is_file():
        raise ModelError(f"{folder} has no hubconf.py", "Give the folder of a torch.hub repository")
    entry = match["entry"] + (f"({match['arguments']})" if match["arguments"] else "")
    repository = f"{named['owner']}/{named['repo']}".lower() if named else ""
    usual, whole = _TAKES.get(repository, (224, False))
    side = int(match["side"] or usual)
    size = {"height": side, "width": side} if whole else {"shortest_edge": side}
    preprocessing = preprocessing_of({"size": size})
    logger.warning("running the code of %s", place)
    model = _made(folder, match["entry"], _arguments(match["arguments"] or ""))
    try:
        with torch.inference_mode():
            (vector,) = model(torch.zeros(1, 3, side, side))
            dimension = len(vector)
    except Exception as error:  # whatever the code of others does
        raise ModelError(
            f"hub/{spec} gives no vector for pictures of {side} pixels: {error}",
            "Give the side that it takes, as +side322.",
        ) from error
    code = _code_sha256(folder)
    description = Description(
        name=f"hub/{place if named else folder}:{entry}" + f"+side{side}" * bool(match["side"]),
        architecture=f"hub {entry}, code {code[:16]}",
        weights_source=f"torch.hub {place if named else f'folder {folder.name}'}, code {code}",
        weights_sha256=_weights_sha256(model),
        preprocessing=preprocessing,
        pooling="own",
        dimension=dimension,
        licence=_licence(folder),
    )
    return Source(description, load_trunk=lambda: model)


def _repository(named: re.Match[str]) -> Path:
    """The folder of a repository in torch's cache, fetched if it is trusted."""
    repository, ref = f"{named['owner']}/{named['repo']}", named["ref"]
    parts = (named["owner"], named["repo"], ref.replace("/", "_"))
    folder = Path(hub.get_dir()) / "_".join(parts)
    if folder.is_dir():
        return folder
    if repository.lower() not in TrustSettings().code:
        raise ModelError(
            f"hub/{repository} is not in torch's cache, and would run the code of its authors here",
            f"Read it at https://github.com/{repository}/tree/{ref}. If you trust it, set "
            f"GEOSEARCH_TRUST_CODE={repository}, or clone it and give hub/FOLDER:ENTRY",
        )
    try:
        # Also makes the entry's list of what is there, of which nothing is asked.
        hub.list(f"{repository}:{ref}", trust_repo=True, skip_validation=True, verbose=False)
    except Exception as error:  # no network, no such ref, code that fails
        raise ModelError(
            f"hub/{repository}@{ref} cannot be fetched: {error}",
            "With a network, run: python -c \"import torch; torch.hub.list('"
            f"{repository}:{ref}', trust_repo=True)\"",
        ) from error
    return folder


def _arguments(text: str) -> dict[str, Any]:
    """`name=value` with commas between; a value is a number, true, false or text."""
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (each.strip() for each in part.partition("="))
        words = {"true": True, "false": False}
        number = int(value) if re.fullmatch(r"-?\d+", value) else value
        given[name] = words.get(value.lower(), number)
    return given


def _made(folder: Path, entry: str, arguments: dict[str, Any]) -> nn.Module:
    """What an entry gives."""
    try:
        made = hub.load(str(folder), entry, source="local", **arguments)
    except Exception as error:  # whatever the code of others does
        known = ", ".join(re.findall(r"^def ([a-z]\w*)", _text(folder / "hubconf.py"), re.M))
        raise ModelError(
            f"{folder}: {entry} makes no model: {type(error).__name__}: {error}",
            f"Its hubconf.py has: {known}. What it fetches has to be in torch's cache, or a "
            "network there",
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{folder}: {entry} gives no network, but {type(made).__name__}")
    return Adapted(made, _vector).float().requires_grad_(False).eval()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _code_sha256(folder: Path) -> str:
    """Over all Python of a repository, by its names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _weights_sha256(model: nn.Module) -> str:
    """Over all tensors of a network: where they come from is the code's own affair."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _licence(folder: Path) -> str | None:
    for path in sorted(folder.glob("LICEN[CS]E*")):
        text = _text(path).lower()
        return next((licence for said, licence in _LICENCES if said in text), path.name)
    return None
