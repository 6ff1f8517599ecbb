"""docs/sql.md: every example runs, and gives what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geosearch.database.connection import Database

ROOT = Path(__file__).parent.parent

EXAMPLE = re.compile(
    r"^### (\d+)\. ([^\n]+)\n.*?```sql\n(.*?)```\n\n```text\n(.*?)```$", re.DOTALL | re.MULTILINE
)
EXAMPLES = EXAMPLE.findall((ROOT / "docs" / "sql.md").read_text(encoding="utf-8"))


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
    assert [int(number) for number, *_ in EXAMPLES] == list(range(1, 15))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [pytest.param(statement, text, id=question) for _, question, statement, text in EXAMPLES],
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


def test_the_page_names_every_argument_of_a_search(sample: Database) -> None:
    page = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    with sample.connection() as connection:
        rows = connection.execute(
            """
            SELECT DISTINCT unnest(proargnames[:pronargs]) FROM pg_proc
            WHERE pronamespace = 'geosearch'::regnamespace
                AND proname IN ('nearest', 'nearest_to_photo', 'localize', 'localize_photo')
            """
        ).fetchall()
    assert len(rows) > 15
    assert [name for (name,) in rows if f"`{name}`" not in page and f"({name}," not in page] == []
