"""Parts of Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: The mark of a block of code that no test runs, and why.
NOT_RUN = re.compile(r"^<!-- not run: (.+?) -->$", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are one line, and a bar in them stays a bar."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str, language: str = "") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```\n"


def prose(text: str) -> str:
    """Words of a help text or comment: what looks like HTML in them is no HTML."""
    # Inside backquotes it is safe already.
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = (re.sub(r"([<*_\[\]])", r"\\\1", part) for part in parts[::2])
    return "".join(parts)


def page(title: str, *parts: str) -> str:
    """A page of these parts, a blank line between them."""
    return "\n\n".join([f"# {title}", *(part.strip("\n") for part in parts if part)]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
