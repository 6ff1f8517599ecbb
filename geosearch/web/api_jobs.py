"""Many photos at once, with progress by server-sent events."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Header, Request, UploadFile
from starlette.responses import Response, StreamingResponse

from geosearch.json_record import plain
from geosearch.storage import read_bytes
from geosearch.untrusted import for_json
from geosearch.web.access import Asker
from geosearch.web.api_localize import ANSWER, ASKED, named, read_asked
from geosearch.web.asking import Models, answer
from geosearch.web.jobs import Job, Jobs
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import UNKEPT, said, shows

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=PROBLEMS)

_JOB = {"id": "Zk3vQ1", "state": "running", "photos": 3, "answered": 1, "failed": 0}
#: Seconds between looks at a job, and between signs of life.
_LOOK_S, _ALIVE_S = 0.1, 15.0
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events of kind answer, one for each photo, then one of kind end",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
                }
            }
        },
    }
}


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


Kept = Annotated[Jobs, Depends(_jobs)]


@router.post(
    "",
    summary="Answer several photos",
    status_code=202,
    responses={202: shows(_JOB, "Begun")[200]},
)
def start(
    asker: Asker,
    engine: Models,
    jobs: Kept,
    photos: Annotated[list[UploadFile], File(description="The photos.")],
    request: Annotated[str, Form(description=ASKED)] = "{}",
) -> Response:
    """Begin; what becomes of them is told by the job's events."""
    asked = read_asked(request)

    def answered(name: str, path: Path) -> dict[str, Any]:
        read = partial(read_bytes, str(path))
        queries = engine.embedded(asker.database, asked.model, name, read)
        found = answer(asker, queries, asked, picture=read)
        del found["neighbours"]  # read them with the answer
        return found

    folder = TemporaryDirectory(prefix="geosearch-")
    for number, photo in enumerate(photos):
        with (Path(folder.name) / str(number)).open("wb") as stream:
            shutil.copyfileobj(photo.file, stream)
    return said(jobs.start(asker.role, [named(photo) for photo in photos], folder, answered), 202)


@router.get("", summary="One's jobs", responses=shows([_JOB]))
def listed(asker: Asker, jobs: Kept) -> Response:
    """The oldest first; those that ended an hour ago are forgotten."""
    return said(jobs.list(asker.role))


_BRIEF = {name: value for name, value in ANSWER.items() if name != "neighbours"}


@router.get("/{id}", summary="A job", responses=shows(_JOB | {"answers": [_BRIEF]}))
def read(asker: Asker, jobs: Kept, id: str) -> Response:
    """With the answers so far: each without its neighbours, or the photo with its error."""
    job = jobs.find(asker.role, id)
    return said(job.to_json() | {"answers": [*job.answers]})


@router.delete("/{id}", summary="Stop and forget a job", responses=shows(_JOB))
def cancel(asker: Asker, jobs: Kept, id: str) -> Response:
    """Answer no more of its photos, and forget it; answers that are recorded stay."""
    return said(jobs.remove(asker.role, id))


@router.get("/{id}/events", summary="A job as it goes on", responses=_EVENTS)
def events(
    request: Request,
    asker: Asker,
    jobs: Kept,
    id: str,
    last_event_id: Annotated[int, Header(ge=0)] = 0,
) -> Response:
    """Server-sent events, from the first answer, or after that of `Last-Event-ID`."""
    job = jobs.find(asker.role, id)
    stream = _stream(request, job, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=UNKEPT)


async def _stream(request: Request, job: Job, told: int) -> AsyncIterator[str]:
    silent = 0.0
    while True:
        over = job.over  # asked first: what was answered before it is told below
        for number in range(told, len(job.answers)):
            yield _event("answer", job.answers[number], number + 1)
            told, silent = number + 1, 0.0
        if over or request.app.state.stopping():
            yield _event("end", job, told)
            return
        await asyncio.sleep(_LOOK_S)
        silent += _LOOK_S
        if silent > _ALIVE_S:
            silent = 0.0
            yield ": still at work\n\n"


def _event(kind: str, value: Any, number: int) -> str:
    data = for_json(json.dumps(value, default=plain))
    return f"event: {kind}\nid: {number}\ndata: {data}\n\n"
