"""The schemas of what commands print with `--json`: one for each, and true; see json_schemas.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from geosearch.database.connection import Database
from scripts.reference.json_schemas import FILE, Schema, schemas
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation
from tests.json_schemas import check_documents, commands, widened
from tests.rows import add_embeddings, add_model, add_photos

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.sampled_from("abc"), inside),
    max_leaves=8,
)


def test_every_command_has_a_schema() -> None:
    printing = {
        name
        for name, command in commands()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert len(printing) > 90
    assert printing - {*schemas()} == set(), "run a test of theirs: see json_schemas.py"
    assert {*schemas()} - printing == set(), "there is no such command"


def test_the_schemas_are_of_the_form_and_name_fields_and_no_data() -> None:
    Draft202012Validator.check_schema(json.loads(FILE.read_text(encoding="utf-8")))
    found = {name for schema in schemas().values() for name in names(schema)}
    assert [name for name in found if not re.fullmatch("[a-z][a-z0-9_]*", name)] == []


def names(schema: Any) -> Iterator[str]:
    """The names of all fields."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for part in schema.values():
            yield from names(part)


@settings(max_examples=50)
@given(st.lists(VALUES, min_size=1), st.data())
def test_a_schema_is_as_wide_as_all_that_it_was_made_of(
    values: list[Any], data: st.DataObject
) -> None:
    made: Schema | None = reduce(widened, values, None)
    again = data.draw(st.sampled_from(values))
    assert widened(made, again) == made
    assert Draft202012Validator(made).is_valid(again)


def test_a_document_that_does_not_fit_is_told() -> None:
    check_documents(["tokens", "revoke", "3", "--json"], '{"revoked": 3}\n')
    for wrong in ('{"revoked": "3"}', '{"revoked": null}', '{"revoked": 3, "by": "ann"}', "{}"):
        with pytest.raises(AssertionError, match="tokens revoke prints"):
            check_documents(["tokens", "revoke", "3"], wrong)


def test_maps_have_any_key() -> None:
    counts: Schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert widened(counts, {"blurred": 3}) == counts
    assert widened(counts, {"blurred": "x"}) != counts
    assert widened({}, {"blurred": ["x"]}) == {}  # may be anything


def test_commands_that_no_other_test_has_print_json(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = CommandLine(database.url, capsys)
    with database.connection() as connection:
        model = add_model(connection, 4)
        photos = add_photos(connection, [46, 47], [7, 8])
        add_embeddings(connection, model, photos, np.eye(2, 4, dtype=np.float32))
    evaluation = add_evaluation(database, model)
    for words in (
        ("embeddings", "export", "--model", "test/model", "-o", tmp_path / "vectors.npy"),
        ("collections", "rename", "test", "tried"),
        ("evaluations", "delete", evaluation, "--yes"),
        *(
            ("export", layer, "-o", tmp_path / f"{layer}.csv")
            for layer in ("unlocated", "audit", "duplicates")
        ),
    ):
        ran = command(*words, "--json")
        assert ran.code == 0, ran.err
        assert ran.json()
