"""`geosearch export`: photos and answers as files for GIS and for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from geosearch.cli import console
from geosearch.cli.options import check_ending, filtered
from geosearch.errors import InputError
from geosearch.retrieval import Filter

if TYPE_CHECKING:
    from geosearch.database.connection import Connection
    from geosearch.export.estimates import Selection
    from geosearch.export.layer_rows import Part


class _Layers(TyperGroup):
    """One command a layer; an unknown one is an error of ours, with its remedy."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            layers = ", ".join(self.list_commands(ctx))
            raise InputError(f"there is no layer {cmd_name!r} to export", f"Layers: {layers}.")
        return command


app = typer.Typer(cls=_Layers, help="Write photos and answers to files.", no_args_is_help=True)

#: As in `geosearch.export.layer_files`, which takes a while to import.
_ENDINGS = (".gpkg", ".geojson", ".json", ".parquet", ".fgb", ".kml", ".csv")

_OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write: .gpkg, .parquet, .fgb, .geojson, .kml or .csv.",
    ),
]
_IdsOption = Annotated[
    list[int] | None, typer.Option("--id", help="An answer, by its id; repeatable.")
]
_EvaluationOption = Annotated[
    int | None, typer.Option(help="The answers of an evaluation, by its id.")
]
_LastOption = Annotated[int | None, typer.Option(help="The latest so many answers.")]


@app.callback()
def export() -> None:
    """Write photos and answers to files."""


@app.command()
@filtered
def photos(
    context: typer.Context,
    output: _OutputOption,
    as_json: console.JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Write the reference photos that have a position, all or those of a filter.

    Example: geosearch export photos --country CH --after 2015-01-01 -o photos.gpkg
    """
    from geosearch.export.layer_rows import PHOTOS, read_photos

    _write(context, output, lambda connection: [(PHOTOS, read_photos(connection, where))], as_json)


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
    as_json: console.JsonOption = False,
) -> None:
    """Write estimates as points, and as a map picture.

    All recorded answers are written unless --id, --evaluation or --last chooses.

    Example: geosearch export estimates --last 1 -o estimates.geojson --map map.png
    """
    if map_file is not None:
        check_ending("--map", map_file, (".png",))
    chosen = ["estimates"] + ["errors"] * truth + ["regions"] * regions
    _answers(context, output, chosen, (localization_ids, evaluation, last), as_json, map_file)


@app.command()
def regions(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write the 50 % and 90 % regions of answers as polygons, cut at the antimeridian.

    Example: geosearch export regions --id 17 -o regions.gpkg
    """
    _answers(context, output, ["regions"], (localization_ids, evaluation, last), as_json)


@app.command()
def neighbours(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write the neighbours that answers rest on, with their ranks, distances and weights.

    Example: geosearch export neighbours --last 1 -o neighbours.csv
    """
    _answers(context, output, ["neighbours"], (localization_ids, evaluation, last), as_json)


@app.command()
def lines(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write lines from estimates to the neighbours they rest on.

    A line follows the great circle and is cut at the antimeridian.

    Example: geosearch export lines --last 1 -o lines.kml
    """
    _answers(context, output, ["lines"], (localization_ids, evaluation, last), as_json)


@app.command()
def errors(
    context: typer.Context,
    output: _OutputOption,
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write lines from estimates to known true positions.

    A line follows the great circle and is cut at the antimeridian; answers without a known truth
    have none.

    Example: geosearch export errors --evaluation 7 -o errors.geojson
    """
    _answers(context, output, ["errors"], (localization_ids, evaluation, last), as_json)


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
    as_json: console.JsonOption = False,
) -> None:
    """Write the density of an answer as a Cloud Optimized GeoTIFF: probability per square km.

    Example: geosearch export density 17 -o density.tif
    """
    from geosearch.export.surface import write_density
    from geosearch.localization import load

    check_ending("-o", output, (".tif", ".tiff"))
    with console.database(context) as database:
        answer = load(database, localization_id)
    with _progress("density", "rows") as progress:
        grid = write_density(answer, output, step=step, progress=progress)
    if as_json:
        size = {"width": grid.width, "height": grid.height, "step": grid.step}
        console.print_json({"localization_id": localization_id, **size, "output": output})
        return
    _say(f"{grid.width:,} x {grid.height:,} pixels of {grid.step:.4g}° in {output}")


@app.command()
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
    localization_ids: _IdsOption = None,
    evaluation: _EvaluationOption = None,
    last: _LastOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write a QGIS project that shows this database: answers, photos, coverage, borders.

    It reads the database when it is opened, and holds no password. By default it shows all
    answers; --id, --evaluation or --last chooses some.

    Example: geosearch export qgis -o geosearch.qgz
    """
    from geosearch.atomic_files import replacing
    from geosearch.database.session import reachable_url
    from geosearch.export.estimates import Selection
    from geosearch.gis.data_source import connection_uri
    from geosearch.gis.qgis_database import Stored, install_styles, make_project, save_project

    if output is None and save is None:
        raise InputError("nothing to write", "Give -o FILE.qgz, --save NAME, or both.")
    if output is not None:
        check_ending("-o", output, (".qgz",))
    selection = Selection(tuple(localization_ids or ()), evaluation, last)
    with console.database(context) as database:
        source = connection_uri(reach or reachable_url(database))
        with database.connection() as connection:
            project = make_project(connection, source, selection)
            styles = Stored((), ())
            if save is not None:
                save_project(connection, save, project)
                styles = install_styles(connection)
    if output is not None:
        with replacing(output) as part:
            part.write_bytes(project.archive())
    count = sum(len(group.layers) for group in project.groups)
    if as_json:
        stored = {"styles": styles.written, "styles_kept": styles.kept}
        console.print_json(
            {"layers": count, "source": source, "output": output, "saved": save, **stored}
        )
        return
    _say(f"{count} layers of {source}" + ("" if output is None else f" in {output}"))
    if save is not None:
        _say(
            f"saved as {save} in schema geosearch, with the styles of {len(styles.written)} layers"
        )
    if styles.kept:
        _say(f"styles left as they were changed: {', '.join(styles.kept)}")
    if "borders" not in project.bounds:
        console.err.print(
            "no borders are loaded, so the background is empty: geosearch borders load FILE",
            highlight=False,
            markup=False,
        )


def _answers(
    context: typer.Context,
    output: Path,
    names: list[str],
    chosen: tuple[list[int] | None, int | None, int | None],
    as_json: bool,
    map_file: Path | None = None,
) -> None:
    """Write layers of the chosen answers, and their picture if asked for."""
    from geosearch.export.estimates import Selection
    from geosearch.export.layer_rows import LAYERS, read_answers

    ids, evaluation, last = chosen
    selection = Selection(tuple(ids or ()), evaluation, last)

    def parts(connection: Connection) -> list[Part]:
        layers = [LAYERS[name] for name in names]
        return [(layer, read_answers(connection, layer, selection)) for layer in layers]

    _write(context, output, parts, as_json, selection, map_file)


def _write(
    context: typer.Context,
    output: Path,
    parts: Callable[[Connection], list[Part]],
    as_json: bool,
    selection: Selection | None = None,
    map_file: Path | None = None,
) -> None:
    check_ending("-o", output, _ENDINGS)
    # Arrow and Matplotlib take a while to import: only for those who use them.
    from geosearch.export.layer_files import write_layers

    with console.database(context) as database:
        with database.connection() as connection, _progress("export", "rows") as progress:
            rows = write_layers(output, parts(connection), progress)
        if selection is not None and map_file is not None:
            from geosearch.export.answer_picture import draw_selection

            draw_selection(database, selection, map_file)
    if as_json:
        picture = {} if map_file is None else {"map": map_file}
        console.print_json({**rows, "output": output, **picture})
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    _say(f"{counts} in {output}" + ("" if map_file is None else f" and {map_file}"))


@contextmanager
def _progress(task: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    with console.progress_bar(unit) as bar:
        number = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(number, completed=done, total=total)


def _say(text: str) -> None:
    console.out.print(text, highlight=False, markup=False, soft_wrap=True)
