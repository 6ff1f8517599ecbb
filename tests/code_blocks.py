"""The blocks of code in the documentation, each with how it is run, or why it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.reference.markdown import NOT_RUN

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md"))),
]
#: Languages that are run; `text` is compared with what the block before it prints.
LANGUAGES = {"sh", "python", "sql", "text"}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One block: where it begins, what it is, and why it is not run; None where it is."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks_of(page: str) -> tuple[Block, ...]:
    """All blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        mark = NOT_RUN.match(f"<!-- {block['mark']} -->")
        line = text.count("\n", 0, block.start("indent")) + 1
        found.append(Block(page, line, block["language"], block["text"], mark[1] if mark else None))
    return tuple(found)
