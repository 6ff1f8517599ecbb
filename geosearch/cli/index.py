"""`geosearch index`: build the HNSW index of a model's embeddings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, out, print_json, progress_bar
from geosearch.cli.options import (
    ModelOption,
)
from geosearch.features import DEFAULT_MODEL
from geosearch.features.models import find_model
from geosearch.retrieval.indexes import build_index


def index(
    context: typer.Context,
    model: ModelOption = DEFAULT_MODEL,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build again even if the index is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the HNSW index of a model, while reads and writes go on.

    Without an index every search compares all matching photos: exact, and slower as photos grow.

    Example: geosearch index --model packaged/efficientnet-lite0
    """
    with database(context) as opened:
        with opened.connection() as connection:
            row = find_model(connection, model)
        with progress_bar("blocks") as progress:
            task = progress.add_task("index", total=None)
            built = build_index(
                opened,
                row.id,
                row.dimension,
                rebuild=rebuild,
                progress=lambda phase, done, total: progress.update(
                    task, description=phase, completed=done, total=total or None
                ),
            )
    if as_json:
        print_json(asdict(built))
    elif built.built:
        mode = "serially" if built.serial else "in parallel"
        out.print(
            f"{built.name}: {built.rows} embeddings in {built.seconds:.1f} s, {mode}, "
            f"{built.bytes / 1e6:.1f} MB (pgvector {built.pgvector})",
            highlight=False,
        )
    else:
        out.print(f"{built.name} is there already; --rebuild builds it again", highlight=False)
