"""`geosearch serve`: the page, and the API that it uses."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli import options
from geosearch.cli.console import JsonOption, answer, database
from geosearch.defaults import DEFAULT_MODEL

ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="SPEC", help="A model to answer uploads by; repeatable, the first first."
    ),
]


@options.taking(options.DEVICE)
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    models: ModelsOption = None,
    auth: Annotated[
        bool, typer.Option("--auth", help="Have everybody log in as a role of the database.")
    ] = False,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: JsonOption = False,
    *,
    device: str,
) -> None:
    """Serve the page and the API, on this machine or, with --auth, for others.

    Ctrl-C ends it, once the answers at work are finished.

    Example: geosearch serve --open
    """
    from geosearch.web.serving import serve as run

    def started(address: str) -> None:
        answer(as_json, {"address": address}, f"geosearch is at {address}; Ctrl-C ends it")

    with database(context) as opened:
        run(
            opened,
            models or [DEFAULT_MODEL],
            host,
            port,
            auth=auth,
            device=device,
            browse=browse,
            started=started,
        )
