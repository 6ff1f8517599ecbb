"""What is asked about, however it is given: files, pictures in memory, vectors, and many of them.

A name and a sha256 say in an answer what it is an answer to. Of a file they are its path or URL and
of its bytes. What has no path is called `bytes:`, `image:` or `vector:` and the first digits of its
sha256: that of a picture in memory is of its pixels as a binary PPM file, that of a vector of its
float32 values, little-endian, at length 1. Words are called `text:` and themselves; the sha256 is
of their UTF-8.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import whole
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import stored_embedding
from geosearch.errors import InputError, MissingFileError, PhotoRejected, Reason, no_photo
from geosearch.features.backbones import Backbone
from geosearch.features.external_model import ExternalBackbone
from geosearch.features.extraction import (
    Outcome,
    Rejected,
    embed_batch,
    embed_stored,
    outcome_of,
)
from geosearch.features.model_rows import Model, require_model
from geosearch.features.unit_vectors import unit_vectors
from geosearch.parallel import batched, ordered_map, processors
from geosearch.photo_endings import PHOTO_ENDINGS
from geosearch.query import Query
from geosearch.settings import image_settings
from geosearch.storage import ending, is_remote, read_bytes, resolve, said

if TYPE_CHECKING:
    from PIL import Image

_DIGITS = 16
#: Characters of a text: models read a few dozen words of it.
MOST_TEXT = 1000
_KINDS = "a path or URL, a picture (bytes, an open file, of PIL, an array) or a vector"


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A query before it is embedded: `read` gives the bytes of its picture, or it is a `vector`.

    Or it is a `text`. What `lasts` can be read again by its name; a vector may have none.
    """

    name: str
    read: Callable[[], bytes] | None = None
    vector: NDArray[Any] | None = None
    lasts: bool = False
    text: str | None = None


#: What one query may be given as.
GivenQuery = Union[
    str,
    PathLike[str],
    bytes,
    bytearray,
    memoryview,
    BinaryIO,
    "Image.Image",
    NDArray[Any],
    Sequence[float],
    Given,
    Rejected,
]
#: And many: also a folder or manifest of photos, or an array of several pictures or vectors.
GivenQueries = GivenQuery | Iterable[GivenQuery]


def given_queries(queries: GivenQueries, name: str = "photos") -> list[Given | Rejected]:
    """Each query of what is given, in order; what cannot be read is rejected, and stops no other.

    Raises
    ------
    InputError
        It is none of `GivenQueries`; the message calls it `name`. A manifest or vector that cannot
        be used.
    """
    alone = _one(queries, name)
    if alone is not None:
        return alone
    if not isinstance(queries, Iterable):
        raise _unknown(queries, name)
    found: list[Given | Rejected] = []
    for each in queries:
        items = _one(each, name)
        if items is None:
            raise _unknown(each, name)
        found += items
    return found


def text_query(text: str) -> Given:
    """A text as a query, which the answer calls `text:` and itself.

    Raises
    ------
    InputError
        It is none, or too long.
    """
    plain = " ".join(text.split()) if isinstance(text, str) else ""
    if not plain.isprintable() or not 0 < len(plain) <= MOST_TEXT:
        raise InputError(
            f"`text`: {text!r:.40} cannot be asked",
            f"Give words of 1 to {MOST_TEXT:,} characters.",
        )
    return Given(f"text:{plain}", text=plain)


def one_or_stored(
    photo: Any, photo_id: Any = None, text: str | None = None
) -> Given | Rejected | int:
    """The one query that is given, or the id of a stored photo, or words.

    Raises
    ------
    InputError
        There is neither, or both; or it is no query, or several.
    """
    if sum(each is not None for each in (photo, photo_id, text)) != 1:
        raise InputError("`photo`: give it, the id of a stored one, or `text`, and not both")
    if text is not None:
        return text_query(text)
    if photo_id is not None:
        return whole("photo_id", photo_id)
    found = _one(photo, "photo")
    if found is None:
        raise _unknown(photo, "photo")
    return only(found)


def only(queries: Sequence[Given | Rejected]) -> Given | Rejected:
    """The query, if there is one.

    Raises
    ------
    InputError
        There are several.
    """
    if len(queries) != 1:
        raise InputError(
            f"`photo`: there are {len(queries):,} queries in this, and one is asked about",
            "Give one of them, or ask about all: localize_many, or geosearch localize.",
        )
    return queries[0]


def file_queries(path: str | PathLike[str]) -> list[Given | Rejected]:
    """The rows of a file of vectors, as `geosearch embeddings import` reads them, called FILE#ROW.

    Raises
    ------
    InputError
        The file cannot be read, or holds no vectors.
    """
    from geosearch.features.external_vectors import read_vectors  # loads PyArrow

    file = Path(resolve(str(path)))
    found: list[Given | Rejected] = []
    for block in read_vectors(file, "row"):
        for place, vector in enumerate(block.vectors):
            name = f"{file}#{block.first + place}"
            why = block.defects.get(place)
            found.append(Given(name, vector=vector) if why is None else _rejected(name, why))
    return found


def embed_given(
    database: Database,
    backbone: Backbone,
    model: Model,
    given: Iterable[Given | Rejected],
    *,
    known: bool = False,
) -> Iterator[Outcome]:
    """Queries with their embeddings, in order. Vectors are brought to length 1.

    With `known`, and where the model embeds no photo, photos whose bytes are in the database have
    the embedding that is stored there.

    Raises
    ------
    InputError
        A vector has another length than those of the model, or it knows no words.
    ModelError
        The model embeds no photo, and one has no embedding.
    """
    known = known or isinstance(backbone, ExternalBackbone)

    def work(batch: Sequence[Given | Rejected]) -> list[Outcome]:
        outcomes: list[Outcome | Given] = []
        for each in batch:
            if isinstance(each, Given) and each.vector is not None:
                outcomes.append(_vector_query(each, each.vector, model))
            elif isinstance(each, Given) and each.text is not None:
                outcomes.append(_text_query(each, backbone.embed_text(each.text)))
            elif isinstance(each, Given) and known:
                outcomes.append(_known(database, model, each))
            else:
                outcomes.append(each)
        made = _embedded(backbone, [each for each in outcomes if isinstance(each, Given)])
        return [next(made) if isinstance(each, Given) else each for each in outcomes]

    for outcomes in ordered_map(work, batched(given, backbone.batch_size), processors()):
        yield from outcomes


def embed_one(
    database: Database, backbone: Backbone, asked: Given | Rejected | int
) -> tuple[Model, Query]:
    """The backbone's row, and one query embedded, or the stored photo of this id.

    The embedding of a photo that is in the database is read from there.

    Raises
    ------
    NotFoundError
        Nothing is embedded with the backbone here, or there is no such photo.
    PhotoRejected
        It cannot be read, decoded or embedded; names it.
    InputError, ModelError
        As `embed_given`.
    """
    with database.connection() as connection:
        model = require_model(connection, backbone.description)
    if isinstance(asked, int):
        outcome = next(embed_stored(database, backbone, model, [asked]), None)
        if outcome is None:
            raise no_photo(asked)
    else:
        (outcome,) = embed_given(database, backbone, model, [asked], known=True)
    if isinstance(outcome, Rejected):
        why = outcome.rejection
        raise PhotoRejected(why.reason, f"{outcome.uri}: {why.message}") from why
    return model, outcome


def _embedded(backbone: Backbone, given: Sequence[Given]) -> Iterator[Outcome]:
    """Pictures embedded as one batch; those that do not last keep their bytes at hand."""
    # By their places: names may be the same.
    reads = {str(place): each.read for place, each in enumerate(given) if each.read is not None}
    made = embed_batch(backbone, [*reads], read=lambda place: reads[place]())
    for each, outcome in zip(given, made, strict=True):
        if isinstance(outcome, Rejected):
            yield replace(outcome, uri=each.name)
        else:
            yield replace(outcome, uri=each.name, read=None if each.lasts else each.read)


def _known(database: Database, model: Model, given: Given) -> Outcome | Given:
    """The query by the stored embedding of its bytes; if there is none, with these at hand."""
    assert given.read is not None
    started = time.perf_counter()
    try:
        data = given.read()
    except PhotoRejected as rejection:
        return Rejected(given.name, rejection, "read")
    digest = sha256(data).digest()
    with database.connection() as connection:
        stored = stored_embedding(connection, model.id, digest)
    if stored is None:
        return replace(given, read=lambda: data)
    ms = 1000 * (time.perf_counter() - started)
    read = None if given.lasts else given.read
    return Query(given.name, digest, stored[0], ms=ms, low_information=stored[1], read=read)


def _vector_query(given: Given, vector: NDArray[Any], model: Model) -> Outcome:
    called = given.name or "the query"
    if len(vector) != model.dimension:
        raise InputError(
            f"{called}: a vector of {len(vector):,} numbers, and those of {model.name} have "
            f"{model.dimension:,}",
            "Give one that this model made, or name another `model`: geosearch models list",
        )
    unit, why = unit_vectors(np.asarray(vector)[None])
    if 0 in why:
        return Rejected(called, PhotoRejected(*why[0]), "embed")
    digest = sha256(unit[0].astype("<f4").tobytes())
    name = given.name or f"vector:{digest.hexdigest()[:_DIGITS]}"
    return Query(name, digest.digest(), unit[0])


def _text_query(given: Given, embedding: NDArray[np.float32]) -> Outcome:
    digest = sha256((given.text or "").encode()).digest()
    return outcome_of(given.name, digest, embedding, 0.0)


def _one(query: Any, name: str) -> list[Given | Rejected] | None:
    """The queries that one thing is; None if it is none, but may hold several."""
    pil = sys.modules.get("PIL.Image")  # there is none of its images before it is loaded
    if isinstance(query, Given | Rejected):
        return [query]
    if isinstance(query, str | PathLike):
        return _path(query)
    if isinstance(query, bytes | bytearray | memoryview):
        return [_in_memory("bytes", bytes(query))]
    if pil is not None and isinstance(query, pil.Image):
        return [_picture(query)]
    if callable(getattr(query, "read", None)):
        return [_open_file(query)]
    numbers = isinstance(query, list | tuple) and len(query) and isinstance(query[0], Real)
    if hasattr(query, "__array__") or numbers:
        return _array(query, name)
    return None


def _path(path: str | PathLike[str]) -> list[Given | Rejected]:
    uri = resolve(str(path))
    remote = is_remote(uri)
    if ending(uri) not in PHOTO_ENDINGS or (not remote and Path(uri).is_dir()):
        found = _several(str(path), uri, remote)
        if found is not None:
            return found
    return [Given(uri, partial(read_bytes, uri), lasts=True)]


def _several(path: str, uri: str, remote: bool) -> list[Given | Rejected] | None:
    """The photos of a folder or manifest; None of what is neither."""
    from geosearch.ingest.manifests import Reading, is_manifest  # loads PyArrow
    from geosearch.ingest.records import Candidate, Rejection
    from geosearch.ingest.sources import candidates, locate

    folder = (
        uri.endswith("/") and not uri.lower().startswith("http") if remote else Path(uri).is_dir()
    )
    if not folder and not is_manifest(uri):
        return None
    found: list[Given | Rejected] = []
    reading = Reading(positions=False)
    for item in candidates(locate(path, reading), reading):
        if isinstance(item, Candidate):
            found.append(Given(item.uri, partial(read_bytes, item.uri), lasts=True))
        elif isinstance(item, Rejection):
            rejection = PhotoRejected(item.reason, item.message)
            found.append(Rejected(item.origin or item.uri, rejection, item.stage))
    if not found:
        raise MissingFileError(f"there is no photo in {path}", "Give a folder or list of photos.")
    return found


def _in_memory(kind: str, data: bytes) -> Given:
    return Given(f"{kind}:{sha256(data).hexdigest()[:_DIGITS]}", lambda: data)


def _open_file(file: Any) -> Given | Rejected:
    """What an open file has from where it stands."""
    name, limit = getattr(file, "name", None), image_settings().max_bytes
    uri = resolve(name) if isinstance(name, str) and Path(name).is_file() else None
    try:
        data = file.read(limit + 1)
        if isinstance(data, str):
            raise PhotoRejected(Reason.UNREADABLE, "it is open as text: open(path, 'rb')")
        if not data and file.seekable() and file.tell():
            raise PhotoRejected(Reason.UNREADABLE, "it is read to its end already: seek(0)")
        if len(data) > limit:
            message = f"the file is over GEOSEARCH_MAX_BYTES={limit}"
            raise PhotoRejected(Reason.TOO_LARGE, message)
    except PhotoRejected as rejection:
        return Rejected(uri or "the open file", rejection, "read")
    except Exception as error:  # of whatever is like a file
        message = "it is closed" if getattr(file, "closed", False) else said(error)
        return Rejected(uri or "the open file", PhotoRejected(Reason.UNREADABLE, message), "read")
    found = _in_memory("bytes", data)
    return found if uri is None else replace(found, name=uri)


def _picture(image: Image.Image) -> Given | Rejected:
    from geosearch.images import decode

    try:
        upright = decode(image)
    except PhotoRejected as rejection:
        return Rejected("the image", rejection, "decode")
    return _pixels(*upright.size, upright.tobytes())


def _pixels(width: int, height: int, rgb: bytes) -> Given:
    return _in_memory("image", b"P6 %d %d 255\n" % (width, height) + rgb)


def _array(given: Any, name: str) -> list[Given | Rejected]:
    try:
        array = np.asarray(given)
    except Exception as error:  # of tensors that are elsewhere, their own
        raise InputError(
            f"`{name}`: no array of numbers: {error}",
            "Give it as NumPy has it; of PyTorch: x.detach().cpu().numpy()",
        ) from error
    kind, shape = array.dtype.kind, array.shape
    if array.dtype == np.uint8 and array.ndim in (3, 4) and shape[-1] == 3 and 0 not in shape:
        pictures = array[None] if array.ndim == 3 else array
        return [_pixels(shape[-2], shape[-3], each.tobytes()) for each in pictures]
    if kind in "fiu" and array.dtype != np.uint8 and array.ndim in (1, 2) and array.size:
        return [Given("", vector=each) for each in (array[None] if array.ndim == 1 else array)]
    raise InputError(
        f"`{name}`: an array of {array.dtype} of shape {shape} is no picture and no vector",
        "A picture is uint8 of shape (height, width, 3), a vector floats of shape (dimension,); "
        "several have one more in front.",
    )


def _rejected(name: str, why: str) -> Rejected:
    return Rejected(name, PhotoRejected(Reason.BAD_ROW, why), "read")


def _unknown(query: Any, name: str) -> InputError:
    return InputError(f"`{name}`: expected {_KINDS}, found {type(query).__name__}")
