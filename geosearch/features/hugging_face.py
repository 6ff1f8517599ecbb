"""Models of Hugging Face's hub: folders in its cache, fetched where they are not there yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from geosearch.arguments import at_home
from geosearch.errors import ModelError
from geosearch.features.description import file_sha256, joined_sha256
from geosearch.features.preprocessing import Preprocessing
from geosearch.storage import regular

#: Small files of a model beside its weights: settings, words, and the card with the licence.
_BESIDE = ("*.json", "*.txt", "*.model", "README.md")
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: From this side on, ConvNeXt's photos are not cropped.
_WHOLE_FROM = 384


@dataclass(frozen=True)
class Repository:
    """A folder of a model, with its files of weights; `source` says where it comes from.

    `name` is what a spec calls it: that of the repository, or the folder's path.
    """

    name: str
    folder: Path
    weights: tuple[Path, ...]
    source: str
    revision: str | None = None

    @property
    def rests_on(self) -> tuple[Path, ...]:
        """Its folder, the files that say what it is, and which commit the cache has."""
        place = self.folder.parent.parent / "refs" / (self.revision or "main")
        files = (path for each in _BESIDE for path in sorted(self.folder.glob(each)))
        return (self.folder, *self.weights, *files, *[place] * place.is_file())

    @cached_property
    def weights_sha256(self) -> str:
        """Over all its weights (`joined_sha256`).

        Raises
        ------
        ModelError
            A file is not what the cache calls it: it was altered.
        """
        each = [file_sha256(path) for path in self.weights]
        for path, sha256 in zip(self.weights, each, strict=True):
            # The cache names large files by their sha256, and links to them.
            name = path.resolve().name
            if path.is_symlink() and _SHA256.fullmatch(name) and sha256 != name:
                raise ModelError(f"{path}: its sha256 is not {name}", "Delete it and run again.")
        return joined_sha256(each)

    @property
    def licence(self) -> str | None:
        """As the model's card states it; None where it does not."""
        from huggingface_hub.repocard import metadata_load

        card = self.folder / "README.md"
        try:
            stated: Mapping[str, Any] = (metadata_load(card) or {}) if card.is_file() else {}
        except Exception:  # a card that cannot be read says nothing
            return None
        licence = stated.get("license")
        if licence == "other":
            licence = stated.get("license_name") or licence
        return ", ".join(map(str, licence)) if isinstance(licence, list) else licence


def is_folder(text: str) -> bool:
    """Whether a spec's part names a folder rather than a repository: it begins as a path does."""
    return text.startswith(("/", "./", "../", "~"))


def opened(
    name: str, revision: str | None, weights: Sequence[str], files: Sequence[str] = _BESIDE
) -> Repository:
    """A repository, OWNER/NAME, at a revision, or a folder that is laid out like one.

    What the cache has is taken as it is; all else is fetched into it. Of the patterns of `weights`
    the first that any file fits tells which these are.

    Raises
    ------
    ModelError
        It is not there and cannot be fetched, or its weights are not whole.
    """
    if is_folder(name):
        folder = at_home(Path(name)).resolve()
        return _repository(str(folder), folder, f"folder {folder.name}", weights)
    if not _REPOSITORY.fullmatch(name):
        raise ModelError(f"{name!r} names no repository", "Write OWNER/NAME, or a folder: ./FOLDER")
    from huggingface_hub import HfApi, snapshot_download

    def snapshot(patterns: Sequence[str], *, local: bool) -> Repository:
        # Its folders are called by their commit.
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(patterns), local_files_only=local
            )
        )
        source = f"huggingface.co/{name} at {folder.name}"
        return replace(_repository(name, folder, source, weights), revision=revision)

    try:
        return snapshot((*weights, *files), local=True)
    except Exception:  # not in the cache, whatever it says of it
        pass
    try:
        there = HfApi().list_repo_files(name, revision=revision)
        first = next((each for each in weights if any(Path(n).match(each) for n in there)), None)
        return snapshot([*filter(None, [first]), *files], local=False)
    except ModelError:
        raise
    except Exception as error:  # no network, no such repository, one that asks for a login…
        call = f"snapshot_download({name!r}, revision={revision!r})"
        python = f'python -c "from huggingface_hub import snapshot_download; {call}"'
        raise ModelError(
            f"{name} is not in the cache of Hugging Face's hub and cannot be fetched: {error}",
            f"With a network, run: {python if revision else f'hf download {name}'}",
        ) from error


def _repository(name: str, folder: Path, source: str, weights: Sequence[str]) -> Repository:
    """A folder, if it has weights, and all that its index names."""
    found = next((sorted(p) for each in weights if (p := [*folder.glob(each)])), [])
    if not found:
        raise ModelError(
            f"{folder} has no weights", f"They are called one of: {', '.join(weights)}"
        )
    try:
        for path in found:
            regular(path)
        for index in folder.glob("*.index.json"):
            if index.name.split(".")[0] == found[0].name.split("-")[0]:
                named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
                if named != {path.name for path in found}:
                    raise ValueError(f"{index.name} names other files of weights: {sorted(named)}")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{folder}: its weights cannot be used: {error}") from error
    return Repository(name, folder, tuple(found), source)


def preprocessing_of(values: Mapping[str, Any], side: int | None = None) -> Preprocessing:
    """What `preprocessor_config.json` says; `side`: of the crop, where that says none.

    Raises
    ------
    ModelError
        It asks for what `Preprocessing` cannot express.
    """
    from PIL import Image

    try:
        size = _sides(values["size"]) if values.get("do_resize", True) and "size" in values else ()
        crop = _sides(values["crop_size"]) if values.get("do_center_crop") else ()
        resize = (size or crop or (side or 0,))[0]
        bare = not crop and not isinstance(values.get("size"), Mapping)
        squash = len(size) == 2 or (bool(size) and bare)
        share = values.get("crop_pct")
        if share and len(size) == 1:  # ConvNeXt's
            squash, crop = resize >= _WHOLE_FROM, (resize,)
            resize = resize if squash else int(resize / share)
        if len({*size}) > 1 or len({*crop}) > 1 or not resize:
            raise ValueError("its pictures are not squares of a known side")
        scaled = values.get("do_rescale", True)
        scale = float(values.get("rescale_factor", 1 / 255)) if scaled else 1
        plain = not values.get("do_normalize", True)
        return Preprocessing(
            resize=resize,
            crop=(crop or (resize,))[0],
            mean=_triple([0.0] * 3 if plain else values.get("image_mean", _MEAN), scale),
            std=_triple([1.0] * 3 if plain else values.get("image_std", _STD), scale),
            interpolation=Image.Resampling(int(values.get("resample", 2))).name.lower(),
            fit="squash" if squash else "crop",
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"the model's preprocessing cannot be done here: {error}") from error


#: Of ImageNet, for what says nothing.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _sides(size: Any) -> tuple[int, ...]:
    """One, of the shorter side, or two: height and width."""
    if not isinstance(size, Mapping):
        return (int(size),)
    if "shortest_edge" in size:
        return (int(size["shortest_edge"]),)
    return int(size["height"]), int(size["width"])


def _triple(values: Sequence[float], scale: float) -> tuple[float, float, float]:
    one, two, three = (round(float(value) / scale, 6) for value in values)
    return one, two, three
