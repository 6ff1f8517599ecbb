"""The application: the API under `/api/v1`, described by OpenAPI, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from threading import BoundedSemaphore, Event, Thread
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware

from geosearch import __version__
from geosearch.settings import WebSettings
from geosearch.web import (
    api_answers,
    api_catalogue,
    api_jobs,
    api_localize,
    api_photos,
    api_reviews,
    api_session,
    api_tiles,
    api_tokens,
)
from geosearch.web.access import Gate
from geosearch.web.engine import Engine
from geosearch.web.guards import Guard
from geosearch.web.jobs import Jobs
from geosearch.web.page_files import BesideApi, Page
from geosearch.web.picture_bytes import Thumbnails
from geosearch.web.problems import Problem, add_handlers
from geosearch.web.warming import keep_warming

_ABOUT = """Find where a photo was taken, by its nearest neighbours among geotagged photos.

Values are those that the commands print with `--json`. Errors are problem details (RFC 9457).
"""
#: Photos that are fetched from elsewhere at once.
_FETCHED_AT_ONCE = 4
_ROUTERS = (
    api_session,
    api_catalogue,
    api_localize,
    api_jobs,
    api_answers,
    api_reviews,
    api_photos,
    api_tiles,
    api_tokens,
)


def make_application(
    engine: Engine,
    gate: Gate,
    hosts: Collection[str] | None,
    stopping: Callable[[], bool] = lambda: False,
) -> Guard:
    """The application behind its guard; `hosts` are the names that it answers to, None for any.
    `stopping`: the server is about to end, and waits for answers that have no end of their own.

    Models are loaded while it starts; until then `/api/v1/status` says `warming`.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        ending = Event()
        warming = Thread(target=keep_warming, args=(engine, gate.own, ending))
        warming.start()
        yield
        ending.set()
        await run_in_threadpool(app.state.jobs.close)
        await run_in_threadpool(warming.join)
        gate.close()

    app = FastAPI(
        title="geosearch",
        version=__version__,
        description=_ABOUT,
        lifespan=running,
        docs_url=None,  # they would come from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
    )
    settings = WebSettings()
    app.state.engine, app.state.gate, app.state.settings = engine, gate, settings
    app.state.thumbnails, app.state.jobs = Thumbnails(), Jobs()
    # Slow addresses must not take the threads that answer others.
    app.state.fetching = BoundedSemaphore(_FETCHED_AT_ONCE)
    app.state.stopping = stopping
    api = APIRouter(prefix="/api/v1")
    for module in _ROUTERS:
        api.include_router(module.router)
    app.include_router(api)
    app.router.routes.append(BesideApi("/", Page()))
    add_handlers(app)
    app.openapi = _described(app.openapi)  # type: ignore[method-assign]
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    return Guard(
        app,
        admit=gate.admit,
        hosts=hosts,
        most_bytes=settings.upload_bytes,
        basemap=settings.basemap_style,
    )


def _described(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The description of the API, with what all routes refer to."""

    def described() -> dict[str, Any]:
        value = make()
        schemas = value.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return value

    return described
