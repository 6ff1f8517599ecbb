"""`geosearch embed` and `geosearch whiten`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from geosearch.cli.console import JsonOption, answer, database, progress, say, say_next
from geosearch.cli.options import DEVICE, MODEL, RAY, SEED, option, taking
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.words import number_of

if TYPE_CHECKING:
    from geosearch.features import EmbedSummary


@taking(
    MODEL,
    option("views", int, "Views of a photo: 1, 5 or 9; as +views9 after SPEC.", metavar="N"),
    option("collection", str, "Only this collection; default: all."),
    DEVICE,
    option("batch_size", int, "Photos per call of the network.", least=1),
    option("workers", int, "Threads; default: one per core.", least=1),
    option("retry", bool, "Try photos again that an earlier run rejected."),
    RAY,
)
def embed(context: typer.Context, as_json: JsonOption = False, **given: Any) -> None:
    """Embed all photos that have no embedding of the model yet.

    Those without a position, or with a guessed one, are embedded to be asked about.

    Can be stopped and run again, and run by several hosts at once, which share the
    work. Exit code 3: done, but some photos were rejected (see geosearch rejects).

    Example: geosearch embed --model torchvision/vgg16+max --collection mine
    """
    from geosearch.features import embed as embed_photos
    from geosearch.features.backbones import with_views

    views, ray = given.pop("views"), given.pop("ray")
    if views is not None:
        given["model"] = with_views(given["model"], views)
    with database(context) as opened, progress("embed", "photos") as report:
        if ray is None:
            summary = embed_photos(opened, **given, progress=report)
        else:
            from geosearch.features.ray_cluster import embed_on_ray

            summary = embed_on_ray(opened, ray, **given, progress=report)
    answer(as_json, summary, said_of(summary))
    if summary.embedded and not as_json:
        say_next("index", given["model"])
    elif not summary.pending and not as_json:
        say("no photo waits for it; geosearch ingest adds photos")
    if summary.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)


def said_of(summary: EmbedSummary) -> str:
    """What a run did, in a line."""
    others = f"{summary.others:,} done by others, " if summary.others else ""
    return (
        f"{summary.model}: {number_of(summary.embedded, 'photo')} embedded in "
        f"{summary.seconds:.1f} s ({summary.photos_per_s:,.0f} photos/s), "
        f"{others}{summary.rejected:,} rejected, "
        f"{summary.skipped:,} skipped (rejected earlier; --retry tries them again)"
    )


@taking(
    MODEL,
    option(
        "collections", list[str], "Fit to this one; repeatable. Default: all.", spelt="--collection"
    ),
    option("name", str, "Call it whitened:NAME; default: the name of the model."),
    option("dim", int, "Length of the whitened embeddings.", default=256),
    option("power", str, "0 to 1, or auto: by held-out references.", default="auto"),
    SEED,
    option("force", bool, "Store it even if it may be worse than the model."),
    DEVICE,
)
def whiten(context: typer.Context, as_json: JsonOption = False, **given: Any) -> None:
    """Make a model of another's stored embeddings, in which all directions count about as much.

    It is fitted to references, tried on some held out, and embeds what the model embedded, without
    reading a photo. Use it as --model whitened:NAME; geosearch embed takes new photos with it.

    Example: geosearch whiten --model packaged/efficientnet-lite0+views9 --collection mine --dim 128
    """
    from geosearch.features.whitening_fit import whiten as make

    with database(context) as opened, progress("whiten", "photos") as report:
        made = make(opened, **given, progress=report)
    low, high = (f"{100 * each:+.1f}" for each in made.gain[1:])
    answer(
        as_json,
        made,
        f"{made.model}: {made.base} in {made.dimension} dimensions, power {made.power:g}, fitted "
        f"to {number_of(made.references, 'reference')}; {made.held_out:,} held-out references: "
        f"{100 * made.base_hits:.1f} % found before, {100 * made.hits:.1f} % now, "
        f"{100 * made.gain[0]:+.1f} [{low}, {high}]; {number_of(made.photos, 'photo')} embedded",
    )
    if not as_json:
        say_next("index", made.model)
