"""`geosearch embed`."""

from __future__ import annotations

from typing import Any

import typer

from geosearch.cli.console import JsonOption, answer, database, progress, say, say_next
from geosearch.cli.options import DEVICE, MODEL, option, taking
from geosearch.errors import EXIT_SOME_REJECTED


@taking(
    MODEL,
    option("collection", str, "Only this collection; default: all."),
    DEVICE,
    option("batch_size", int, "Photos per call of the network.", least=1),
    option("workers", int, "Threads; default: one per core.", least=1),
    option("retry", bool, "Try photos again that an earlier run rejected."),
)
def embed(context: typer.Context, as_json: JsonOption = False, **given: Any) -> None:
    """Embed all located photos that have no embedding of the model yet.

    Can be stopped and run again. Exit code 3: done, but some photos were rejected
    (see geosearch rejects).

    Example: geosearch embed --model torchvision/vgg16+max --collection mine
    """
    from geosearch.features import embed as embed_photos

    with database(context) as opened, progress("embed", "photos") as report:
        summary = embed_photos(opened, **given, progress=report)
    answer(
        as_json,
        summary,
        f"{summary.model}: {summary.embedded:,} photos embedded in {summary.seconds:.1f} s "
        f"({summary.photos_per_s:,.0f} photos/s), {summary.rejected:,} rejected, "
        f"{summary.skipped:,} skipped (rejected earlier; --retry tries them again)",
    )
    if summary.embedded and not as_json:
        say_next("index", given["model"])
    elif not summary.pending and not as_json:
        say("no photo with a position waits for it; geosearch ingest adds photos")
    if summary.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)
