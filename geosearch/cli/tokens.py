"""`geosearch tokens`: by which scripts ask the server as a role."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, print_list

app = command_group(
    """Tokens by which scripts ask geosearch serve --auth as a role; see docs/web.md.

    Example: geosearch tokens create --name nightly
    """
)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    days: Annotated[int, typer.Option(help="Days for which it is taken.")] = 365,
    as_json: JsonOption = False,
) -> None:
    """Make a token that stands for the role of this login. It is shown once, and kept nowhere.

    Example: geosearch tokens create --name nightly --days 30
    """
    from geosearch.database.access_tokens import create_token

    with connected(context) as connection:
        key, token = create_token(connection, name, days)
    answer(as_json, {"id": key, "name": name, "token": token}, token)


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the tokens of one's own; for geosearch_owner, those of all roles.

    Example: geosearch tokens list
    """
    from geosearch.database.access_tokens import list_tokens

    columns = {
        "id": lambda item: str(item.id),
        "role": lambda item: item.role,
        "name": lambda item: item.name,
        "expires": lambda item: f"{item.expires_at:%Y-%m-%d %H:%M}",
    }
    none = "none yet; geosearch tokens create --name NAME makes one"
    print_list(context, as_json, list_tokens, columns, ("role", "name"), none)


@app.command()
def revoke(
    context: typer.Context,
    token_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the token.")],
    as_json: JsonOption = False,
) -> None:
    """Take a token back: from now on it lets nobody in.

    Example: geosearch tokens revoke 3
    """
    from geosearch.database.access_tokens import revoke_token

    with connected(context) as connection:
        revoke_token(connection, token_id)
    answer(as_json, {"revoked": token_id}, f"token {token_id} is revoked")
