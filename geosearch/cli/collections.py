"""`geosearch collections`: which there are, and who sees them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, database, note, print_rows
from geosearch.database import collection_rows

app = command_group(
    """Sets of photos; a private one is seen by its owner and those it is shared with.

    Example: geosearch collections private clients
    """
)

WithOption = Annotated[
    str, typer.Option("--with", metavar="ROLE", help="Role or user of the server.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the collections this login may see.

    Example: geosearch collections list --json
    """
    with database(context) as opened, opened.connection() as connection:
        found = collection_rows.list_collections(connection)
    rows = [
        (
            item.name,
            f"{item.photos:,}",
            ", ".join(("geosearch_owner", *item.shared_with)) if item.private else "all",
        )
        for item in found
    ]
    names = ("collection", "photos", "seen by")
    none = "none yet; geosearch ingest FOLDER --collection NAME makes one"
    print_rows(as_json, [asdict(item) for item in found], names, rows, names[::2], none)


@app.command()
def private(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Hide a collection from all but geosearch_owner and those it is shared with.

    Example: geosearch collections private clients
    """
    _set(context, name, True, as_json)


@app.command()
def public(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a private collection to all roles again.

    Example: geosearch collections public clients
    """
    _set(context, name, False, as_json)


@app.command()
def share(
    context: typer.Context,
    name: NameArgument,
    role: WithOption,
    as_json: JsonOption = False,
) -> None:
    """Show a private collection to a role or user.

    Example: geosearch collections share clients --with alice
    """
    with database(context) as opened, opened.connection() as connection:
        collection_rows.share(connection, name, role)
    answer(as_json, {"collection": name, "shared_with": role}, f"{role} sees {name}")


@app.command()
def unshare(
    context: typer.Context,
    name: NameArgument,
    role: WithOption,
    as_json: JsonOption = False,
) -> None:
    """Share a private collection with a role or user no longer.

    Example: geosearch collections unshare clients --with alice
    """
    with database(context) as opened, opened.connection() as connection:
        collection_rows.share(connection, name, role, shared=False)
    answer(
        as_json,
        {"collection": name, "no_longer_shared_with": role},
        f"{name} is no longer shared with {role}",
    )


def _set(context: typer.Context, name: str, hide: bool, as_json: bool) -> None:
    with database(context) as opened, opened.connection() as connection:
        left = collection_rows.set_private(connection, name, hide)
    state = "private" if hide else "public"
    answer(
        as_json,
        {"collection": name, "private": hide, "statistics_left": left},
        f"{name} is {state}",
    )
    if left:
        note(
            "PostgreSQL still has statistics of private photos. To remove them, as a superuser: "
            "SELECT geosearch.keep_statistics(false)",
            fg="yellow",
        )
