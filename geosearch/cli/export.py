"""`geosearch export`: answers as files for GIS and for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from geosearch.cli import console
from geosearch.cli.options import check_ending
from geosearch.errors import InputError


class _Layers(TyperGroup):
    """One command a layer; an unknown one is an error of ours, with its remedy."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            layers = ", ".join(self.list_commands(ctx))
            raise InputError(f"there is no layer {cmd_name!r} to export", f"Layers: {layers}.")
        return command


app = typer.Typer(cls=_Layers, help="Write answers to files.", no_args_is_help=True)

_GEOJSON_ENDINGS = (".geojson", ".json")

_OutputOption = Annotated[Path, typer.Option("--output", "-o", help="GeoJSON file to write.")]
_IdsOption = Annotated[
    list[int] | None, typer.Option("--id", help="An answer, by its id; repeatable.")
]
_EvaluationOption = Annotated[
    int | None, typer.Option(help="The answers of an evaluation, by its id.")
]
_LastOption = Annotated[int | None, typer.Option(help="The latest so many answers.")]


@app.callback()
def export() -> None:
    """Write answers to files."""


@app.command()
def estimates(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="Also draw a PNG: one answer in detail, or many on the world."),
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Add lines from estimates to known true positions.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Add the 50 % and 90 % regions as polygons.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write estimates as GeoJSON (RFC 7946), and as a map picture.

    All recorded answers are written unless --id, --evaluation or --last chooses.

    Example: geosearch export estimates --last 1 -o estimates.geojson --map map.png
    """
    # Matplotlib takes a while to import: only for this command.
    from geosearch.export.estimates import Selection, read_estimates
    from geosearch.export.geojson import write_estimates_geojson
    from geosearch.export.picture import draw_selection

    check_ending("-o", output, _GEOJSON_ENDINGS)
    if map_file is not None:
        check_ending("--map", map_file, (".png",))
    selection = Selection(tuple(localization_ids or ()), evaluation, last)
    with console.database(context) as database:
        with database.connection() as connection:
            chosen = read_estimates(connection, selection, regions=regions)
            count = write_estimates_geojson(output, chosen, truth=truth, regions=regions)
        if map_file is not None:
            draw_selection(database, selection, map_file)
    if as_json:
        console.print_json({"estimates": count, "output": output, "map": map_file})
        return
    files = str(output) if map_file is None else f"{output} and {map_file}"
    console.out.print(
        f"{count:,} estimates in {files}", highlight=False, markup=False, soft_wrap=True
    )


@app.command()
def errors(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write lines from estimates to known true positions as GeoJSON (RFC 7946).

    A line follows the great circle and is cut at the antimeridian; its properties are photo,
    method, error_km and score. Answers without a known truth have none.

    Example: geosearch export errors --evaluation 7 -o errors.geojson
    """
    from geosearch.export.estimates import Selection, read_estimates
    from geosearch.export.geojson import write_errors_geojson

    check_ending("-o", output, _GEOJSON_ENDINGS)
    selection = Selection(tuple(localization_ids or ()), evaluation, last)
    with console.database(context) as database, database.connection() as connection:
        count = write_errors_geojson(output, read_estimates(connection, selection))
    if as_json:
        console.print_json({"errors": count, "output": output})
        return
    console.out.print(
        f"{count:,} error lines in {output}", highlight=False, markup=False, soft_wrap=True
    )
