"""What libraries said of their models, kept in the cache: a network there needs no library then.

To describe a model its library and PyTorch are loaded, which takes seconds; the network itself is
in the cache as an ONNX file (`geosearch.features.onnx`). A description is believed again while all
files that it rests on have the sha256 they had, their folders have no others, and the libraries
are those that described it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from geosearch.atomic_files import replacing
from geosearch.errors import InputError, ModelError
from geosearch.features.description import Description, Source, file_sha256
from geosearch.features.preprocessing import Preprocessing
from geosearch.json_record import plain
from geosearch.settings import CacheSettings

#: What describes models, and what says where their files lie.
_LIBRARIES = (
    *("geosearch", "geoclip", "huggingface_hub", "open_clip_torch", "timm", "torchvision"),
    "transformers",
)
_PLACES = (
    *("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    "TORCH_HOME",
)

# Goes up when something else is kept.
_VERSION = 1


def remembered(spec: str, describe: Callable[[], Source]) -> Source:
    """What a spec stands for: as is known of it, or as `describe` says, whose errors are raised."""
    file = CacheSettings().folder() / "models" / f"{_key(spec)}.json"
    # There is none, or none that holds.
    with suppress(OSError, ValueError, KeyError, TypeError, ModelError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["rests_on"] == _state([Path(path) for path in known["rests_on"]]):
            return _source(known, describe)
    found = describe()
    if found.rests_on:
        with suppress(OSError, InputError):  # a cache that cannot be written to
            _keep(file, found)
    return found


def _key(spec: str) -> str:
    """By which a spec is known again."""
    relative = "./" in spec or spec.startswith("timm/")  # it may name a file from where one is
    where, versions = str(Path.cwd()) if relative else "", []
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    asked = [_VERSION, spec, where, versions, [os.environ.get(name) for name in _PLACES]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def _state(paths: list[Path]) -> dict[str, Any]:
    """The sha256 of files, and what folders hold, by name. Raises OSError."""
    return {
        str(path): sorted(each.name for each in path.iterdir())
        if path.is_dir()
        else file_sha256(path)
        for path in paths
    }


def _keep(file: Path, found: Source) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "description": plain(found.description),
        "trunk": found.load_trunk is not None,
        "words": found.load_words is not None,
        "rests_on": _state(list(found.rests_on)),
    }
    with replacing(file) as part:
        part.write_text(json.dumps(kept), encoding="utf-8")


def _source(known: dict[str, Any], describe: Callable[[], Source]) -> Source:
    """A source whose library is loaded when its network has to be built, or words are asked."""
    values = known["description"]
    preprocessing = Preprocessing.from_dict(values["preprocessing"])
    return Source(
        Description(**values | {"preprocessing": preprocessing}),
        load_weights=None if known["trunk"] else lambda: describe().weights(),
        load_trunk=_later(lambda: describe().load_trunk) if known["trunk"] else None,
        load_words=_later(lambda: describe().load_words) if known["words"] else None,
    )


def _later(find: Callable[[], Callable[[], Any] | None]) -> Callable[[], Any]:
    """What `find` gives, called; it is looked for only then."""

    def call() -> Any:
        load = find()
        assert load is not None
        return load()

    return call
