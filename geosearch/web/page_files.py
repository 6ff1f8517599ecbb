"""The page: files that `make setup` built into the package, or a word on how to build them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

#: Where the built page lies.
FOLDER = Path(__file__).parent / "page"

_MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>geosearch</title>
<h1>geosearch: the page is not built</h1>
<p>It takes Node.js 18 or newer: install it, run <code>make setup</code> in the folder of
geosearch's source, and load this again.</p>
<p>The API works without it: <a href="/api/v1/openapi.json">its description</a>.</p>
</html>
"""


class Page(StaticFiles):
    """The built page at all addresses that are no file of it and look like none: `/a/17` too."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, check_dir=False)
        self.config_checked = True  # the folder may be made while the server runs
        self._index = folder / "index.html"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, the page, or what to do where it is not built."""
        if not self._index.is_file():
            return HTMLResponse(_MISSING, 503)
        try:
            return await self._kept(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or Path(path).suffix:
                raise
            return await self._kept("index.html", scope)

    async def _kept(self, path: str, scope: Scope) -> Response:
        response: Any = await super().get_response("index.html" if path == "." else path, scope)
        # Names of what was built have a hash of what is in them.
        lasting = path.startswith("assets/")
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if lasting else "no-cache"
        )
        return response  # type: ignore[no-any-return]


class BesideApi(Mount):
    """All addresses but those of the API, which says itself what it lacks."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether an address is one."""
        return (Match.NONE, {}) if scope["path"].startswith("/api/") else super().matches(scope)
