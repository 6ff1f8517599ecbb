"""`geosearch db`: the private server, and the schema of the selected database."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from typing import Annotated, Any

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, announce, answer, note, print_json
from geosearch.database.connection import redact
from geosearch.database.server import PrivateServer
from geosearch.database.session import selected as selected_label
from geosearch.errors import ServerError
from geosearch.settings import DatabaseSettings
from geosearch.words import format_bytes

app = command_group(
    """Start, stop and look into the database.

    Example: geosearch db status
    """
)

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def start(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(help="Also listen on this TCP port of localhost, with a password."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the private server; other commands do so themselves when they need it.

    Example: geosearch db start --port 5433
    """
    server = _private_server(context)
    server.start(port)
    if as_json:
        print_json(_describe(server) | {"tcp_url": server.tcp_url()})
        return
    typer.echo(f"running in {server.data_dir}")
    typer.echo(server.url)
    if tcp := server.tcp_url():
        typer.echo(tcp)


@app.command()
def stop(context: typer.Context, as_json: JsonOption = False) -> None:
    """Stop the private server, ending open connections.

    Example: geosearch db stop
    """
    server = _private_server(context)
    stopped = server.stop()
    done = "stopped" if stopped else f"no server was running in {server.data_dir}"
    answer(as_json, {"stopped": stopped}, done)


@app.command()
def status(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show whether the private server runs, where, and how big it is.

    Example: geosearch db status --json
    """
    described = _describe(_private_server(context))
    if as_json:
        print_json(described)
        return
    for name, value in (described | {"size": format_bytes(described["size"])}).items():
        typer.echo(f"{name:<10}{'-' if value is None else value}")


@app.command()
def url(
    context: typer.Context,
    tcp: Annotated[
        bool, typer.Option("--tcp", help="The private server's TCP URL, with its password.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the URL of the selected database, passwords included.

    Example: ogrinfo "$(geosearch db url)"
    """
    selected: str | None
    if tcp:
        selected = _private_server(context).tcp_url()
        if selected is None:
            raise ServerError(
                "the private server does not listen on TCP",
                "Run: geosearch db stop; geosearch db start --port 5433",
            )
    else:
        announce(context, selected_label())
        selected = DatabaseSettings().database_url or PrivateServer().url
    answer(as_json, {"url": selected}, selected)


@app.command(context_settings=_PASS_THROUGH)
def psql(context: typer.Context) -> None:
    """Open psql on the selected database; all arguments are psql's.

    Example: geosearch db psql -c "SELECT count(*) FROM geosearch.photos"
    """
    announce(context, selected_label())
    selected, program = DatabaseSettings().database_url, shutil.which("psql")
    if selected is None:
        server = PrivateServer()
        server.start()
        selected, program = server.url, str(server.programs / "psql")
    if program is None:
        raise ServerError("there is no psql on PATH", "Install PostgreSQL's client programs.")
    os.execv(program, [program, "--dbname", selected, *context.args])


@app.command()
def upgrade(context: typer.Context, as_json: JsonOption = False) -> None:
    """Create the schema in the selected database, or bring it up to date.

    Example: GEOSEARCH_DATABASE_URL=postgresql://me@db.example/photos geosearch db upgrade
    """
    from geosearch.database.migrations import upgrade as migrate  # loads SQLAlchemy
    from geosearch.database.schema import head_revision

    announce(context, selected_label())
    selected = DatabaseSettings().database_url
    if selected is None:
        server = PrivateServer()
        server.start()
        selected = server.url
    migrate(selected)
    value = {"database": redact(selected), "revision": head_revision()}
    answer(as_json, value, f"{value['database']} is at {value['revision']}")


def _describe(server: PrivateServer) -> dict[str, Any]:
    return asdict(server.status()) | {"url": server.url}


def _private_server(context: typer.Context) -> PrivateServer:
    """The private server, for a command that is about it whatever else is selected."""
    server = PrivateServer()
    announce(context, server.label)
    selected = DatabaseSettings().database_url
    if selected is not None:
        note(
            f"note: GEOSEARCH_DATABASE_URL selects {redact(selected)}; this command is about the "
            "private server, which other commands do not use while it is set",
            fg="yellow",
        )
    return server
