"""`geosearch roles`: who may do what with the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, database, print_rows
from geosearch.database.role_grants import grant_role, list_roles, revoke_role

app = command_group(
    """Roles: who may read, answer, ingest; see docs/roles.md.

    Example: geosearch roles grant reader --to alice
    """
)

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="reader, analyst, ingester or owner.")
]


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the roles, what each is for, and who has it.

    Example: geosearch roles list --json
    """
    with database(context) as opened, opened.connection() as connection:
        found = list_roles(connection)
    names = ("role", "for", "members")
    rows = [
        (
            role.name,
            role.purpose,
            ", ".join(role.members) if role.exists else "(not on this server)",
        )
        for role in found
    ]
    print_rows(as_json, [asdict(role) for role in found], names, rows, text=names)


@app.command()
def grant(
    context: typer.Context,
    role: RoleArgument,
    to: Annotated[str, typer.Option("--to", metavar="USER", help="User of the server.")],
    as_json: JsonOption = False,
) -> None:
    """Give a user of the server a role; roles the server lacks are created.

    Example: geosearch roles grant reader --to alice
    """
    with database(context) as opened, opened.connection() as connection:
        name = grant_role(connection, role, to)
    answer(as_json, {"role": name, "granted_to": to}, f"{to} is {name}")


@app.command()
def revoke(
    context: typer.Context,
    role: RoleArgument,
    of: Annotated[str, typer.Option("--from", metavar="USER", help="User of the server.")],
    as_json: JsonOption = False,
) -> None:
    """Take a role from a user.

    Example: geosearch roles revoke reader --from alice
    """
    with database(context) as opened, opened.connection() as connection:
        name = revoke_role(connection, role, of)
    answer(as_json, {"role": name, "revoked_from": of}, f"{of} is no longer {name}")
