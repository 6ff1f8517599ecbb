"""`geosearch roles`: who may do what with the database."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, print_list
from geosearch.database import role_grants

app = command_group(
    """Roles: who may read, answer, ingest; see docs/roles.md.

    Example: geosearch roles grant reader --to alice
    """
)

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="reader, analyst, ingester or owner.")
]
ToOption = Annotated[str, typer.Option("--to", metavar="USER", help="User of the server.")]
FromOption = Annotated[str, typer.Option("--from", metavar="USER", help="User of the server.")]


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the roles, what each is for, and who has it.

    Example: geosearch roles list --json
    """
    columns = {
        "role": lambda role: role.name,
        "for": lambda role: role.purpose,
        "members": lambda role: ", ".join(role.members) if role.exists else "(not on this server)",
    }
    print_list(context, as_json, role_grants.list_roles, columns, text=columns)


@app.command()
def grant(
    context: typer.Context, role: RoleArgument, to: ToOption, as_json: JsonOption = False
) -> None:
    """Give a user of the server a role; roles the server lacks are created.

    Example: geosearch roles grant reader --to alice
    """
    _set(context, role, to, as_json, has=True)


@app.command()
def revoke(
    context: typer.Context, role: RoleArgument, of: FromOption, as_json: JsonOption = False
) -> None:
    """Take a role from a user.

    Example: geosearch roles revoke reader --from alice
    """
    _set(context, role, of, as_json, has=False)


def _set(context: typer.Context, role: str, user: str, as_json: bool, *, has: bool) -> None:
    change = role_grants.grant_role if has else role_grants.revoke_role
    with connected(context) as connection:
        name = change(connection, role, user)
    done = {"role": name, "granted_to" if has else "revoked_from": user}
    answer(as_json, done, f"{user} is {'' if has else 'no longer '}{name}")
