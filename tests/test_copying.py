"""Binary COPY of embeddings writes what psycopg reads back."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.database.connection import Database
from geosearch.database.copying import PhotoKey, copy_embeddings, encode_rows
from tests.rows import add_embeddings, add_model, add_photos


def test_embeddings_come_back_with_their_photo_columns(database: Database) -> None:
    moments = [datetime(1969, 7, 20, 20, 17, 40, 250_000, tzinfo=UTC), None]
    vectors = np.array([[3, 4, 0], [0, -1, 0]], dtype=np.float32)
    with database.connection() as connection:
        model = add_model(connection, 3)
        photos = add_photos(
            connection, [47.5, -89], [8.25, 180], authors=["Zoë", None], taken_at=moments
        )
        photos = [photos[0]._replace(accuracy_m=2.5, licence="CC0"), photos[1]]
        add_embeddings(connection, model, photos, vectors)
        rows = connection.execute(
            "SELECT photo_id, ST_Y(geom), ST_X(geom), accuracy_m, taken_at, author, licence, "
            "embedding FROM geosearch.embeddings ORDER BY photo_id"
        ).fetchall()
    assert [row[1:7] for row in rows] == [
        (47.5, 8.25, 2.5, moments[0], "Zoë", "CC0"),
        (-89, 180, None, None, None, None),
    ]
    assert [row[0] for row in rows] == [photo.photo_id for photo in photos]
    np.testing.assert_allclose(rows[0][7].to_list(), [0.6, 0.8, 0], atol=1e-3)
    np.testing.assert_allclose(rows[1][7].to_list(), [0, -1, 0])


def test_a_partition_refuses_another_dimension(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, 3)
        photos = add_photos(connection, [0], [1])
        with pytest.raises(psycopg.errors.CheckViolation, match="dimension"):
            copy_embeddings(connection, model, photos, np.ones((1, 4), dtype=np.float32))
        connection.rollback()


def test_a_value_that_is_not_finite_is_refused() -> None:
    photo = PhotoKey(1, 1, b"", None, None, None, None)
    with pytest.raises(ValueError, match="not finite"):
        encode_rows(1, [photo], np.array([[np.nan, 1]], dtype=np.float32))


def test_rows_are_the_same_however_the_array_lies_in_memory() -> None:
    photos = [PhotoKey(number, 1, b"", None, None, None, None) for number in (1, 2)]
    vectors = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    rows = encode_rows(1, photos, vectors)
    assert encode_rows(1, photos, np.asfortranarray(vectors)) == rows
    assert encode_rows(1, photos, np.repeat(vectors, 2, axis=1)[:, ::2]) == rows


@given(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)))
def test_timestamps_are_microseconds_since_2000(moment: datetime) -> None:
    photo = PhotoKey(1, 1, b"", None, moment.replace(tzinfo=UTC), None, None)
    data = encode_rows(1, [photo], np.ones((1, 1), dtype=np.float32))
    start = 2 + 3 * 12 + 4 + 4 + 4
    micros = int.from_bytes(data[start : start + 8], "big", signed=True)
    expected = (moment - datetime(2000, 1, 1)) // (datetime.resolution)
    assert micros == expected


def test_a_photo_that_moves_takes_its_embedding_along(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, 2)
        photos = add_photos(connection, [1, 2], [1, 2])
        add_embeddings(connection, model, photos, np.ones((2, 2), dtype=np.float32))
        connection.execute(
            "UPDATE geosearch.photos SET geom = ST_SetSRID(ST_Point(50, 60), 4326), author = 'me' "
            "WHERE id = %s",
            (photos[0].photo_id,),
        )
        connection.execute(
            "UPDATE geosearch.photos SET geom = NULL, position_source = NULL WHERE id = %s",
            (photos[1].photo_id,),
        )
        rows = connection.execute(
            "SELECT photo_id, ST_X(geom), ST_Y(geom), author FROM geosearch.embeddings"
        ).fetchall()
    assert rows == [(photos[0].photo_id, 50, 60, "me")]
