"""`geosearch roles`: who may do what with the database."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, print_list
from geosearch.cli.options import parameter, taking
from geosearch.database import role_grants

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
    columns = {
        "role": lambda role: role.name,
        "for": lambda role: role.purpose,
        "members": lambda role: ", ".join(role.members) if role.exists else "(not on this server)",
    }
    print_list(context, as_json, role_grants.list_roles, columns, text=columns)


def _add_command(verb: str, option: str, about: str, *, has: bool) -> None:
    user = Annotated[str, typer.Option(option, metavar="USER", help="User of the server.")]
    example = f"Example: geosearch roles {verb} reader {option} alice"

    @app.command(verb, help=f"{about}\n\n{example}")
    @taking(parameter("user", user, inspect.Parameter.empty))
    def _(
        context: typer.Context, role: RoleArgument, as_json: JsonOption = False, *, user: str
    ) -> None:
        change = role_grants.grant_role if has else role_grants.revoke_role
        with connected(context) as connection:
            name = change(connection, role, user)
        done = {"role": name, "granted_to" if has else "revoked_from": user}
        answer(as_json, done, f"{user} is {'' if has else 'no longer '}{name}")


_add_command(
    "grant",
    "--to",
    "Give a user of the server a role; roles the server lacks are created.",
    has=True,
)
_add_command("revoke", "--from", "Take a role from a user.", has=False)
