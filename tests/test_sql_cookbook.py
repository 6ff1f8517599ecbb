"""docs/sql.md: every example runs, and gives what the page shows."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from geosearch.database.connection import Database
from tests.code_blocks import Block, blocks_of

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
RUN = [block for block in blocks_of("docs/sql.md") if block.not_run is None]
#: Statements, and what the page shows of each.
EXAMPLES = [
    (statement, text)
    for statement, text in pairwise(RUN)
    if (statement.language, text.language) == ("sql", "text")
]
OTHERS = [block for block in RUN if not any(block in example for example in EXAMPLES)]


@pytest.fixture(scope="module")
def sample(module_database: Database) -> Database:
    """The sample data of the page."""
    with module_database.connection() as connection:
        connection.execute((ROOT / "sql" / "sample.sql").read_bytes())
    return module_database


def shown(text: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table as psql prints it."""
    head, _, *rows, count = text.strip().split("\n")
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    assert count == f"({len(rows)} row{'' if len(rows) == 1 else 's'})"
    return [name.strip() for name in head.split("|")], cells


def test_the_page_answers_fourteen_questions() -> None:
    questions = re.findall(r"^### (\d+)\. .+\?$", PAGE, re.MULTILINE)
    assert [int(number) for number in questions] == list(range(1, 15))
    assert len(EXAMPLES) >= 14


@pytest.mark.parametrize(
    ("statement", "expected"),
    [pytest.param(statement.text, text.text, id=str(statement)) for statement, text in EXAMPLES],
)
def test_an_example_gives_what_the_page_shows(
    sample: Database, statement: str, expected: str
) -> None:
    with sample.connection() as connection:
        cursor = connection.execute(statement.encode())
        while cursor.nextset():  # of several statements the last one's result is shown
            pass
        result = cursor.pgresult
    assert result is not None
    columns = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    rows = [
        [(result.get_value(row, column) or b"").decode() for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]
    assert rows
    assert (columns, rows) == shown(expected)


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_other_blocks_run(sample: Database, block: Block) -> None:
    if block.language == "python":
        exec(block.text.replace("postgresql://localhost/photos", sample.url), {})
    elif block.language == "sh":
        # The sample, made above.
        assert block.text == "geosearch db upgrade\ngeosearch db psql -f sql/sample.sql\n"
    else:
        with sample.connection() as connection:
            for told in re.findall(r"([^;]+);(?: +-- ([^\n(]+)[^\n]*)?", block.text):
                row = connection.execute(told[0].encode()).fetchone()
                assert told[1].strip() in ("", *(row or ()))


def test_the_page_names_every_argument_of_a_search(sample: Database) -> None:
    with sample.connection() as connection:
        rows = connection.execute(
            """
            SELECT DISTINCT unnest(proargnames[:pronargs]) FROM pg_proc
            WHERE pronamespace = 'geosearch'::regnamespace
                AND proname IN ('nearest', 'nearest_to_photo', 'localize', 'localize_photo')
            """
        ).fetchall()
    assert len(rows) > 15
    assert [name for (name,) in rows if f"`{name}`" not in PAGE and f"({name}," not in PAGE] == []
