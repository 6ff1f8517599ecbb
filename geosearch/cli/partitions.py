"""`geosearch partition` and `partitions`: divide the world into geocells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import (
    JsonOption,
    Table,
    answer,
    database,
    print_json,
    print_rows,
    progress,
    say,
)
from geosearch.cli.options import ModelOption, check_map, filtered
from geosearch.database.connection import Connection
from geosearch.features import DEFAULT_MODEL
from geosearch.geocells import Partition, find_partition, make_partition
from geosearch.geocells.geocell_rows import (
    describe_partition,
    list_partitions,
    remove_partition,
)
from geosearch.retrieval import Filter

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the partition.")]
MapOption = Annotated[
    Path | None, typer.Option("--map", metavar="FILE.png", help="Draw a map of the cells.")
]


@filtered
def partition(
    context: typer.Context,
    name: NameArgument,
    kind: Annotated[
        str, typer.Option(help="quadtree: halves of halves; clusters: by spherical k-means.")
    ] = "quadtree",
    max_photos: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Divide cells with more photos.")
    ] = None,
    min_photos: Annotated[
        int, typer.Option("--min", metavar="N", help="Join cells with fewer photos to others.")
    ] = 1,
    cells: Annotated[
        int | None, typer.Option(metavar="K", help="Clusters to begin with; for --kind clusters.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the clusters; for --kind clusters.")
    ] = None,
    map_file: MapOption = None,
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Divide the world into cells by where the photos that pass the filter are.

    Cells are small where photos are many. Every point of the Earth is in exactly one; the layer
    gis_geocells shows them.

    Example: geosearch partition fine --collection world --max 200 --min 20

    Example: geosearch partition coarse --collection world --kind clusters --cells 64
    """
    check_map(map_file)
    with database(context) as opened:
        made = make_partition(
            opened,
            name,
            kind=kind,
            max_photos=max_photos,
            min_photos=min_photos,
            cells=cells,
            seed=seed,
            where=where,
        )
        with opened.connection() as connection:
            _show(connection, made, map_file, as_json)


app = command_group(
    """Partitions of the world into geocells; `geosearch partition` makes one.

    Example: geosearch partitions list
    """
)


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the partitions.

    Example: geosearch partitions list --json
    """
    with database(context) as opened, opened.connection() as connection:
        found = list_partitions(connection)
    rows = [
        (item.name, item.kind, f"{item.cells:,}", f"{item.photos:,}", str(item.where))
        for item in found
    ]
    names = ("name", "kind", "cells", "photos", "filter")
    values = [item.to_json() for item in found]
    none = "none yet; geosearch partition NAME makes one"
    print_rows(as_json, values, names, rows, ("name", "kind", "filter"), none)


@app.command()
def show(
    context: typer.Context,
    name: NameArgument,
    map_file: MapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a partition was made and how its cells are.

    Example: geosearch partitions show fine --map fine.png
    """
    check_map(map_file)
    with database(context) as opened, opened.connection() as connection:
        _show(connection, find_partition(connection, name), map_file, as_json)


@app.command()
def remove(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a partition, its cells, and the classifiers over it.

    Answers by them stay, but can no longer be reproduced.

    Example: geosearch partitions remove fine
    """
    with database(context) as opened, opened.connection() as connection:
        remove_partition(connection, name)
    answer(as_json, {"removed": name}, f"partition {name} removed")


@app.command()
@filtered
def fit(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of partitions.")],
    model: ModelOption = DEFAULT_MODEL,
    seed: Annotated[int, typer.Option(help="Seed of the order and of what is held out.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the embeddings.")] = None,
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Fit classifiers over partitions to the embeddings of a model that is not trained for them.

    A tenth of the photos is held out for the figures. From then on, the model can be used with
    --method geocell, and with restrict_cells in --parameters.

    Example: geosearch partitions fit coarse fine --collection world
    """
    from geosearch.geocells.classifier_fit import EPOCHS, fit_classifiers

    with database(context) as opened, progress("fit", "epochs") as report:
        made = fit_classifiers(
            opened,
            names,
            model=model,
            where=where,
            seed=seed,
            epochs=EPOCHS if epochs is None else epochs,
            progress=report,
        )
    rows = [
        (
            item.classifier.partition.name,
            f"{len(item.classifier.partition):,}",
            f"{item.photos:,}",
            f"{item.held_out:,}",
            f"{item.accuracy:.1%}",
            f"{item.loss:.3f}",
        )
        for item in made
    ]
    heads = ("partition", "cells", "fitted to", "held out", "right cell", "loss")
    print_rows(as_json, [item.to_json() for item in made], heads, rows, text=heads[:1])


def _show(connection: Connection, found: Partition, map_file: Path | None, as_json: bool) -> None:
    assert found.id is not None
    stored = describe_partition(connection, found.id)
    if map_file is not None:
        # Matplotlib takes a while to import: only for this option.
        from geosearch.export.partition_picture import draw_cells

        draw_cells(found, map_file)
    photos, area = found.photos, found.area_km2
    figures = {
        "photos in a cell": (photos.min(), int(sorted(photos)[len(photos) // 2]), photos.max()),
        "area, km²": (area.min(), float(sorted(area)[len(area) // 2]), area.max()),
    }
    if as_json:
        quantiles = {
            name: dict(zip(("least", "median", "most"), map(float, values), strict=True))
            for name, values in zip(("photos_per_cell", "area_km2"), figures.values(), strict=True)
        }
        print_json(stored.to_json() | quantiles)
        return
    given = ", ".join(
        f"{key} {value}" for key, value in stored.parameters.items() if value is not None
    )
    say(
        f"partition {stored.name}: {stored.cells:,} cells ({stored.kind}: {given}) of "
        f"{stored.photos:,} photos, filter: {stored.where}",
    )
    made = Table("", "least", "median", "most")
    for name, values in figures.items():
        made.add_row(name, *(f"{value:,.0f}" for value in values))
    made.print()
