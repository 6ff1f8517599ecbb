"""`geosearch shards`: other servers that hold a part of the public photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.cli import options
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, database, print_rows, progress

if TYPE_CHECKING:
    from geosearch.retrieval.filters import Filter

app = command_group(
    """Servers that hold a part of the public photos, and are searched together with this one.

    Example: geosearch shards add asia --url postgresql://geosearch:SECRET@db2:5432/geosearch
    """
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the shard.")]
UrlOption = Annotated[
    str,
    typer.Option(
        metavar="URL", help="The database there, of its tables' owner, as this server reaches it."
    ),
]
HomeOption = Annotated[bool, typer.Option("--home", help="Move them back here.")]
IndexOption = Annotated[
    bool, typer.Option("--index/--no-index", help="Index and measure the models there afterwards.")
]


@app.command()
@options.taking(where=options.make_filter)
def add(
    context: typer.Context,
    name: NameArgument,
    url: UrlOption,
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Let another server hold the photos that pass the conditions; they move with shards move.

    Example: geosearch shards add asia --url URL --bbox 60,-10,180,80
    """
    from geosearch.shards.shard_setup import add_shard

    with database(context) as opened:
        made = add_shard(opened, name, url, where)
    answer(as_json, made, f"{name} is there, for photos of: {where}. Next: shards move {name}")


@app.command()
@options.taking(where=options.make_filter)
def move(
    context: typer.Context,
    name: NameArgument,
    home: HomeOption = False,
    index: IndexOption = True,
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Move photos that belong on a shard there, or home, while searches go on.

    Those that pass the conditions, if any are given. Killed, it goes on when it is run again.

    Example: geosearch shards move asia

    Example: geosearch shards move asia --home --country JP
    """
    from geosearch.shards.shard_moves import move_home, move_to_shard

    with database(context) as opened, progress("move", "photos") as report:
        if home:
            done = move_home(opened, name, where, progress=report)
        else:
            done = move_to_shard(opened, name, where, index=index, progress=report)
    answer(as_json, done, str(done))


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the shards: what they hold, where that is, and whether they can be reached.

    Example: geosearch shards list --json
    """
    from geosearch.shards.shard_rows import list_shards

    with database(context) as opened:
        found = list_shards(opened)
    columns = {
        "shard": lambda item: item.name,
        "server": lambda item: item.server,
        "photos": lambda item: "?" if item.photos is None else f"{item.photos:,}",
        "MB": lambda item: "?" if item.bytes is None else f"{item.bytes / 1e6:,.0f}",
        "extent": lambda item: (
            "" if item.extent is None else ",".join(f"{edge:g}" for edge in item.extent)
        ),
        "state": lambda item: item.state,
    }
    text = ("shard", "server", "extent", "state")
    print_rows(as_json, found, columns, text, none="none yet; geosearch shards add makes one")


@app.command()
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One alone.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Count what shards hold, and measure again what their indexes find; 1 where something is off.

    Example: geosearch shards check asia
    """
    from geosearch.shards.shard_check import check_shards

    with database(context) as opened:
        found = check_shards(opened, name)
    columns = {
        "shard": lambda item: item.shard,
        "photos": lambda item: f"{item.held.get('photos', 0):,}",
        "embeddings": lambda item: f"{item.held.get('embeddings', 0):,}",
        "recall": lambda item: ", ".join(
            f"{health.recall:.3f} of {health.target:.3f}" for health in item.recall.values()
        ),
        "state": lambda item: (
            "as it should be" if item.ok else item.trouble or "not as it should be"
        ),
    }
    print_rows(as_json, found, columns, ("shard", "recall", "state"), none="there are no shards")
    if not all(item.ok for item in found):
        raise typer.Exit(1)


@app.command()
def remove(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Do without a shard that holds no photos any more.

    Example: geosearch shards remove asia
    """
    from geosearch.shards.shard_setup import remove_shard

    with database(context) as opened:
        remove_shard(opened, name)
    answer(as_json, {"shard": name, "removed": True}, f"{name} is removed")
