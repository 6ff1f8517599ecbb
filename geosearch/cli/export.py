"""`geosearch export`: photos and answers as files for GIS and for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.command_groups import CommandGroup
from geosearch.cli.console import JsonOption, answer, database, progress
from geosearch.cli.options import check_ending, filtered, selecting
from geosearch.errors import InputError
from geosearch.layers.layer import (
    AUDIT,
    DUPLICATES,
    ERRORS,
    ESTIMATES,
    LINES,
    NEIGHBOURS,
    PHOTOS,
    REGIONS,
    TRUTHS,
    UNLOCATED,
    Layer,
)

if TYPE_CHECKING:
    from geosearch.database.connection import Connection
    from geosearch.layers.layer_rows import LayerRows
    from geosearch.layers.selection import Selection
    from geosearch.retrieval import Filter


class _Layers(CommandGroup):
    """One command a layer; an unknown one is an error of ours, with its remedy."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            layers = ", ".join(self.list_commands(ctx))
            raise InputError(f"there is no layer {cmd_name!r} to export", f"Layers: {layers}.")
        return command


app = typer.Typer(cls=_Layers, help="Write photos and answers to files.", no_args_is_help=True)

_OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write: .gpkg, .parquet, .fgb, .geojson, .kml or .csv.",
    ),
]


_SafeCsvOption = Annotated[
    bool,
    typer.Option(
        "--safe-csv/--no-safe-csv",
        help="In .csv, an apostrophe before text that a spreadsheet would compute.",
    ),
]


@app.callback()
def export() -> None:
    """Write photos and answers to files."""


def _help(layer: Layer, more: str) -> str:
    """Help for the command that writes a layer, with an example last."""
    return f"Write {layer.about[0].lower()}{layer.about[1:]}\n\n{more}"


@app.command(
    help=_help(
        PHOTOS, "Example: geosearch export photos --country CH --after 2015-01-01 -o photos.gpkg"
    )
)
@filtered
def photos(
    context: typer.Context,
    output: _OutputOption,
    as_json: JsonOption = False,
    safe_csv: _SafeCsvOption = True,
    *,
    where: Filter,
) -> None:
    """Write photos, all or those of a filter."""

    def read(connection: Connection) -> list[LayerRows]:
        from geosearch.layers.layer_rows import read_photos

        return [read_photos(connection, where)]

    _write(context, output, read, as_json, safe_csv)


@app.command(
    help=_help(
        ESTIMATES,
        "All recorded answers are written unless --id, --evaluation or --last chooses.\n\n"
        "Example: geosearch export estimates --last 1 -o estimates.geojson --map map.png",
    )
)
@selecting
def estimates(
    context: typer.Context,
    output: _OutputOption,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="Also draw a PNG: one answer in detail, or many on the world."),
    ] = None,
    truth: Annotated[
        bool,
        typer.Option(
            "--truth", help="Also the layer errors, in the same file (.gpkg and .geojson)."
        ),
    ] = False,
    regions: Annotated[
        bool,
        typer.Option(
            "--regions", help="Also the layer regions, in the same file (.gpkg and .geojson)."
        ),
    ] = False,
    as_json: JsonOption = False,
    safe_csv: _SafeCsvOption = True,
    *,
    selection: Selection,
) -> None:
    """Write estimates, and the layers and the picture asked for beside them."""
    if map_file is not None:
        check_ending("--map", map_file, (".png",))
    layers = [ESTIMATES, *[ERRORS] * truth, *[REGIONS] * regions]
    _write_answers(context, output, layers, selection, as_json, safe_csv, map_file)


def _add_command(layer: Layer, example: str) -> None:
    @app.command(layer.name, help=_help(layer, f"Example: geosearch export {layer.name} {example}"))
    @selecting
    def _(
        context: typer.Context,
        output: _OutputOption,
        as_json: JsonOption = False,
        safe_csv: _SafeCsvOption = True,
        *,
        selection: Selection,
    ) -> None:
        _write_answers(context, output, [layer], selection, as_json, safe_csv)


_add_command(REGIONS, "--id 17 -o regions.gpkg")
_add_command(NEIGHBOURS, "--last 1 -o neighbours.csv")
_add_command(LINES, "--last 1 -o lines.kml")
_add_command(ERRORS, "--evaluation 7 -o errors.geojson")
_add_command(TRUTHS, "--evaluation 7 -o truths.geojson")


def _add_whole(layer: Layer, example: str) -> None:
    @app.command(layer.name, help=_help(layer, f"Example: geosearch export {layer.name} {example}"))
    def _(
        context: typer.Context,
        output: _OutputOption,
        as_json: JsonOption = False,
        safe_csv: _SafeCsvOption = True,
    ) -> None:
        def read(connection: Connection) -> list[LayerRows]:
            from geosearch.layers.layer_rows import read_all

            return [read_all(connection, layer)]

        _write(context, output, read, as_json, safe_csv)


_add_whole(UNLOCATED, "-o unlocated.gpkg")
_add_whole(AUDIT, "-o doubts.gpkg")
_add_whole(DUPLICATES, "-o duplicates.csv")


@app.command()
def density(
    context: typer.Context,
    localization_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the answer.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.tif", help="GeoTIFF to write.")
    ],
    step: Annotated[
        float | None,
        typer.Option(metavar="DEG", help="Side of a pixel; default a quarter of the bandwidth."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the density of an answer as a Cloud Optimized GeoTIFF: probability per square km.

    Example: geosearch export density 17 -o density.tif
    """
    from geosearch.export.surface import write_density
    from geosearch.localization import load

    check_ending("-o", output, (".tif", ".tiff"))
    with database(context) as opened:
        found = load(opened, localization_id)
    with progress("density", "rows") as report:
        grid = write_density(found, output, step=step, progress=report)
    size = {"width": grid.width, "height": grid.height, "step": grid.step}
    answer(
        as_json,
        {"localization_id": localization_id, **size, "output": output},
        f"{grid.width:,} x {grid.height:,} pixels of {grid.step:.4g}° in {output}",
    )


@app.command()
def tiles(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.pmtiles", help="Archive to write.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Layer; may be repeated. [default: photos]"),
    ] = None,
    localization_id: Annotated[
        int | None, typer.Option("--id", metavar="ID", help="Only of this answer.")
    ] = None,
    max_zoom: Annotated[
        int, typer.Option(metavar="Z", help="Down to this zoom; maps enlarge it beyond.")
    ] = 12,
    as_json: JsonOption = False,
) -> None:
    """Write layers as vector tiles in one file, PMTiles, which a map reads from any web server.

    Example: geosearch export tiles --layer photos --layer estimates -o photos.pmtiles
    """
    from geosearch.export.tile_archive import find_layers, write_tiles

    check_ending("-o", output, (".pmtiles",))
    layers = find_layers(layer or [PHOTOS.name])
    with (
        database(context) as opened,
        opened.connection() as connection,
        progress("export", "tiles") as report,
    ):
        count = write_tiles(
            connection, output, layers, answer=localization_id, max_zoom=max_zoom, progress=report
        )
    names = [each.name for each in layers]
    answer(
        as_json,
        {"layers": names, "tiles": count, "max_zoom": max_zoom, "output": output},
        f"{count:,} tiles of {', '.join(names)}, zoom 0 to {max_zoom}, in {output}",
    )


@app.command()
@selecting
def qgis(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.qgz", help="Project to write.")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also save it in the database by this name, with the styles of all layers.",
        ),
    ] = None,
    reach: Annotated[
        str | None,
        typer.Option(
            "--reach",
            metavar="URL",
            help="How QGIS reaches the database, if not as geosearch does: a URL, or service=NAME.",
        ),
    ] = None,
    as_json: JsonOption = False,
    *,
    selection: Selection,
) -> None:
    """Write a QGIS project that shows this database: answers, photos, coverage, borders.

    It reads the database when it is opened, and holds no password. By default it shows all
    answers; --id, --evaluation or --last chooses some.

    Example: geosearch export qgis -o geosearch.qgz
    """
    from geosearch.atomic_files import replacing
    from geosearch.database.session import reachable_url
    from geosearch.gis.data_source import connection_uri
    from geosearch.gis.qgis_database import Stored, install_styles, make_project, save_project

    if output is None and save is None:
        raise InputError("nothing to write", "Give -o FILE.qgz, --save NAME, or both.")
    if output is not None:
        check_ending("-o", output, (".qgz",))
    with database(context) as opened:
        source = connection_uri(reach or reachable_url(opened))
        with opened.connection() as connection:
            project = make_project(connection, source, selection)
            styles = Stored((), ())
            if save is not None:
                save_project(connection, save, project)
                styles = install_styles(connection)
    if output is not None:
        with replacing(output) as part:
            part.write_bytes(project.archive())
    count = sum(len(group.layers) for group in project.groups)
    said = [f"{count} layers of {source}" + ("" if output is None else f" in {output}")]
    if save is not None:
        said.append(
            f"saved as {save} in schema geosearch, with the styles of {len(styles.written)} layers"
        )
    if styles.kept:
        said.append(f"styles left as they were changed: {', '.join(styles.kept)}")
    stored = {"styles": styles.written, "styles_kept": styles.kept}
    value = {"layers": count, "source": source, "output": output, "saved": save, **stored}
    answer(as_json, value, "\n".join(said))


def _write_answers(
    context: typer.Context,
    output: Path,
    layers: list[Layer],
    selection: Selection,
    as_json: bool,
    safe_csv: bool,
    map_file: Path | None = None,
) -> None:
    """Write layers of the chosen answers, and their picture if asked for."""

    def read(connection: Connection) -> list[LayerRows]:
        from geosearch.layers.layer_rows import read_answers

        return [read_answers(connection, layer, selection) for layer in layers]

    _write(context, output, read, as_json, safe_csv, selection, map_file)


def _write(
    context: typer.Context,
    output: Path,
    read: Callable[[Connection], list[LayerRows]],
    as_json: bool,
    safe_csv: bool,
    selection: Selection | None = None,
    map_file: Path | None = None,
) -> None:
    # Arrow and Matplotlib take a while to import: only for those who use them.
    from geosearch.export.layer_files import ENDINGS, write_layers

    check_ending("-o", output, ENDINGS)
    with database(context) as opened:
        with opened.connection() as connection, progress("export", "rows") as report:
            rows = write_layers(output, read(connection), report, safe_csv=safe_csv)
        if selection is not None and map_file is not None:
            from geosearch.export.answer_picture import draw_selection

            draw_selection(opened, selection, map_file)
    picture = {} if map_file is None else {"map": map_file}
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    files = f"{output}" + ("" if map_file is None else f" and {map_file}")
    answer(as_json, {**rows, "output": output, **picture}, f"{counts} in {files}")
