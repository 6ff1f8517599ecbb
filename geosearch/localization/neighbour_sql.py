"""The neighbours of an answer as one statement of SQL, to be run anywhere."""

from __future__ import annotations

from dataclasses import replace

import psycopg
from pgvector import HalfVector
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.errors import NotFoundError
from geosearch.localization.answer import Localization
from geosearch.localization.reproduction import model_of

# A tie-break keeps the index out: all that match are compared, which is what an index aims at.
_NEAREST = """
SELECT row_number() OVER (ORDER BY distance, photo_id) AS rank,
    photo_id, photos.uri, ST_Y(nearest.geom) AS lat, ST_X(nearest.geom) AS lon, distance
FROM (
    SELECT photo_id, geom, embedding <=> %(query)s::halfvec AS distance
    FROM {embeddings} AS embeddings
    WHERE {condition}
    ORDER BY distance, photo_id
    LIMIT %(k)s
) AS nearest
JOIN geosearch.photos ON photos.id = photo_id
ORDER BY rank;
"""


def neighbours_in_sql(connection: Connection, answer: Localization) -> str:
    """The statement that gives the neighbours of an answer, by all photos that pass its filter.

    Of an answer by several models there is one statement for each.

    An answer by the index may have missed some of them: its plan says the recall.

    Raises
    ------
    NotFoundError
        Its model, or a collection or country of its filter, is gone; or it went without neighbours.
    """
    if answer.members:
        alone = (replace(each, id=answer.id) for each in answer.members)
        return "\n".join(neighbours_in_sql(connection, each) for each in alone)
    model = model_of(connection, answer)
    if model is None or not answer.parameters.retrieves:
        raise NotFoundError(
            f"answer {answer.id} went by no neighbours, or its model was removed",
            "Localize the photo again.",
        )
    where = answer.where
    condition, values = where.compile(connection)
    statement = sql.SQL(_NEAREST).format(
        embeddings=visible_embeddings(connection, model.id, estimated=where.includes_estimated),
        condition=condition,
    )
    values |= {"query": HalfVector(answer.query.embedding), "k": answer.parameters.k}
    about = f"-- The neighbours of answer {answer.id}, by {model.name!r}, compared one by one."
    return f"{about}{psycopg.ClientCursor(connection).mogrify(statement, values)}"
