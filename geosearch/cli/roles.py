"""`geosearch roles`: who may do what with the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, out, print_json, table
from geosearch.database.role_grants import grant_role, list_roles, revoke_role

app = typer.Typer(
    help="Roles: who may read, answer, ingest.", no_args_is_help=True, rich_markup_mode=None
)

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="reader, analyst, ingester or owner.")
]


@app.callback()
def roles() -> None:
    """Who may do what; see docs/roles.md.

    Example: geosearch roles grant reader --to alice
    """


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the roles, what each is for, and who has it.

    Example: geosearch roles list --json
    """
    with database(context) as opened, opened.connection() as connection:
        found = list_roles(connection)
    if as_json:
        print_json([asdict(role) for role in found])
        return
    names = ("role", "for", "members")
    made = table(*names, text=names)
    for role in found:
        members = ", ".join(role.members) if role.exists else "(not on this server)"
        made.add_row(role.name, role.purpose, members)
    out.print(made)


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
    if as_json:
        print_json({"role": name, "granted_to": to})
    else:
        out.print(f"{to} is {name}", highlight=False, markup=False)


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
    if as_json:
        print_json({"role": name, "revoked_from": of})
    else:
        out.print(f"{of} is no longer {name}", highlight=False, markup=False)
