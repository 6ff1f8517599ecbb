"""The documentation: pages that are found, links that lead somewhere, a reference that is whole."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

import geosearch
from geosearch.cli.app import COMMANDS, app
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import Reason

pytest.importorskip("mkdocs")

from scripts.reference.command_pages import command_pages
from scripts.reference.markdown import prose
from scripts.reference.rest_page import description, rest_page
from scripts.reference.settings_page import errors_page, settings_page
from scripts.reference.sql_page import sql_page
from tests.code_blocks import PAGES, ROOT
from tests.html_parts import Tags
from tests.rows import fetch

WRITTEN = [ROOT / page for page in PAGES]
LINK = re.compile(r"(?<!`)\[[^]]*\]\(([^)\s]+)\)")


def pages_of(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, list):
        for part in navigation:
            yield from pages_of(part)
    else:
        yield from pages_of(list(navigation.values()))


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    missing = {path.name for path in (ROOT / "docs").glob("*.md")} - set(pages_of(navigation))
    assert missing == set(), "put them under `nav` in mkdocs.yml, where a reader looks for them"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    links = {urlsplit(link) for link in LINK.findall(page.read_text(encoding="utf-8"))}
    paths = {link.path for link in links if not link.scheme and link.path}
    assert {path for path in paths if not (page.parent / path).exists()} == set()


def test_the_reference_has_every_command_and_option() -> None:
    pages, root = command_pages(), typer.main.get_command(app)
    for name in COMMANDS:
        command: Any = root.get_command(None, name)  # type: ignore[attr-defined]
        text = pages[f"reference/commands/{name}.md"]
        assert f"`{name}`" in pages["reference/commands.md"]
        for line, one in {name: command, **getattr(command, "commands", {})}.items():
            if hasattr(one, "commands") and not one.invoke_without_command:
                continue  # it only says which commands it has
            _, _, section = text.partition(f"# geosearch {name}{f' {line}' * (line != name)}\n")
            section = section.partition("\n## ")[0]
            assert "```sh\n" in section, f"{name} {line}: no example"
            prints = any("--json" in given.opts for given in one.params)
            assert ("With `--json` it prints" in section) is prints
            # An argument is there by its help.
            named = [
                given.opts if given.param_type_name == "option" else [prose(given.help)]
                for given in one.params
            ]
            assert [name for names in named for name in names if name not in section] == []


def test_the_reference_has_every_setting() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "geosearch").rglob("*.py"))
    read = {name for source in sources for name in re.findall(r'"(GEOSEARCH_[A-Z_]+)"', source)}
    read.remove("GEOSEARCH_IMAGE_EXTRAS")  # the image says it of itself
    assert len(read) > 10
    page = settings_page()
    assert {name for name in read if f"| `{name}` |" not in page} == set()


def test_the_reference_has_every_error_and_reject_reason() -> None:
    page = errors_page()
    for reason in Reason:
        assert re.search(rf"^\| `{reason}` \| \d+ \| \S", page, re.MULTILINE)
    kinds = re.findall(r"^class (\w+)\(", (ROOT / "geosearch/errors.py").read_text(), re.MULTILINE)
    assert [kind for kind in kinds if kind != "Reason" and f"| `{kind}` |" not in page] == []


def test_the_reference_has_all_that_is_in_the_schema(database: Database) -> None:
    with database.connection() as connection:
        page = sql_page(connection)
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    columns = fetch(
        database,
        """
        SELECT table_name::text, column_name::text FROM information_schema.columns
        JOIN pg_class ON relname = table_name AND relnamespace = 'geosearch'::regnamespace
        WHERE table_schema = 'geosearch' AND NOT relispartition AND relname <> 'alembic_version'
        """,
    )
    assert len(columns) > 300
    assert [
        (name, column)
        for name, column in columns
        if not re.search(rf"^\| `{column}` \| `.+` \| \S", sections[name], re.MULTILINE)
    ] == []
    functions = fetch(
        database,
        """
        SELECT DISTINCT proname::text FROM pg_proc
        WHERE pronamespace = 'geosearch'::regnamespace AND prorettype <> 'trigger'::regtype
        """,
    )
    assert len(functions) > 100
    # A signature, and beneath it what the function does.
    told = re.compile(r"```text\n.+→.+\n```\n\n\S")
    assert [name for (name,) in functions if not told.search(sections[name])] == []


def test_the_reference_has_every_address_of_the_server() -> None:
    page = rest_page()
    for path, methods in description()["paths"].items():
        for method in methods:
            assert f"### {method.upper()} {path}\n" in page


#: What of a page a browser fetches, by elements and their attributes.
FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src"}


def read(page: Path) -> Tags:
    return Tags(page.read_text(encoding="utf-8"))


def fetched(page: Path) -> set[str]:
    """What a browser would fetch for a page, and styles of its elements, which may fetch too."""
    addresses = (
        given.get(FETCHED.get(name, "style"))
        for name, given in read(page).found
        if given.get("rel") != "canonical"
    )
    return {address for address in addresses if address}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://[::1]:9"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.system
def test_the_site_takes_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 60
    for page in pages:
        assert [each for each in fetched(page) if "//" in each.partition("?")[0]] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")) == []


@pytest.mark.system
def test_the_site_has_every_public_object(site: Path) -> None:
    ids = {given.get("id") for _, given in read(site / "reference" / "python.html").found}
    public = {name for name in geosearch.__all__ if not name.startswith("_")}
    methods = {f"Geosearch.{name}" for name, _ in vars(Geosearch).items() if name[0] != "_"}
    assert len(methods) > 30
    assert {name for name in public | methods if f"geosearch.{name}" not in ids} == set()


@pytest.mark.system
def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    for name in ("density", "calibration", "retrieval", "training"):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert "<math" in text
        assert "arithmatex" not in text
