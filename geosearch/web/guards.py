"""What no request gets past: names of the server, other sites, sizes; and headers of every answer.

A page elsewhere may point a name of its own at this machine (DNS rebinding), and may send forms
here: so the server answers to its own names, and changes nothing for another site. Uploads of who
is not let in, and those that do not come, are not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geosearch.errors import GeosearchError
from geosearch.web.problems import failed, problem, refused

_READING = {"GET", "HEAD", "OPTIONS"}
#: Bytes of a request that has no photos.
_PLAIN_BYTES = 4 * 2**20
#: Seconds to wait for the next part of a request.
NEXT_S = 30.0


class Guard:
    """Refuses, or lets through to `app`.

    `admit` raises `HTTPException` for who may not send photos; `hosts` are the names that the
    server answers to, None for any; `most_bytes` the most that a request may have; `basemap` the
    address of a map style from elsewhere, if the page has one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admit: Callable[[Request], Awaitable[object]],
        hosts: Collection[str] | None,
        most_bytes: int,
        basemap: str | None,
    ) -> None:
        self.app, self._admit, self._hosts, self._most_bytes = app, admit, hosts, most_bytes
        # What a style is made of may lie anywhere with TLS, and without only where the style lies.
        style = urlsplit(basemap or "")
        own = f" {style.scheme}://{style.netloc}" if style.scheme == "http" else ""
        elsewhere = f" https:{own}" if basemap else ""
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
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # there are none
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, seen, whole = Headers(scope=scope), 0, False
        photos = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._most_bytes if photos else min(_PLAIN_BYTES, self._most_bytes)
        only_head = scope["method"] == "HEAD"

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout(NEXT_S):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {NEXT_S:.0f} s") from None
            seen, whole = seen + len(message.get("body", b"")), not message.get("more_body", False)
            if seen > most:
                raise HTTPException(413, f"the request is over {most:,} bytes")
            return message

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                given.update(self._headers)
                if "cache-control" not in given:
                    # Another may log in there: browsers ask each time, and nobody between keeps it.
                    given["cache-control"] = "private, no-cache"
                    given.add_vary_header("Cookie, Authorization")
            elif only_head:
                message = {**message, "body": b""}
            await send(message)

        refusal = self._refusal(scope["method"], headers, most, photos)
        if refusal is None and photos:
            refusal = await self._not_admitted(Request(scope))
        if only_head:
            scope = {**scope, "method": "GET"}
        await (refusal or self.app)(scope, counted, headed)

    async def _not_admitted(self, request: Request) -> Response | None:
        """The problem of who may not send photos: of those nothing is read before."""
        try:
            await self._admit(request)
        except HTTPException as error:
            return refused(error)
        except GeosearchError as error:
            return failed(error)
        return None

    def _refusal(self, method: str, headers: Headers, most: int, photos: bool) -> Response | None:
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
            remedy = None if photos else "Photos are sent as a form: curl -F photo=@holiday.jpg …"
            return problem(413, f"the request is over {most:,} bytes", remedy)
        return None


def _name(host: str) -> str:
    """The name in a header Host, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
