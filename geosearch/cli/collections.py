"""`geosearch collections`: which there are, and who sees them."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, database, note, print_list
from geosearch.cli.deleting import DryRunOption, NewArgument, OldArgument, YesOption
from geosearch.database import collection_rows
from geosearch.words import number_of

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
    columns = {
        "collection": lambda item: item.name,
        "photos": lambda item: f"{item.photos:,}",
        "seen by": lambda item: (
            ", ".join(("geosearch_owner", *item.shared_with)) if item.private else "all"
        ),
        "reviewed": lambda item: "references" if item.reviewed_references else "apart",
        "about": lambda item: item.description or "",
    }
    none = "none yet; geosearch ingest FOLDER --collection NAME makes one"
    text = ("collection", "seen by", "reviewed", "about")
    print_list(context, as_json, collection_rows.list_collections, columns, text, none)


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
def reviewed(
    context: typer.Context,
    name: NameArgument,
    as_references: Annotated[
        bool, typer.Option("--as-references/--apart", help="References, or kept apart.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Say what becomes of photos whose place is accepted in a review, or was.

    Those that were reviewed elsewhere, and come with their files, are so from the next ingest on.

    Example: geosearch collections reviewed mine --as-references
    """
    with connected(context) as connection:
        changed = collection_rows.set_reviewed_references(connection, name, as_references)
    becomes = "become references" if as_references else "are kept apart"
    value = {"collection": name, "reviewed_references": as_references, "photos": changed}
    said = f"{number_of(changed, 'photo')} of those reviewed before"
    answer(as_json, value, f"photos of {name} whose place is accepted {becomes}; {said}")


def _add_command(verb: str, about: str, *, shared: bool) -> None:
    @app.command(
        verb, help=f"{about}\n\nExample: geosearch collections {verb} clients --with alice"
    )
    def _(
        context: typer.Context, name: NameArgument, role: WithOption, as_json: JsonOption = False
    ) -> None:
        with connected(context) as connection:
            collection_rows.share(connection, name, role, shared=shared)
        key = "shared_with" if shared else "no_longer_shared_with"
        said = f"{role} sees {name}" if shared else f"{name} is no longer shared with {role}"
        answer(as_json, {"collection": name, key: role}, said)


_add_command("share", "Show a private collection to a role or user.", shared=True)
_add_command("unshare", "Share a private collection with a role or user no longer.", shared=False)


@app.command()
def delete(
    context: typer.Context,
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a collection with its photos and their embeddings; the files stay.

    Answers that rest on its photos stay as they are.

    Example: geosearch collections delete holidays --dry-run
    """
    from geosearch.deletion.photo_deletion import delete_collection

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(context, asked, delete_collection, name, unit="photos")


@app.command()
def rename(
    context: typer.Context, old: OldArgument, new: NewArgument, as_json: JsonOption = False
) -> None:
    """Give a collection another name, in stored filters too.

    Example: geosearch collections rename holidays "summer 2019"
    """
    from geosearch.deletion.renaming import rename_collection

    deleting.rename(context, rename_collection, old, new, as_json)


def _set(context: typer.Context, name: str, hide: bool, as_json: bool) -> None:
    from geosearch.retrieval.indexing import rebuild_indexes

    with database(context) as opened:
        with opened.connection() as connection:
            moved = collection_rows.set_private(connection, name, hide)
            owned = collection_rows.owns_tables(connection)
        left = moved.statistics_left
        if hide and moved.photos:
            left |= not owned
            if owned:
                rebuild_indexes(opened)
                collection_rows.clean_up(opened)
    state = "private" if hide else "public"
    answer(
        as_json,
        {"collection": name, "private": hide, "photos": moved.photos, "traces_left": left},
        f"{name} is {state}, with {number_of(moved.photos, 'photo')}",
    )
    if left:
        note(
            "PostgreSQL still holds traces of them. As the owner of the tables or a superuser: "
            f"geosearch collections private {name}",
            fg="yellow",
        )
