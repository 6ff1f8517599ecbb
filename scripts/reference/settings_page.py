"""The pages of settings, of errors and of reject reasons, from the classes that have them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from geosearch import errors, settings
from geosearch.errors import GeosearchError, Reason
from scripts.reference.markdown import page, prose, table

#: In the docstring of a class of settings: `GEOSEARCH_X`: what it is.
_SETTING = re.compile(r"^`(GEOSEARCH_\w+)`: (.+?)(?=^`|\Z)", re.DOTALL | re.MULTILINE)
#: Words that a class of settings is shown under, without its list.
_ABOUT = re.compile(r"\A.*?(?=^`|\Z)", re.DOTALL | re.MULTILINE)


def settings_page() -> str:
    """What the environment may say, a section for each concern."""
    parts = []
    for name, kind in vars(settings).items():
        if name.endswith("Settings"):
            told = inspect.getdoc(kind) or ""
            about = _ABOUT.search(told)
            title, _, more = (about[0] if about else "").strip().partition("\n\n")
            parts += [f"## {title.rstrip('.')}", prose(more)]
            parts.append(
                table(
                    ("variable", "what it says"),
                    [(f"`{variable}`", prose(said)) for variable, said in _SETTING.findall(told)],
                )
            )
    return page(
        "Settings",
        "All are variables of the environment; none is needed. One that cannot be used ends a "
        "command with exit code 2, and says why.",
        *parts,
    )


def errors_page() -> str:
    """The classes of errors, and the reasons why a photo is rejected."""
    kinds = [
        (
            f"`{kind.__name__}`",
            " ".join(f"`{base.__name__}`" for base in kind.__bases__),
            str(kind.exit_code),
            "" if kind is errors.PhotoRejected else str(kind.http_status),
            prose(_first_line(kind)),
        )
        for kind in _kinds(GeosearchError)
    ]
    comments = _comments()
    reasons = [
        (
            f"`{reason}`",
            str(errors.PhotoRejected(reason, "").http_status),
            prose(comments[reason.name]),
            reason.remedy or "",
        )
        for reason in Reason
    ]
    return page(
        "Errors and reject reasons",
        "What exit codes and HTTP statuses say, and how errors are caught, is in "
        "[errors](../errors.md).",
        "## Errors",
        "Of `geosearch.errors`:",
        table(("error", "is a", "exit code", "HTTP", "when"), kinds),
        "## Reject reasons",
        "Why a photo was not used: the column `reason` of `geosearch rejects`, of the view "
        "`geosearch.rejects`, and of `Failure` in Python.",
        table(("reason", "HTTP", "what is wrong", "what to do"), reasons),
    )


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _kinds(kind: type[GeosearchError]) -> Iterator[type[GeosearchError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _comments() -> dict[str, str]:
    """What the comment beside each member of `Reason` says."""
    source = inspect.getsource(Reason)
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    members = [node for node in body.body if isinstance(node, ast.Assign)]
    return {
        ast.unparse(node.targets[0]): lines[node.lineno - 1].partition("#")[2].strip()
        for node in members
    }
