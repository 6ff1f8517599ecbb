"""`geosearch partition` and `partitions`: divide the world into geocells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import console, deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import (
    JsonOption,
    Table,
    answer,
    connected,
    database,
    print_list,
    print_rows,
)
from geosearch.cli.deleting import DryRunOption, NewArgument, OldArgument, YesOption
from geosearch.cli.options import MODEL, check_map, make_filter, option, parameter, taking
from geosearch.words import number_of

if TYPE_CHECKING:
    from geosearch.database.connection import Connection
    from geosearch.geocells import Partition

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the partition.")]
MapOption = Annotated[
    Path | None, typer.Option("--map", metavar="FILE.png", help="Draw a map of the cells.")
]
_KIND = "quadtree: halves of halves; clusters: by spherical k-means."
_MIN = "Join cells with fewer photos to others."


@taking(
    option("kind", str, _KIND, default="quadtree"),
    option("max_photos", int, "Divide cells with more photos.", metavar="N", spelt="--max"),
    option("min_photos", int, _MIN, default=1, metavar="N", spelt="--min"),
    option("cells", int, "Clusters to begin with; for --kind clusters.", metavar="K"),
    option("seed", int, "Seed of the clusters; for --kind clusters."),
    parameter("map_file", MapOption),
    where=make_filter,
)
def partition(
    context: typer.Context, name: NameArgument, as_json: JsonOption = False, **given: Any
) -> None:
    """Divide the world into cells by where the photos that pass the filter are.

    Cells are small where photos are many. Every point of the Earth is in exactly one; the layer
    gis_geocells shows them.

    Example: geosearch partition fine --collection world --max 200 --min 20

    Example: geosearch partition coarse --collection world --kind clusters --cells 64
    """
    from geosearch.geocells import make_partition

    map_file = given.pop("map_file")
    check_map(map_file)
    with database(context) as opened:
        made = make_partition(opened, name, **given)
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
    from geosearch.geocells.geocell_rows import list_partitions

    columns = {
        "name": lambda item: item.name,
        "kind": lambda item: item.kind,
        "cells": lambda item: f"{item.cells:,}",
        "photos": lambda item: f"{item.photos:,}",
        "filter": lambda item: str(item.where),
    }
    none = "none yet; geosearch partition NAME makes one"
    print_list(context, as_json, list_partitions, columns, ("name", "kind", "filter"), none)


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
    from geosearch.geocells import find_partition

    check_map(map_file)
    with connected(context) as connection:
        _show(connection, find_partition(connection, name), map_file, as_json)


@app.command()
def delete(
    context: typer.Context,
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a partition, its cells, and the classifiers over it.

    Answers by them stay, but can no longer be reproduced.

    Example: geosearch partitions delete fine
    """
    from geosearch.deletion.record_deletion import delete_partition

    deleting.delete(context, deleting.Asked(dry_run, yes, as_json), delete_partition, name)


@app.command()
def rename(
    context: typer.Context, old: OldArgument, new: NewArgument, as_json: JsonOption = False
) -> None:
    """Give a partition another name, in stored answers too.

    Example: geosearch partitions rename fine finest
    """
    from geosearch.deletion.renaming import rename_partition

    deleting.rename(context, rename_partition, old, new, as_json)


@app.command()
@taking(
    MODEL,
    option("seed", int, "Seed of the order and of what is held out.", default=0),
    option("epochs", int, "Passes over the embeddings."),
    where=make_filter,
)
def fit(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of partitions.")],
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Fit classifiers over partitions to the embeddings of a model that is not trained for them.

    A tenth of the photos is held out for the figures. From then on, the model can be used with
    --method geocell, and with restrict_cells in --parameters.

    Example: geosearch partitions fit coarse fine --collection world
    """
    from geosearch.geocells.classifier_fit import EPOCHS, fit_classifiers

    if given["epochs"] is None:
        given["epochs"] = EPOCHS
    with database(context) as opened, console.progress("fit", "epochs") as report:
        made = fit_classifiers(opened, names, **given, progress=report)
    columns = {
        "partition": lambda item: item.classifier.partition.name,
        "cells": lambda item: f"{len(item.classifier.partition):,}",
        "fitted to": lambda item: f"{item.photos:,}",
        "held out": lambda item: f"{item.held_out:,}",
        "right cell": lambda item: f"{item.accuracy:.1%}",
        "loss": lambda item: f"{item.loss:.3f}",
    }
    print_rows(as_json, made, columns, text=("partition",))


def _show(connection: Connection, found: Partition, map_file: Path | None, as_json: bool) -> None:
    assert found.id is not None
    from geosearch.geocells.geocell_rows import describe_partition

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
    quantiles = {
        name: dict(zip(("least", "median", "most"), map(float, values), strict=True))
        for name, values in zip(("photos_per_cell", "area_km2"), figures.values(), strict=True)
    }

    def show() -> None:
        given = (f"{key} {value}" for key, value in stored.parameters.items() if value is not None)
        console.say(
            f"partition {stored.name}: {number_of(stored.cells, 'cell')} ({stored.kind}: "
            f"{', '.join(given)}) of {number_of(stored.photos, 'photo')}, filter: {stored.where}",
        )
        made = Table("", "least", "median", "most")
        for name, values in figures.items():
            made.add_row(name, *(f"{value:,.0f}" for value in values))
        made.print()

    answer(as_json, stored.to_json() | quantiles, show)
