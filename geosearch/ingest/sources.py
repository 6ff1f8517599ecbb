"""What the user points at (folders, photos, manifests, on disk or remote) as candidates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from geosearch.errors import InputError, MissingFileError, PhotoRejected, Reason
from geosearch.images import EXTENSIONS
from geosearch.ingest.manifests import SUFFIXES, count_rows, is_manifest, read_manifest
from geosearch.ingest.records import Candidate, Rejection
from geosearch.installation import remedy
from geosearch.storage import filesystem, is_remote, resolve


def locate(source: str | Path) -> str:
    """The absolute uri of a source.

    Raises
    ------
    InputError
        It does not exist, is a file that is neither a photo nor a manifest, or is a manifest
        that cannot be read: said here, before anything is written.
    """
    uri = resolve(str(source))
    if not is_remote(uri) and not Path(uri).exists():
        raise MissingFileError(
            f"there is no {source}", "Give a folder, a photo or a manifest that exists."
        )
    if not is_manifest(uri) and not _is_photo(uri) and not is_remote(uri) and Path(uri).is_file():
        raise InputError(
            f"{source} is neither a folder, nor a photo, nor a manifest",
            f"A manifest ends in {', '.join(SUFFIXES)}.",
        )
    if _is_manifest_file(uri):
        next(read_manifest(uri), None)
    return uri


def candidates(uri: str) -> Iterator[Candidate | Rejection]:
    """The photos of a located source, always in the same order, and what could not be listed."""
    if _is_manifest_file(uri):
        yield from read_manifest(uri)
    elif is_remote(uri):
        yield from _remote(uri)
    elif Path(uri).is_dir():
        yield from _folder(uri)
    else:
        yield Candidate(uri)


def count(uri: str) -> int | None:
    """How many items `candidates` will give, where a quick look can tell."""
    if _is_manifest_file(uri):
        return count_rows(uri)
    return None if is_remote(uri) else sum(1 for _ in candidates(uri))


def _folder(top: str) -> Iterator[Candidate | Rejection]:
    """Photos below a folder, name by name. Hidden files are skipped, links to folders followed.

    Every folder is entered once, so that a loop of links ends.
    """
    visited: set[tuple[int, int]] = set()
    # What is left to do, the next last: folders nest deeper than Python calls.
    waiting: list[tuple[str, bool]] = [(top, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield Candidate(path)
            continue
        try:
            waiting.extend(_listed(path, visited))
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror}"
            yield Rejection.of(path, "read", PhotoRejected(Reason.UNREADABLE, reason))


def _listed(folder: str, visited: set[tuple[int, int]]) -> list[tuple[str, bool]]:
    """The photos and folders in a folder, the last name first; nothing the second time."""
    status = Path(folder).stat()
    if (status.st_dev, status.st_ino) in visited:
        return []
    visited.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name, reverse=True)
    kinds = [(entry, _is_folder(entry)) for entry in found if not entry.name.startswith(".")]
    return [(entry.path, within) for entry, within in kinds if within or _is_photo(entry.name)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _remote(uri: str) -> Iterator[Candidate | Rejection]:
    if _is_photo(uri):
        yield Candidate(uri)
        return
    try:
        found = filesystem(uri)
        for folder, folders, files in found.walk(uri, on_error="raise"):
            folders.sort()
            for name in sorted(files):
                if _is_photo(name) and not name.startswith("."):
                    yield Candidate(found.unstrip_protocol(f"{folder}/{name}"))
    except Exception as error:  # fsspec backends raise their own types for network and access
        raise InputError(
            f"cannot list {uri}: {type(error).__name__}: {error}",
            f"Check the address and the credentials. What s3:// needs: {remedy('s3')}",
        ) from error


def _is_manifest_file(uri: str) -> bool:
    return is_manifest(uri) and (is_remote(uri) or not Path(uri).is_dir())


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS
