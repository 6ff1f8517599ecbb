"""What no request gets past: names of the server, other sites, sizes; and headers of every answer.

A page elsewhere may point a name of its own at this machine (DNS rebinding), and may send forms
here: so the server answers to its own names, and changes nothing for another site.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geosearch.web.problems import problem

_READING = {"GET", "HEAD", "OPTIONS"}
#: Bytes of a request that has no photos.
_PLAIN_BYTES = 4 * 2**20


class Guard:
    """Refuses, or lets through to `app`.

    `hosts` are the names that the server answers to, None for any; `most_bytes` the most that a
    request may have; `basemap` whether the page may fetch maps from elsewhere.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str] | None, most_bytes: int, basemap: bool
    ) -> None:
        self.app, self._hosts, self._most_bytes = app, hosts, most_bytes
        elsewhere = " https:" if basemap else ""
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
                "frame-ancestors 'none'; worker-src 'self' blob:; "
                f"img-src 'self' data: blob:{elsewhere}; connect-src 'self'{elsewhere}"
            ),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, seen = Headers(scope=scope), 0
        photos = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._most_bytes if photos else min(_PLAIN_BYTES, self._most_bytes)

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, f"the request is over {most:,} bytes")
            return message

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refusal = self._refusal(scope["method"], headers, most)
        await (refusal or self.app)(scope, counted, headed)

    def _refusal(self, method: str, headers: Headers, most: int) -> Response | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return problem(
                421,
                "the server does not answer to this name",
                f"Ask for one of {', '.join(sorted(self._hosts))}.",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if method not in _READING and (
            site not in ("none", "same-origin")
            if origin is None
            else urlsplit(origin).netloc.lower() != host.lower()
        ):
            return problem(403, "the request comes from another site")
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > most:
            return problem(413, f"the request is over {most:,} bytes")
        return None


def _name(host: str) -> str:
    """The name in a header Host, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
