"""Bytes behind a uri: local paths directly, `s3://`, `https://` and the like through fsspec, and
what lies inside such a file (`tar://…!/…`).

Paths and addresses may come from strangers: nothing but a regular file is opened, and no address
in a private network unless a setting allows it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import json
import os
import re
import socket
import stat
import unicodedata
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, unquote, urlsplit

from geosearch.containers import inside, read_inside
from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.installation import remedy
from geosearch.settings import image_settings

_PART = 2**20
_BUSY = (429, 502, 503, 504)
_PAUSES = (1, 2, 4)  # seconds before a busy server is asked again
_OF_URLS = "%:/?#[]@!$&'()*+,;=~"
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Parts of an absolute path that is not the shortest.
_UNPLAIN = re.compile(r"//|/\.\.?(/|$)|/$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
#: Regular files by what they say of themselves, but some of them wait for ever or never end.
_KERNEL = tuple(map(Path, ("/proc", "/sys")))
#: Networks of IPv6 whose addresses end in one of IPv4 that they lead to.
_HOLDING_IPV4 = tuple(map(ipaddress.ip_network, ("::/96", "64:ff9b::/96")))
#: Networks for use within a network that Python's `is_global` does not know as such.
_WITHIN = tuple(map(ipaddress.ip_network, ("fec0::/10", "64:ff9b:1::/48")))
#: Redirects that are followed to what a stranger named.
_REDIRECTS = 5
#: Storage whose address is not in the URL, or checked when it is connected to.
_OPEN_TO_ALL = frozenset(
    {"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
)


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
        It is a malformed URL, or nothing.
    """
    if uri.startswith("/") and not _UNPLAIN.search(uri):
        return uri
    if uri.startswith("file://"):
        try:
            path = urlsplit(uri).path
        except ValueError as error:
            raise InputError(
                f"{uri[:80]!r} is no URL: {error}", "Write file:///folder/photo.jpg, or the path."
            ) from error
        return os.path.abspath(unquote(path))  # noqa: PTH100 - resolves no links
    if found := inside(uri):
        kind, file, item = found
        return f"{kind}://{resolve(file, manifest)}!/{item}"
    if is_remote(uri):
        return uri
    if manifest is None:
        if not uri:  # of a variable that is not set, not the folder one happens to be in
            raise InputError("a path is empty", "Give a file, a folder (. is this one) or a URL.")
        return os.path.abspath(uri)  # noqa: PTH100
    if is_remote(manifest):
        return f"{manifest.partition('?')[0].rpartition('/')[0]}/{uri}"
    # Not by Path, which takes as long as all else where millions of rows are read.
    return os.path.abspath(os.path.join(os.path.dirname(manifest), uri))  # noqa: PTH100, PTH118, PTH120


def ending(uri: str) -> str:
    """The ending of a file's name in lower case, `.jpg`; of a URL without its query."""
    name = urlsplit(uri).path if uri[:8].lower().startswith(("http://", "https://")) else uri
    stem, _, last = name.rstrip("/").rpartition("/")[2].rpartition(".")
    return f".{last.lower()}" if stem and last else ""


def open_stream(uri: str) -> AbstractContextManager[IO[bytes]]:
    """Open a file to read. A local name is taken as it is, whatever signs of a URL it holds.

    Raises
    ------
    OSError
        It is missing, forbidden, or no regular file. Remote storage raises errors of its own.
    """
    if is_remote(uri):
        return cast("AbstractContextManager[IO[bytes]]", filesystem(uri).open(uri, "rb"))
    return regular(local_path(uri)).open("rb")


def regular(path: Path) -> Path:
    """The path itself, if a regular file is there, in no file system of the kernel's.

    Raises
    ------
    OSError
        It is anything else, or missing.
    """
    # Asked before opening: opening a named pipe would wait for ever.
    try:
        real = path.resolve(strict=True)
        kind = path.stat().st_mode
    except (ValueError, RuntimeError) as error:  # a NUL in the name; links in a circle
        raise OSError(errno.EINVAL, str(error)) from error
    if not stat.S_ISREG(kind) or any(real.is_relative_to(folder) for folder in _KERNEL):
        raise OSError(errno.EINVAL, "not a regular file")
    return path


def as_it_is_there(path: str) -> str:
    """The path, or the same name as it is on the disk: letters composed or not, `\\` for `/`.

    Raises
    ------
    OSError
        There is none, and it is a path of a drive of Windows.
    """
    if os.path.lexists(path):
        return path
    for name in (path, path.replace("\\", "/")):
        for form in (None, "NFC", "NFD"):
            other = name if form is None else unicodedata.normalize(form, name)
            if other != path and os.path.lexists(other):
                return other
    if re.search(r"(^|/)([A-Za-z]:\\|\\\\)", path):
        raise OSError(errno.ENOENT, "a path of Windows: write it relative to the manifest")
    return path


def read_json(path: Path) -> Any:
    """The JSON of a local file of at most `GEOSEARCH_MAX_BYTES`.

    Raises
    ------
    OSError
        As `regular`, or it is larger.
    ValueError
        It is not JSON in UTF-8.
    """
    limit = image_settings().max_bytes
    with regular(path).open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"over GEOSEARCH_MAX_BYTES={limit}")
    return parse_json(data)


def parse_json(text: str | bytes) -> Any:
    """The value of JSON text; ValueError where it is none, or too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def filesystem(uri: str) -> Any:
    """The fsspec file system of a remote uri.

    Raises
    ------
    OSError
        Its protocol may reach where only `GEOSEARCH_PRIVATE_URLS` allows to go.
    """
    import fsspec  # only here: local photos need none of it

    protocol = uri.partition("://")[0].lower()
    private = image_settings().private_urls
    if not private and protocol not in _OPEN_TO_ALL:
        raise OSError(errno.EACCES, f"{protocol}:// is opened only with GEOSEARCH_PRIVATE_URLS=yes")
    options = {}
    if protocol in ("http", "https"):
        options = {"get_client": _any_client if private else _public_client}
    return fsspec.filesystem(protocol, **options)


async def _any_client(**given: Any) -> Any:
    import aiohttp  # what fsspec reads https:// by

    seconds = image_settings().url_timeout
    # No limit for all of a manifest, which may be long, but for each part of it.
    limit = aiohttp.ClientTimeout(total=None, connect=seconds, sock_read=seconds)
    return aiohttp.ClientSession(timeout=limit, **given)


async def _public_client(**given: Any) -> Any:
    import aiohttp

    # Asked for every connection, so after every redirect, with the address it really goes to.
    return await _any_client(connector=aiohttp.TCPConnector(socket_factory=_public_socket), **given)


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = found
    if not is_public(address[0]):
        raise OSError(
            errno.EACCES,
            f"{address[0]} is in a private network: opened only with GEOSEARCH_PRIVATE_URLS=yes",
        )
    return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet: not private, link-local, loopback, reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    # Addresses of IPv6 that lead to one of IPv4.
    inner = ip.version == 6 and (ip.ipv4_mapped or ip.sixtofour)
    if not inner and any(ip in network for network in _HOLDING_IPV4):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner:
        return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not any(ip in each for each in _WITHIN)


def read_public(url: str, most: int) -> bytes:
    """Read a photo at an address of the Internet that a stranger names, whatever settings allow.

    As `read_bytes`, of at most `most` bytes, but it is asked for once, and of an address that
    cannot be reached the error does not tell why: else it would tell what there is in the networks
    of this machine.

    Raises
    ------
    PhotoRejected
        `unreadable` (no such photo, no http or https, or not of the Internet) or `too_large`.
    """
    limit = min(most, image_settings().max_bytes)
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise PhotoRejected(Reason.UNREADABLE, "it is no address that begins with https://")
        data = asyncio.run(_fetch_public(url, limit + 1))
    except PhotoRejected:
        raise
    except Exception as error:  # of addresses of strangers, aiohttp raises all there is
        answered = isinstance(getattr(error, "status", None), int)
        message = said(error) if answered else "nothing can be fetched from this address"
        raise PhotoRejected(Reason.UNREADABLE, message) from error
    if len(data) > limit:
        raise PhotoRejected(Reason.TOO_LARGE, f"the file is over {limit:,} bytes")
    return data


async def _fetch_public(url: str, most: int) -> bytes:
    async with asyncio.timeout(image_settings().url_timeout):
        # What a server packs could unpack to any size.
        plain = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
        async with await _public_client(**plain) as session:
            return await _download(session, url, most, (), max_redirects=_REDIRECTS)


def said(error: BaseException) -> str:
    """What an error of the system, of fsspec or of a server says, in words."""
    if type(error).__name__ in ("ClientPayloadError", "ServerDisconnectedError"):
        return "the server breaks off"
    cause = error.__cause__ or error  # of what fsspec calls a missing file
    if hasattr(error, "host") and hasattr(error, "port"):
        return f"cannot connect to {error.host}:{error.port}: {getattr(cause, 'strerror', cause)}"
    if isinstance(cause, TimeoutError):
        return f"no answer within {image_settings().url_timeout} seconds"
    if isinstance(status := getattr(cause, "status", None), int):
        return f"the server answers {status} {getattr(cause, 'message', '')}".rstrip()
    if isinstance(cause, FileNotFoundError) and not cause.strerror:
        return "not found"
    return getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"


def read_bytes(uri: str) -> bytes:
    """Read a photo: no more of it than `GEOSEARCH_MAX_BYTES`, and one byte to know of more.

    Remote storage has `GEOSEARCH_URL_TIMEOUT` seconds for it. A web server that is busy or breaks
    off is asked again within them.

    Raises
    ------
    PhotoRejected
        `unreadable` (missing, forbidden, network, or a protocol whose package is not
        installed) or `too_large` (over `GEOSEARCH_MAX_BYTES`).
    """
    limit = image_settings().max_bytes
    try:
        if inside(uri):
            data = read_inside(uri, open_stream, limit + 1)
        else:
            data = _fetched(uri, limit + 1) if is_remote(uri) else _read(uri, limit + 1)
    except ImportError as error:
        extra = "s3" if uri.lower().startswith("s3") else ""
        raise PhotoRejected(Reason.UNREADABLE, f"{error}; run: {remedy(extra)}") from error
    except Exception as error:  # fsspec backends raise their own types for network and access
        raise PhotoRejected(Reason.UNREADABLE, said(error)) from error
    if len(data) > limit:
        raise PhotoRejected(Reason.TOO_LARGE, f"the file is over GEOSEARCH_MAX_BYTES={limit}")
    return data


def read_ingested(uri: str, sha256: bytes) -> bytes:
    """The bytes of a photo that was ingested with this sha256.

    A uri that somebody planted, who does not have the file, so tells nothing about it.

    Raises
    ------
    PhotoRejected
        As `read_bytes`, and `unreadable` where the file has other bytes by now.
    """
    data = read_bytes(uri)
    if hashlib.sha256(data).digest() != sha256:
        raise PhotoRejected(Reason.UNREADABLE, "the file has changed since it was ingested")
    return data


def _read(uri: str, most: int) -> bytes:
    with open_stream(uri) as stream:
        if not is_remote(uri):  # one that tells its size is read at once
            return stream.read(min(os.fstat(stream.fileno()).st_size + 1, most))
        # In parts: a stream asked for more than it has makes room for all of that first.
        data = bytearray()
        while part := stream.read(min(_PART, most - len(data))):
            data += part
    return bytes(data)


def _fetched(uri: str, most: int) -> bytes:
    found = filesystem(uri)
    if not found.async_impl:
        return _read(uri, most)
    from fsspec.asyn import sync

    async def fetch() -> bytes:
        async with asyncio.timeout(image_settings().url_timeout):
            if uri.lower().startswith("http"):
                return await _download(await found.set_session(), uri, most, _PAUSES)
            return bytes(await found._cat_file(uri, start=0, end=most))

    return cast("bytes", sync(found.loop, fetch))


async def _download(
    session: Any, uri: str, most: int, pauses: Iterable[int], **options: Any
) -> bytes:
    import aiohttp
    from yarl import URL

    # As it is written: signatures are of the very letters. Only what no URL may hold is escaped.
    url = URL(quote(_PERCENT.sub("%25", uri), safe=_OF_URLS), encoded=True)
    for pause in (*pauses, None):
        try:
            async with session.get(url, **options) as response:
                if pause is None or response.status not in _BUSY:
                    response.raise_for_status()
                    data = bytearray()
                    while part := await response.content.read(min(_PART, most - len(data))):
                        data += part
                    return bytes(data)
                asked = response.headers.get("Retry-After", "")
                if asked.isdecimal() and int(asked) > image_settings().url_timeout:
                    response.raise_for_status()
                pause = max(pause, int(asked) if asked.isdecimal() else 0)
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            if pause is None:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
