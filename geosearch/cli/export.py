"""`geosearch export`: answers as files for GIS and for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from geosearch.cli import console
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

_GEOJSON_ENDINGS = {".geojson", ".json"}


@app.callback()
def export() -> None:
    """Write answers to files."""


@app.command()
def estimates(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoJSON file to write.")],
    localization_ids: Annotated[
        list[int] | None, typer.Option("--id", help="An answer, by its id; repeatable.")
    ] = None,
    evaluation: Annotated[
        int | None, typer.Option(help="The answers of an evaluation, by its id.")
    ] = None,
    last: Annotated[int | None, typer.Option(help="The latest so many answers.")] = None,
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

    _check_ending("-o", output, _GEOJSON_ENDINGS)
    if map_file is not None:
        _check_ending("--map", map_file, {".png"})
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


def _check_ending(option: str, path: Path, endings: set[str]) -> None:
    if path.suffix.lower() not in endings:
        known = " or ".join(sorted(endings))
        raise InputError(
            f"{option} {path}: no format is known by the ending {path.suffix!r}",
            f"Give a file ending in {known}.",
        )
