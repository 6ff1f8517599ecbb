"""`geosearch embed`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, print_json, progress, say
from geosearch.cli.options import DeviceOption, ModelOption
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.features import DEFAULT_MODEL
from geosearch.features import embed as embed_photos


def embed(
    context: typer.Context,
    model: ModelOption = DEFAULT_MODEL,
    collection: Annotated[
        str | None, typer.Option(help="Only this collection; default: all.")
    ] = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Photos per call of the network.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: one per core.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try photos again that an earlier run rejected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Embed all located photos that have no embedding of the model yet.

    Can be stopped and run again. Exit code 3: done, but some photos were rejected
    (see geosearch rejects).

    Example: geosearch embed --model torchvision/vgg16+max --collection mine
    """
    with database(context) as opened, progress("embed", "photos") as report:
        summary = embed_photos(
            opened,
            model,
            collection=collection,
            device=device,
            batch_size=batch_size,
            workers=workers,
            retry=retry,
            progress=report,
        )
    if as_json:
        print_json(asdict(summary))
    else:
        say(
            f"{summary.model}: {summary.embedded:,} photos embedded in {summary.seconds:.1f} s "
            f"({summary.photos_per_s:,.0f} photos/s), {summary.rejected:,} rejected, "
            f"{summary.skipped:,} skipped (rejected earlier; --retry tries them again)",
        )
        if summary.embedded:
            chosen = "" if model == DEFAULT_MODEL else f" --model {shlex.quote(model)}"
            say(f"next: geosearch index{chosen}")
        elif not summary.pending:
            say("no photo with a position waits for it; geosearch ingest adds photos")
    if summary.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)
