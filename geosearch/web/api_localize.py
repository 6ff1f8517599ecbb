"""Photos in, answers out: uploaded ones, and those of the collections by their stored embedding."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath
from threading import BoundedSemaphore, Lock
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError, PhotoRejected, Reason
from geosearch.features.description import LONGEST
from geosearch.features.extraction import stored_query
from geosearch.features.given_queries import MOST_TEXT
from geosearch.features.model_rows import find_model
from geosearch.features.unit_vectors import normalised
from geosearch.images import open_image
from geosearch.ingest.metadata import Metadata
from geosearch.query import Query
from geosearch.settings import image_settings
from geosearch.storage import read_public
from geosearch.web.access import Asker
from geosearch.web.asking import MOST, Asked, Models, Number, answer
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import said, shows

router = APIRouter(tags=["localize"], responses=PROBLEMS)

#: An answer, shortened.
ANSWER: dict[str, Any] = {
    "localization_id": 17,
    "photo": "holiday.jpg",
    "estimate": {"lat": 34.74, "lon": 10.76},
    "place": "in Sfax, Tunisia",
    "method": "density",
    "agreement": 0.71,
    "calibration": 3,
    "calibration_fits": "yes",
    "confident": True,
    "low_information": None,
    "presence": 0.93,
    "probability_within_km": {"1": 0.1, "25": 0.6, "200": 0.8},
    "radius_km": {"50": 12.0, "90": 240.0},
    "modes": [{"lat": 34.74, "lon": 10.76, "mass": 0.7}],
    "neighbours": [
        {
            "rank": 1,
            "photo_id": 5,
            "uri": "/photos/5.jpg",
            "lat": 34.73,
            "lon": 10.75,
            "distance": 0.21,
            "weight": 0.05,
        }
    ],
    "plan": {"strategy": "exact", "reason": "the model has no index"},
    "model": "packaged/efficientnet-lite0",
    "parameters": {"method": "density", "k": 100},
    "filter": {},
    "excluded": None,
    "truth": None,
    "error_km": None,
    "truth_level": None,
    "elapsed_ms": {"features": 40.1, "retrieval": 3.2, "density": 9.8, "total": 53.1},
    "created_at": None,
}

#: What the field `request` of a form is.
ASKED = (
    "What to answer by, as JSON: the fields of Asked, such as "
    '{"filter": {"country": "CH"}, "include": ["regions"]}.'
)

Photo = Annotated[UploadFile, File(description="The photo.")]


class AskedOfPhoto(Asked):
    """A photo of the collections, by its id or its address there, and what to answer by."""

    photo_id: int | None = Field(None, ge=1, le=MOST, description="Its id.")
    uri: str | None = Field(None, description="Its address, exactly as a collection has it.")


class AskedOfUrl(Asked):
    """A photo on the Internet, and what to answer by."""

    url: str = Field(max_length=4000, description="Its address: http or https.")


class AskedOfWords(Asked):
    """Words, and what to answer by."""

    text: str = Field(min_length=1, max_length=MOST_TEXT, description="What to look for.")


class AskedByEmbedding(Asked):
    """The embedding that an answer showed, and what to answer by."""

    embedding: list[Annotated[Number, Field(ge=-1, le=1)]] = Field(
        min_length=1, max_length=LONGEST, description="As an answer shows it."
    )
    photo: str = Field("photo", max_length=255, description="What the photo is called.")
    low_information: str | None = Field(None, description="As the answer said.")
    record: Literal[False] | None = Field(None, description="Such an answer is not recorded.")


@router.post("/localize", summary="Where was this photo taken?", responses=shows(ANSWER))
def localize(
    asker: Asker,
    engine: Models,
    photo: Photo,
    request: Annotated[str, Form(description=ASKED)] = "{}",
) -> Response:
    """Answer an uploaded photo. Its own position is not looked at."""
    asked = read_asked(request)
    read = _reading(photo)
    queries = engine.embedded(asker.database, asked.model, named(photo), read)
    return said(answer(asker, queries, asked, picture=read))


@router.post(
    "/localize/url", summary="Where was the photo at this address taken?", responses=shows(ANSWER)
)
def localize_url(request: Request, asker: Asker, engine: Models, asked: AskedOfUrl) -> Response:
    """Fetch a photo and answer it as if it were uploaded: from the Internet alone, never from an
    address in a private network, by whatever names and redirects it is reached.
    """
    room: BoundedSemaphore = request.app.state.fetching
    if not room.acquire(blocking=False):
        raise HTTPException(429, "too many photos are being fetched", {"Retry-After": "5"})
    try:
        data = read_public(asked.url, request.app.state.settings.upload_bytes)
    finally:
        room.release()
    name = file_name(unquote(urlsplit(asked.url).path))
    queries = engine.embedded(asker.database, asked.model, name, lambda: data)
    return said(answer(asker, queries, asked, picture=lambda: data))


@router.post(
    "/localize/stored",
    summary="Where would this photo of a collection be placed?",
    responses=shows(ANSWER),
)
def localize_stored(asker: Asker, engine: Models, asked: AskedOfPhoto) -> Response:
    """Answer a photo of the collections by its stored embedding; no file or address is opened.

    With `exclude_self`, it is placed without itself. It is not recorded unless `record` is true.
    """
    with asker.database.connection() as connection:
        key = _photo_id(connection, asked)
        models = [find_model(connection, spec) for spec in engine.specs(asked.model)]
        queries = [(model, stored_query(connection, model, key)) for model in models]
    return said(answer(asker, queries, asked, record=False, stored=True))


@router.post(
    "/localize/embedding",
    summary="Where was the photo with this embedding taken?",
    responses=shows(ANSWER),
)
def localize_embedding(asker: Asker, engine: Models, asked: AskedByEmbedding) -> Response:
    """Ask again about an upload whose answer was not recorded: nothing is uploaded twice."""
    with asker.database.connection() as connection:
        model = find_model(connection, engine.one(asked.model))
    embedding = normalised(np.array([asked.embedding], np.float32))[0]
    query = Query(asked.photo, bytes(32), embedding, low_information=asked.low_information)
    return said(answer(asker, [(model, query)], asked, record=False, words=None))


@router.post("/localize/text", summary="Where is what these words say?", responses=shows(ANSWER))
def localize_text(asker: Asker, engine: Models, asked: AskedOfWords) -> Response:
    """Answer words, by a model that knows pictures and words, and a calibration of words if there
    is one: those of photos do not hold for them.
    """
    query = engine.words(asker.database, asked.model, asked.text)
    return said(answer(asker, [query], asked, words=True))


@router.post(
    "/position",
    summary="Where does the photo itself say it was taken?",
    responses=shows({"position": {"lat": 34.7, "lon": 10.8, "source": "exif", "accuracy_m": None}}),
)
def position(asker: Asker, photo: Photo) -> Response:  # noqa: ARG001 - only for who may ask
    """The position in the photo's metadata, null where it has none: for who wants it revealed.

    No other address of the server looks at it, and no answer rests on it.
    """
    return said({"position": Metadata.of(open_image(_reading(photo)())).position()})


def read_asked(text: str) -> Asked:
    """The JSON of a form's field `request`.

    Raises
    ------
    RequestValidationError
        It is not as `Asked` describes.
    """
    try:
        return Asked.model_validate_json(text or "{}")
    except ValidationError as error:
        errors = [one | {"loc": ("request", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(errors) from error


def named(photo: UploadFile) -> str:
    """What an upload is called."""
    return file_name(photo.filename or "")


def file_name(given: str) -> str:
    """The last part of a name that a stranger gave, without what does not print."""
    whole = unicodedata.normalize("NFC", given.replace("\\", "/"))
    name = "".join(c for c in PurePosixPath(whole).name if c.isprintable())[:255]
    return name if name.strip(". ") else "photo"


def _reading(photo: UploadFile) -> Callable[[], bytes]:
    """What gives the bytes of an upload, to several threads too: each holds them while it needs."""
    one = Lock()

    def read() -> bytes:
        limit = image_settings().max_bytes
        with one:
            photo.file.seek(0)
            data = photo.file.read(limit + 1)
        if len(data) > limit:
            raise PhotoRejected(Reason.TOO_LARGE, f"the file is over {limit:,} bytes")
        return data

    return read


def _photo_id(connection: Connection, asked: AskedOfPhoto) -> int:
    if (asked.photo_id is None) == (asked.uri is None):
        raise InputError("one of photo_id and uri says which photo", "Give one.")
    if asked.photo_id is not None:
        return asked.photo_id
    row = connection.execute(
        "SELECT id FROM geosearch.photos WHERE uri = %s AND "  # by its index, of both
        "collection_id IN (SELECT id FROM geosearch.collections) ORDER BY id LIMIT 1",
        (asked.uri,),
    ).fetchone()
    if row is None:
        raise NotFoundError("no photo of the collections has this address")
    return int(row[0])
