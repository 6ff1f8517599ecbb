"""What the user points at (folders, photos, manifests, on disk or remote) as candidates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from geosearch.errors import InputError, MissingFileError, PhotoRejected, Reason
from geosearch.ingest.file_names import named
from geosearch.ingest.manifests import (
    AS_THEY_SAY,
    SUFFIXES,
    Reading,
    count_rows,
    is_manifest,
    read_manifest,
)
from geosearch.ingest.records import Candidate, Rejection, Unread
from geosearch.ingest.sidecars import SIDECARS, sidecar_files
from geosearch.installation import remedy
from geosearch.photo_endings import PHOTO_ENDINGS, RAW_ENDINGS
from geosearch.storage import ending, filesystem, is_remote, resolve, said

#: Folders of storage devices and systems: thumbnails, snapshots, what was deleted.
_SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN"}
    | {"RECYCLER", "System Volume Information", "lost+found", "__MACOSX", "Thumbs.db"}
    | {"desktop.ini"}
)

_TAKEOUT = re.compile(r"Takeout(?:[ _-]?\(?\d+\)?)?")
_IN_TAKEOUT = re.compile(rf"(.*?)/({_TAKEOUT.pattern})/(.+)", re.DOTALL)
_File = Candidate | Rejection | Unread


def locate(source: str | Path, reading: Reading = AS_THEY_SAY) -> str:
    """The absolute uri of a source.

    Raises
    ------
    InputError
        It does not exist, is a file that is neither a photo nor a manifest, or is a manifest
        that cannot be read: said here, before anything is written.
    """
    uri = resolve(os.path.expanduser(str(source)))  # noqa: PTH111 - it may be a URL
    if not is_remote(uri) and not Path(uri).exists():
        raise MissingFileError(
            f"there is no {source}", "Give a folder, a photo or a manifest that exists."
        )
    if not is_manifest(uri) and not _is_photo(uri) and not is_remote(uri) and Path(uri).is_file():
        raise InputError(
            f"{source} is neither a folder, nor a photo that can be read, nor a manifest",
            f"A photo ends in {', '.join(sorted(PHOTO_ENDINGS))}, a manifest in "
            f"{', '.join(SUFFIXES)}.",
        )
    if _is_manifest_file(uri):
        next(read_manifest(uri, reading), None)
    return uri


def candidates(
    uri: str, reading: Reading = AS_THEY_SAY
) -> Iterator[Candidate | Rejection | Unread]:
    """The photos of a located source, always in the same order, and what could not be listed."""
    if _is_manifest_file(uri):
        yield from read_manifest(uri, reading)
    elif is_remote(uri):
        yield from _remote(uri, reading)
    elif Path(uri).is_dir():
        yield from _folder(uri, reading)
    else:
        yield from (item for _, item in _files([Path(uri).name], _alike(uri)))


def count(uri: str, reading: Reading = AS_THEY_SAY) -> int | None:
    """How many items `candidates` will give, where a quick look can tell."""
    if _is_manifest_file(uri):
        return count_rows(uri)
    if is_remote(uri):
        return None
    return sum(not isinstance(item, Unread) for item in candidates(uri, reading))


def _folder(top: str, reading: Reading) -> Iterator[Candidate | Rejection | Unread]:
    """Photos below a folder, name by name. Hidden files are skipped, links to folders followed.

    Every folder is entered once, so that a loop of links ends.
    """
    visited: set[tuple[int, int]] = set()
    # What is left to do, the next last: folders, by their paths, nest deeper than Python calls.
    waiting: list[str | _File] = [top]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, str):
            yield item
            continue
        try:
            waiting.extend(reversed(_listed(item, top, reading, visited)))
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror}"
            yield Rejection.of(item, "read", PhotoRejected(Reason.UNREADABLE, reason))


def _listed(
    folder: str, top: str, reading: Reading, visited: set[tuple[int, int]]
) -> list[str | _File]:
    """The files and folders in a folder, by name; nothing the second time."""
    status = Path(folder).stat()
    if (status.st_dev, status.st_ino) in visited:
        return []
    visited.add((status.st_dev, status.st_ino))
    folders, names = set(), []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_left_out(entry.path, top, reading):
                continue
            if _is_folder(entry):
                folders.add(entry.name)
            elif _is_photo(entry.name) or _is_there(entry):
                names.append(entry.name)
    paths = _other_parts(folder, top) | {name: os.path.join(folder, name) for name in names}  # noqa: PTH118 - no Path for each of a million
    files = dict(_files(names, paths))
    found = ((name, os.path.join(folder, name)) for name in sorted(folders | files.keys()))  # noqa: PTH118
    return [path if name in folders else files[name] for name, path in found]


def _files(names: Iterable[str], paths: Mapping[str, str]) -> Iterator[tuple[str, _File]]:
    """The files of a folder with what describes them, which is not counted apart.

    `paths` are those of all files that may describe one another, `names` those that are wanted.
    """
    kinds = {name: ending(name) for name in paths}
    photos = [name for name, kind in kinds.items() if kind in PHOTO_ENDINGS]
    beside = sidecar_files(photos, (name for name in paths if kinds[name] in SIDECARS))
    used = set(chain.from_iterable(beside.values()))
    # Beside the photo that the camera made of it, a raw file is not another one.
    raw = {name for name in photos if kinds[name] in RAW_ENDINGS}
    made = {name[: -len(kinds[name])] for name in photos if name not in raw} if raw else set()
    for name in names:
        if name in raw and name[: -len(kinds[name])] in made:
            yield name, Unread(kinds[name])
        elif kinds[name] in PHOTO_ENDINGS:
            yield name, _photo(paths[name], tuple(paths[each] for each in beside.get(name, ())))
        elif name not in used:
            yield name, Unread(kinds[name] or "no ending")


def _photo(uri: str, sidecars: tuple[str, ...] = ()) -> Candidate | Rejection:
    try:
        return named(uri, sidecars)
    except PhotoRejected as error:
        return Rejection.of(uri, "position", error)


def _alike(path: str) -> dict[str, str]:
    """The photo at a path, and what is beside it under like names, but no photo of the same."""
    stem = Path(path).stem
    try:
        with os.scandir(Path(path).parent) as entries:
            found = {each.name: each.path for each in entries}
    except OSError:  # not every folder can be listed whose files can be read
        found = {}
    return {Path(path).name: path} | {
        name: each
        for name, each in found.items()
        if name.startswith(stem[:40]) and not (_is_photo(name) and Path(name).stem == stem)
    }


def _other_parts(folder: str, top: str) -> dict[str, str]:
    """The files of one folder of Google Takeout that came in other parts, unpacked side by side."""
    found = _IN_TAKEOUT.fullmatch(folder)
    if found is None:
        return {}
    around, own, below = Path(found[1]), found[2], found[3]
    files: dict[str, str] = {}
    for beside in (around, around.parent):
        for other in sorted(beside.iterdir()) if beside.is_relative_to(top) else ():
            # `Takeout 2` beside `Takeout`, and `two/Takeout` beside `one/Takeout`.
            part = other if _TAKEOUT.fullmatch(other.name) else other / "Takeout"
            if part != around / own:
                with suppress(OSError):  # it has no such folder, or it cannot be listed
                    files |= {file.name: str(file) for file in sorted((part / below).iterdir())}
    return files


def _is_left_out(path: str, top: str, reading: Reading) -> bool:
    """Whether a file or folder is hidden, of the system, or excluded by name or by path."""
    name = path.rpartition("/")[2]
    if name.startswith(".") or name in _SYSTEM_FOLDERS:
        return True
    below = path[len(top) :].lstrip("/")
    return any(fnmatchcase(name, each) or fnmatchcase(below, each) for each in reading.exclude)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _is_there(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # as above
        return False


def _remote(uri: str, reading: Reading) -> Iterator[Candidate | Rejection | Unread]:
    if _is_photo(uri):
        yield _photo(uri)
        return
    empty = True
    try:
        found = filesystem(uri)
        top = found._strip_protocol(uri)
        for folder, folders, files in found.walk(uri, on_error="raise"):
            folders[:] = sorted(
                each for each in folders if not _is_left_out(f"{folder}/{each}", top, reading)
            )
            names = [
                name for name in sorted(files) if not _is_left_out(f"{folder}/{name}", top, reading)
            ]
            empty = empty and not names
            paths = {name: found.unstrip_protocol(f"{folder}/{name}") for name in names}
            yield from (item for _, item in _files(names, paths))
    except Exception as error:  # fsspec backends raise their own types for network and access
        raise InputError(
            f"cannot list {uri}: {said(error)}",
            f"Check the address and the credentials. What s3:// needs: {remedy('s3')}",
        ) from error
    if empty:
        raise InputError(
            f"there is nothing at {uri}",
            "Check the address. A photo whose URL does not end like one goes in a manifest.",
        )


def _is_manifest_file(uri: str) -> bool:
    return is_manifest(uri) and (is_remote(uri) or not Path(uri).is_dir())


def _is_photo(name: str) -> bool:
    return ending(name) in PHOTO_ENDINGS
