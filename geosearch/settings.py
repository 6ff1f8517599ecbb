"""Settings from the environment (`GEOSEARCH_*`), one small class per concern."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from geosearch.errors import InputError

_PREFIX = "GEOSEARCH_"


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = f"{_PREFIX}{wrong['loc'][0]}".upper()
            raise InputError(
                f"{name}={wrong['input']} cannot be used: {wrong['msg']}", "Correct or unset it."
            ) from error


class DatabaseSettings(_Settings):
    """Which PostgreSQL to use.

    `GEOSEARCH_DATABASE_URL`: a libpq URL; unset means the private server.
    `GEOSEARCH_POOL_SIZE`: most connections one process holds.
    """

    database_url: str | None = None
    pool_size: int = Field(default=8, ge=1, le=200)


class ServerSettings(_Settings):
    """The private PostgreSQL server.

    `GEOSEARCH_DATA_DIR`: where its data live (default: the user's data directory).
    `GEOSEARCH_POSTGRES_BIN`: folder of `initdb` and `postgres`; unset means search.
    """

    data_dir: Path | None = None
    postgres_bin: Path | None = None


class CacheSettings(_Settings):
    """Files that can be made again.

    `GEOSEARCH_CACHE_DIR`: where they are kept (default: `geosearch` in the user's cache folder).
    """

    cache_dir: Path | None = None

    def folder(self) -> Path:
        """The folder, which may not exist yet."""
        if self.cache_dir is not None:
            return self.cache_dir.expanduser()
        home = os.environ.get("XDG_CACHE_HOME")
        return (Path(home) if home else Path.home() / ".cache") / "geosearch"


class ImageSettings(_Settings):
    """Limits on images from strangers.

    `GEOSEARCH_MAX_PIXELS`: larger images are rejected before they are decoded.
    `GEOSEARCH_MAX_BYTES`: larger files are rejected, and read no further than that.
    """

    max_pixels: int = Field(default=250_000_000, ge=1)
    max_bytes: int = Field(default=512 * 1024 * 1024, ge=1)


@cache
def image_settings() -> ImageSettings:
    """The image limits, read once: they are asked for on every photo."""
    return ImageSettings()
