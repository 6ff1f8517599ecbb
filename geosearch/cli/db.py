"""`geosearch db`: the private server, and the schema of the selected database."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import (
    JsonOption,
    announce,
    answer,
    database,
    note,
    print_json,
    progress,
    say,
)
from geosearch.cli.deleting import DryRunOption, YesOption
from geosearch.database.connection import redact
from geosearch.database.server import PrivateServer
from geosearch.database.session import selected as selected_label
from geosearch.errors import InputError, ServerError
from geosearch.progress_bar import make_bar
from geosearch.settings import DatabaseSettings
from geosearch.untrusted import for_terminal
from geosearch.words import format_bytes

if TYPE_CHECKING:
    from geosearch.database.schema_check import Checked

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
    # Of an error in a function, what is wrong and what to do, not the functions it came through.
    said = ["--variable", "SHOW_CONTEXT=never"]
    os.execv(program, [program, "--dbname", selected, *said, *context.args])


@app.command()
def upgrade(
    context: typer.Context,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Also make again what is missing or differs, but no rows."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create the schema in the selected database, or bring it up to date.

    Ends with a check; exit 1 if something is off. `--repair` makes functions, views, triggers,
    rights, keys and indexes as they should be, and touches no rows.

    Example: GEOSEARCH_DATABASE_URL=postgresql://me@db.example/photos geosearch db upgrade
    """
    from geosearch.database import schema_check
    from geosearch.database.migrations import upgrade as migrate  # loads SQLAlchemy

    selected = _selected_url(context)
    mended: list[schema_check.Fault] = []
    if repair and schema_check.is_installed(selected):
        mended += schema_check.repair_schema(selected).mended
    migrate(selected)
    if repair:
        mended += map(schema_check.missing_index, _restore_indexes(selected))
    checked = dataclasses.replace(schema_check.check_schema_objects(selected), mended=tuple(mended))
    _answer_checked(selected, checked, as_json)


@app.command()
def check(context: typer.Context, as_json: JsonOption = False) -> None:
    """Compare all tables, functions, views, triggers, indexes and rights with what they should be.

    Changes nothing; exit 1 if something is off. It installs the schema a second time, in a
    transaction that it rolls back, and so is for the login that owns it.

    Example: geosearch db check --json
    """
    from geosearch.database.schema_check import check_schema_objects

    selected = _selected_url(context)
    _answer_checked(selected, check_schema_objects(selected), as_json)


@app.command()
def dump(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write all that is in the selected database to one file, while others go on.

    With who has which role and who sees which private collection. Not in it: passwords, the photos
    themselves, and indexes, which are built again.

    Example: geosearch db dump photos.geosearch
    """
    from geosearch.database import backup

    with database(context) as opened, progress("dump", "rows") as report:
        done = backup.dump(opened, file, report)
    if done.left_out:
        note(f"not geosearch's, and not in it: {', '.join(done.left_out)}", fg="yellow")
    rows = sum(done.rows.values())
    said = f"{file}: {rows:,} rows, {format_bytes(done.bytes)}; geosearch db restore reads it"
    answer(as_json, done, said)


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that db dump made.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what is in the database.")
    ] = False,
    roles: Annotated[
        bool,
        typer.Option(
            help="Also make users, and give them their roles and rights again: roles belong to the "
            "whole server."
        ),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Make the selected database what it was when it was dumped, wholly or not at all.

    Into any PostgreSQL that geosearch can use, by any login that may own a schema. What this login
    may not do, such as making users, is printed for an administrator. Indexes over embeddings are
    built and measured at the end; until then searches are exact.

    Example: geosearch db restore photos.geosearch
    """
    from geosearch.database import backup

    selected = _selected_url(context)
    with progress("restore", "rows") as report:
        done = backup.restore(selected, file, replace=replace, roles=roles, progress=report)
    built = _restore_indexes(selected)

    def show() -> None:
        say(
            f"{redact(selected)} is at {done.revision}, with {sum(done.rows.values()):,} rows as "
            "dumped; all objects are there, and searches work"
        )
        for what, items in (("index", built), ("granted", done.granted)):
            for item in items:
                say(f"{what}: {item}")
        if done.for_administrator:
            say("this login may not do the following; for an administrator, in this database:")
            for statement in done.for_administrator:
                say(f"  {statement};")

    answer(as_json, done.to_json() | {"indexes": built}, show)


@app.command()
def destroy(
    context: typer.Context,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even while other programs are connected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the private server with all its files, or the schema of the database given by URL.

    The photos themselves stay where they are, and roles, which belong to the whole server.

    Example: geosearch db destroy --dry-run
    """
    from geosearch.database import removal

    announce(context, selected_label())
    target = removal.find(DatabaseSettings().database_url)
    if target.unread:
        note(f"it cannot be counted what is in it: {target.unread}", fg="yellow")
    if not as_json:
        for table, rows in target.rows.items():
            if rows:
                say(f"{rows:>12,} rows of {table}")
    if target.sessions and not force and not dry_run:
        raise ServerError(
            f"{target.sessions} other programs are connected to {target.label}",
            "Close them, or give --force.",
        )
    if not dry_run and target.exists:
        if not yes:
            _confirm(
                f"{target.label} will be gone for good, with {sum(target.rows.values()):,} rows"
            )
        removal.remove(target)
    value = {"database": target.label, "rows": target.rows, "sessions": target.sessions}
    gone = target.exists and not dry_run
    said = "is gone" if gone else "would be gone" if target.exists else "does not exist"
    answer(as_json, value | {"destroyed": gone}, f"{target.label} {said}")


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise InputError("nobody is there to confirm", "Give --yes.")
    if typer.prompt(f"{for_terminal(what)}. Type destroy to go on", err=True) != "destroy":
        raise InputError("not confirmed; nothing was changed")


def _selected_url(context: typer.Context) -> str:
    """The selected database, started where it is the private server, as it is."""
    announce(context, selected_label())
    selected = DatabaseSettings().database_url
    if selected is None:
        server = PrivateServer()
        server.start()
        selected = server.url
    return selected


def _restore_indexes(url: str) -> list[str]:
    from geosearch.database.connection import Database
    from geosearch.retrieval.indexing import restore_indexes

    with Database(url) as opened, make_bar("blocks") as bar:
        task = bar.add_task("index", total=None)
        return restore_indexes(
            opened,
            lambda phase, done, total: bar.update(
                task, description=phase, completed=done, total=total or None
            ),
        )


def _answer_checked(url: str, checked: Checked, as_json: bool) -> None:
    def show() -> None:
        for fault in checked.mended:
            say(f"mended: {fault.kind} {fault.name}")
        for fault in checked.faults:
            say(str(fault), fg="red")
        for name in checked.foreign:
            say(f"not geosearch's, and left alone: {name}")
        off = f"has {len(checked.faults)} faults" if checked.faults else "is whole"
        say(f"{redact(url)} is at {checked.revision}, and {off}")
        if any(fault.mendable for fault in checked.faults):
            say("next: geosearch db upgrade --repair")
        elif checked.faults:
            say(
                "what was dropped with its rows comes back by geosearch db restore; what is not "
                "geosearch's is for you to drop"
            )

    answer(as_json, {"database": redact(url)} | checked.to_json(), show)
    if checked.faults:
        raise typer.Exit(1)


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
