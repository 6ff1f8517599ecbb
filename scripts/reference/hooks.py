"""What mkdocs does for this project besides: pages that are made, and what Markdown cannot say."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from scripts.reference.command_pages import FOLDER, command_pages
from scripts.reference.markdown import NOT_RUN
from scripts.reference.python_page import python_page
from scripts.reference.rest_page import description, rest_page
from scripts.reference.settings_page import errors_page, settings_page
from scripts.reference.sql_page import newest_schema, sql_page

ROOT = Path(__file__).parents[2]
#: Pages of the repository that are outside `docs/` → theirs on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(?<=\]\()(?:docs/)?([\w./-]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


@cache
def generated() -> dict[str, str]:
    """Path → content of all that is made."""
    with newest_schema() as connection:
        objects = sql_page(connection)
    outside = {
        path: _LINK.sub(
            lambda link: OUTSIDE.get(link[1], link[1]), (ROOT / name).read_text("utf-8")
        )
        for name, path in OUTSIDE.items()
    }
    return (
        outside
        | command_pages()
        | {
            "reference/python.md": python_page(),
            "reference/sql.md": objects,
            "reference/settings.md": settings_page(),
            "reference/errors.md": errors_page(),
            "reference/rest.md": rest_page(),
            "reference/openapi.json": json.dumps(description(), indent=1),
        }
    )


def on_config(config: Any) -> Any:
    """Put the pages of the commands into the navigation."""
    (reference,) = [part["Reference"] for part in config.nav if "Reference" in part]
    reference[0] = {"Commands": sorted(path for path in command_pages() if path.startswith(FOLDER))}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    for path, content in generated().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show why a block of code is not run."""
    return NOT_RUN.sub(r'<small class="not-run">Not run by the tests: \1.</small>', markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Draw formulas, by the browser's own means."""
    return _FORMULA.sub(_drawn, content)


def _drawn(found: re.Match[str]) -> str:
    display = "block" if found[1] == "div" else "inline"
    return str(convert(html.unescape(found[2]), display=display))
