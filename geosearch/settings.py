"""Settings from the environment (`GEOSEARCH_*`), one small class per concern."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from geosearch.arguments import at_home
from geosearch.errors import InputError

Value = TypeVar("Value")
Default = TypeVar("Default")


def _setting(name: str, read: Callable[[str], Value], default: Default) -> Value | Default:
    """What a variable says, as `read` reads it; the default where it is not set, or empty."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return read(text)
    except ValueError as error:
        problem = f"{name}={text} cannot be used: {error}"
        raise InputError(problem, "Correct or unset it.") from error


def _count(text: str, most: int = sys.maxsize, least: int = 1) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"it is no whole number from {least} to {most}")
    return int(text)


class DatabaseSettings:
    """Which PostgreSQL to use.

    `GEOSEARCH_DATABASE_URL`: a libpq URL; unset means the private server.
    `GEOSEARCH_POOL_SIZE`: most connections of one process for searches, and as many for all else.
    `GEOSEARCH_PARTIAL`: yes to do without shards that cannot be reached.
    """

    def __init__(self) -> None:
        self.database_url = _setting("GEOSEARCH_DATABASE_URL", str, None)
        self.pool_size = _setting("GEOSEARCH_POOL_SIZE", partial(_count, most=200), 8)
        self.partial = _setting("GEOSEARCH_PARTIAL", _yes, False)


class ServerSettings:
    """The private PostgreSQL server.

    `GEOSEARCH_DATA_DIR`: where its data live (default: the user's data directory).
    `GEOSEARCH_POSTGRES_BIN`: folder of `initdb` and `postgres`; unset means search.
    """

    def __init__(self) -> None:
        self.data_dir = _setting("GEOSEARCH_DATA_DIR", Path, None)
        self.postgres_bin = _setting("GEOSEARCH_POSTGRES_BIN", Path, None)


class CacheSettings:
    """Files that can be made again.

    `GEOSEARCH_CACHE_DIR`: where they are kept (default: `geosearch` in the user's cache folder).
    `GEOSEARCH_COPY_BYTES`: most bytes of embeddings copied from databases; 0 for no copies.
    """

    def __init__(self) -> None:
        self.cache_dir = _setting("GEOSEARCH_CACHE_DIR", Path, None)
        self.copy_bytes = _setting("GEOSEARCH_COPY_BYTES", partial(_count, least=0), 20 * 2**30)

    def folder(self) -> Path:
        """The folder, which may not exist yet."""
        if self.cache_dir is not None:
            return at_home(self.cache_dir)
        home = os.environ.get("XDG_CACHE_HOME")
        return (Path(home) if home else Path.home() / ".cache") / "geosearch"


class TrustSettings:
    """Whose code may be fetched and run.

    `GEOSEARCH_TRUST_CODE`: repositories or folders of models hub/…, with commas between.
    """

    def __init__(self) -> None:
        named = _setting("GEOSEARCH_TRUST_CODE", str, "")
        self.code = {each.strip().lower() for each in named.split(",")}


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("it is neither yes nor no")
    return text.lower() == "yes"


class ImageSettings:
    """Limits on images and other files from strangers.

    `GEOSEARCH_MAX_PIXELS`: larger images are rejected before they are decoded.
    `GEOSEARCH_MAX_BYTES`: larger files are rejected, and read no further than that.
    `GEOSEARCH_URL_TIMEOUT`: seconds in which a photo at a URL must have come.
    `GEOSEARCH_PRIVATE_URLS`: yes to open URLs in private networks too, and of any protocol.
    """

    def __init__(self) -> None:
        self.max_pixels = _setting("GEOSEARCH_MAX_PIXELS", _count, 250_000_000)
        self.max_bytes = _setting("GEOSEARCH_MAX_BYTES", _count, 512 * 1024 * 1024)
        self.url_timeout = _setting("GEOSEARCH_URL_TIMEOUT", _count, 30)
        self.private_urls = _setting("GEOSEARCH_PRIVATE_URLS", _yes, False)


class ImmichSettings:
    """An Immich server that positions are written to.

    `GEOSEARCH_IMMICH_KEY`: an API key of it, with `asset.read` and `asset.update`.
    """

    def __init__(self) -> None:
        self.key = _setting("GEOSEARCH_IMMICH_KEY", str, None)
        self.timeout = image_settings().url_timeout


class WebSettings:
    """The server of `geosearch serve`.

    `GEOSEARCH_UPLOAD_BYTES`: most bytes of one request, with all its photos.
    `GEOSEARCH_BASEMAP_STYLE`: URL of a map style for the page; unset means its own map.
    """

    def __init__(self) -> None:
        self.upload_bytes = _setting("GEOSEARCH_UPLOAD_BYTES", _count, 256 * 1024 * 1024)
        self.basemap_style = _setting("GEOSEARCH_BASEMAP_STYLE", str, None)


@cache
def image_settings() -> ImageSettings:
    """The image limits, read once: they are asked for on every photo."""
    return ImageSettings()
