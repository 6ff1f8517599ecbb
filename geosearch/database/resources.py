"""Where the top-level `alembic/` and `sql/` folders are: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource(name: str) -> Path:
    """Folder or file below `alembic/` or `sql/`, e.g. `resource("sql/overview.sql")`.

    A wheel carries both inside the package (`geosearch/_bundled`); a checkout has them beside it.

    Raises
    ------
    FileNotFoundError
        A broken installation.
    """
    for root in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is missing from this installation of geosearch; reinstall it")
