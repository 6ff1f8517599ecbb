"""`geosearch embeddings`: those made elsewhere brought in, those made here taken out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, database, progress
from geosearch.cli.options import DEVICE, MODEL, RAY, option, taking
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.words import number_of

if TYPE_CHECKING:
    from geosearch.features.embedding_import import Imported

app = command_group(
    """Embeddings made elsewhere brought in, and those here written to files.

    Example: geosearch embeddings import vectors.parquet --model dinov2 --collection mine
    """
)

ModelOption = Annotated[str, typer.Option("--model", metavar="NAME", help="Of which model.")]


@app.command("import")
@taking(
    option("match", str, "What rows name photos by: uri, source_id, sha256 or row.", "uri"),
    option("keys", Path, "What rows name photos by, a line each.", metavar="FILE"),
    option("column", str, "Column or tensor of the vectors.", metavar="NAME"),
    option("dimension", int, "Length of a vector.", metavar="N", least=1),
    option("licence", str, "Licence of the model.", metavar="NAME"),
    option("photos", bool, "The files are manifests: ingest their photos first."),
)
def import_(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help=".npy .safetensors .parquet .tsv, folders.")],
    model: ModelOption,
    collection: Annotated[str, typer.Option("--collection", help="Of whose photos.")],
    as_json: JsonOption = False,
    *,
    match: str,
    keys: Path | None,
    column: str | None,
    dimension: int | None,
    licence: str | None,
    photos: bool,
) -> None:
    """Give photos of a collection embeddings of a model that was run elsewhere.

    It is called external:NAME from then on. Run again, it goes on; what cannot be used is listed by
    geosearch rejects.

    Example: geosearch embeddings import laion/ --model clip --collection laion --match source_id
    """
    from geosearch.features.embedding_import import import_embeddings

    with database(context) as opened, progress("import", "rows") as report:
        done = import_embeddings(
            opened,
            files,
            model=model,
            collection=collection,
            match=match,
            keys=keys,
            column=column,
            dimension=dimension,
            licence=licence,
            photos=photos,
            progress=report,
        )
    answer(as_json, asdict(done), _said(done))
    if done.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _said(done: Imported) -> str:
    more = "".join(
        f", {count:,} {what}"
        for what, count in (("were there", done.there), ("rejected", done.rejected))
        if count
    )
    rows = number_of(done.rows, "row")
    return f"{done.model}: {done.embedded:,} of {rows}{more}; {done.rows_per_s:,.0f}/s"


@app.command("make")
@taking(
    MODEL,
    DEVICE,
    option("rows", int, "Photos of a file.", 1024, metavar="N", least=1),
    RAY,
)
def make(
    sources: Annotated[list[str], typer.Argument(help="Folders and manifests, or URLs of them.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder, or URL of one.")],
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Embed photos that are in no database into Parquet files, for import.

    Run again after a kill, it makes the files that are missing.

    Example: geosearch embeddings make photos.csv -o vectors --model timm/vit_small_patch14_dinov2
    """
    from geosearch.features.embedding_files import embed_into_files

    with progress("embed", "photos") as report:
        done = embed_into_files(sources, output, **given, progress=report)
    there = f", {number_of(done.were_there, 'file')} there before" if done.were_there else ""
    answer(
        as_json,
        asdict(done),
        f"{done.model}: {number_of(done.photos, 'photo')} in {number_of(done.parts, 'file')} of "
        f"{done.folder}, {done.rejected:,} rejected{there}; {done.photos_per_s:,.0f}/s",
    )
    if done.rejected or done.unusable:
        raise typer.Exit(EXIT_SOME_REJECTED)


@app.command("export")
def export(
    context: typer.Context,
    model: ModelOption,
    output: Annotated[Path, typer.Option("--output", "-o", help=".parquet .npy .safetensors .tsv")],
    collection: Annotated[
        str | None, typer.Option("--collection", help="Only this collection.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the embeddings of a model, with the photos they are of.

    Example: geosearch embeddings export --model packaged/efficientnet-lite0 -o vectors.parquet
    """
    from geosearch.features.embedding_export import export_embeddings

    with database(context) as opened:
        done = export_embeddings(opened, output, model=model, collection=collection)
    answer(as_json, done, f"{number_of(done.rows, 'embedding')} of {done.dimension} in {done.file}")
