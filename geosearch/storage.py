"""Bytes behind a uri: local paths directly, `s3://`, `https://` and the like through fsspec."""

from __future__ import annotations

import os
import re
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote, urlsplit

from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.installation import remedy
from geosearch.settings import image_settings

_PART = 2**20
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")


def is_remote(uri: str) -> bool:
    """True for `scheme://…` other than `file://`."""
    return bool(_SCHEME.match(uri)) and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of a local uri (`file:///a/b` or `/a/b`)."""
    return Path(uri.removeprefix("file://"))


def resolve(uri: str, manifest: str | None = None) -> str:
    """The absolute form of a path or URL, relative to the folder of `manifest` where given.

    `file://` URLs become paths.

    Raises
    ------
    InputError
        It is a malformed URL.
    """
    if uri.startswith("file://"):
        try:
            path = urlsplit(uri).path
        except ValueError as error:
            raise InputError(
                f"{uri[:80]!r} is no URL: {error}", "Write file:///folder/photo.jpg, or the path."
            ) from error
        return os.path.abspath(unquote(path))  # noqa: PTH100 - resolves no links
    if is_remote(uri):
        return uri
    if manifest is None:
        return os.path.abspath(uri)  # noqa: PTH100
    if is_remote(manifest):
        return f"{manifest.rpartition('/')[0]}/{uri}"
    return os.path.abspath(Path(manifest).parent / uri)  # noqa: PTH100


def open_stream(uri: str) -> AbstractContextManager[IO[bytes]]:
    """Open a file to read. A local name is taken as it is, whatever signs of a URL it holds.

    Raises
    ------
    OSError
        It is missing, forbidden, or no regular file. Remote storage raises errors of its own.
    """
    if is_remote(uri):
        import fsspec  # only here: local photos need none of it

        return cast("AbstractContextManager[IO[bytes]]", fsspec.open(uri, "rb"))
    if "\0" in uri:
        raise OSError("a name with the character NUL")
    path = local_path(uri)
    # Asked before opening: opening a named pipe would wait for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    return path.open("rb")


def read_bytes(uri: str) -> bytes:
    """Read a photo: no more of it than `GEOSEARCH_MAX_BYTES`, and one byte to know of more.

    Raises
    ------
    PhotoRejected
        `unreadable` (missing, forbidden, network, or a protocol whose package is not
        installed) or `too_large` (over `GEOSEARCH_MAX_BYTES`).
    """
    limit = image_settings().max_bytes
    try:
        with open_stream(uri) as stream:
            # In parts: a stream asked for more than it has makes room for all of that first.
            data = bytearray()
            while part := stream.read(min(_PART, limit + 1 - len(data))):
                data += part
    except ImportError as error:
        raise PhotoRejected(
            Reason.UNREADABLE, f"{error}; for s3://, run: {remedy('s3')}"
        ) from error
    except MemoryError:
        raise  # says nothing about the photo
    except Exception as error:  # fsspec backends raise their own types for network and access
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise PhotoRejected(Reason.UNREADABLE, said) from error
    if len(data) > limit:
        raise PhotoRejected(Reason.TOO_LARGE, f"the file is over GEOSEARCH_MAX_BYTES={limit}")
    return bytes(data)
