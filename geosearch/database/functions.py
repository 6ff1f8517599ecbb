"""The functions of schema `geosearch`: which files of `sql/functions` a migration runs.

A folder `sql/functions/v<n>` is one version of them all, and never changes once released: what a
migration installs stays what it was. To change a function, copy the folder to the next version, and
let a migration remove the one and install the other.
"""

from __future__ import annotations

from alembic import op

from geosearch.database.resources import resource

#: Files of each version, in the order in which they need each other.
_FILES = {
    1: (
        "sphere",
        "weights",
        "mode",
        "radius",
        "aggregate",
        "filter",
        "recall",
        "nearest",
        "localize",
        "version",
    ),
}


def install(version: int) -> None:
    """Create the functions of a version; to be called by a migration."""
    for name in _FILES[version]:
        _run(version, name)


def remove(version: int) -> None:
    """Drop the functions of a version; to be called by a migration."""
    _run(version, "drop")


def _run(version: int, name: str) -> None:
    run_file(f"sql/functions/v{version}/{name}.sql")


def run_file(name: str) -> None:
    """Run a file of `sql/`; to be called by a migration."""
    # As it is: the driver would take a % for a parameter, and SQLAlchemy a colon.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(resource(name).read_text(encoding="utf-8"))
