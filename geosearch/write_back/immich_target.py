"""Positions in Immich, by its public API: assets found by their bytes or path, and updated."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.ingest.positions import Position, checked
from geosearch.settings import ImmichSettings
from geosearch.storage import parse_json, read_ingested
from geosearch.write_back.targets import Begin, Found, Known

#: Of an answer no more is read.
_MOST_BYTES = 16 * 2**20
_KEY = "GEOSEARCH_IMMICH_KEY"


class _Stay(urllib.request.HTTPRedirectHandler):
    """The key is for the server named, and for no other that it names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Immich:
    """The photos of an Immich server.

    Raises
    ------
    InputError
        There is no key, or the URL is none.
    """

    kind = "immich"
    copies = False

    def __init__(self, url: str) -> None:
        settings = ImmichSettings()
        if settings.key is None:
            raise InputError(
                f"{_KEY} is not set", "Make an API key in Immich (asset.read, asset.update)."
            )
        if "@" in url:  # it would be printed, and kept
            raise InputError(
                "`immich`: the address has a user or a password in it", f"Give {_KEY} alone."
            )
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InputError(
                f"`immich`: {url!r} is no address", "Such as https://photos.example.org"
            )
        self._key, self._timeout = settings.key, settings.timeout
        self._url = url.rstrip("/").removesuffix("/api")
        self._opener = urllib.request.build_opener(_Stay)

    def find(self, known: Known, uri: str) -> Found:
        """The asset with the photo's bytes, else that of its path."""
        asset = self._search(known, uri)
        try:
            key = str(UUID(str(asset.get("id"))))  # what stands in an address is nothing else
        except ValueError as error:
            raise _unlike() from error
        position = _position(asset)
        return Found(f"{self._url}/photos/{key}", position, position, key)

    def check(self, found: Found, known: Known, *, overwrite: bool) -> None:
        """Nothing is known before it is tried."""

    def write(self, found: Found, known: Known, begin: Begin, *, overwrite: bool) -> None:  # noqa: ARG002
        """Update the asset, and see that it has the position then."""
        position, address = known.position, f"/assets/{found.thing}"
        if position is None:
            raise PhotoRejected(Reason.NOT_WRITABLE, "Immich takes no position out by its API")
        begin(None)
        self._ask("PUT", address, {"latitude": position.lat, "longitude": position.lon})
        read = _position(self._ask("GET", address))
        if read is None or not read.is_at(position):
            raise PhotoRejected(Reason.NOT_WRITABLE, "Immich does not keep the position")

    def _search(self, known: Known, uri: str) -> dict[str, Any]:
        try:
            data = read_ingested(uri, known.sha256)
        except PhotoRejected:
            pass  # it may be where only Immich sees it
        else:
            digest = hashlib.sha1(data, usedforsecurity=False).digest()
            checksum = base64.b64encode(digest).decode()
            for asset in self._found({"checksum": checksum}):
                if asset.get("checksum") == checksum:
                    return asset
        for asset in self._found({"originalPath": uri}):
            if asset.get("originalPath") == uri:  # it finds parts of paths, too
                return asset
        raise PhotoRejected(Reason.UNREADABLE, "Immich has no photo of these bytes or this path")

    def _found(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._ask("POST", "/search/metadata", {**asked, "withExif": True})
        try:
            return [item for item in answer["assets"]["items"] if isinstance(item, dict)]
        except (KeyError, TypeError) as error:
            raise _unlike() from error

    def _ask(self, method: str, address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._url}/api{address}",
            None if body is None else json.dumps(body).encode(),
            {
                "x-api-key": self._key,
                "Accept": "application/json",
                "Content-Type": "application/json",
            },
            method=method,
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer = parse_json(response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise InputError(
                    f"Immich refuses the key for {method} {address.rpartition('/')[0] or address}",
                    f"{_KEY} is to be a key with asset.read and asset.update.",
                ) from error
            said = f"Immich answers {error.code} {error.reason}"
            raise PhotoRejected(Reason.NOT_WRITABLE, said) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"`immich`: {self._url} does not answer: {reason}", "Run again: it goes on."
            ) from error
        except ValueError as error:
            raise _unlike() from error
        if not isinstance(answer, dict):
            raise _unlike()
        return answer


def _unlike() -> PhotoRejected:
    return PhotoRejected(Reason.NOT_WRITABLE, "what answers is not Immich as its API says")


def _position(asset: dict[str, Any]) -> Position | None:
    exif = asset.get("exifInfo")
    lat, lon = (
        (exif.get("latitude"), exif.get("longitude")) if isinstance(exif, dict) else (None, None)
    )
    try:
        return None if lat is None or lon is None else checked(float(lat), float(lon), "manifest")
    except (TypeError, ValueError, PhotoRejected):
        return None
