"""`geosearch sample`: real, geotagged photos that need no download."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from geosearch.cli import console
from geosearch.cli.command_groups import command_group
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.trip import TripSample, write_trip_sample
from geosearch.sample.views import Difficulty
from geosearch.sample.window import EARTH, Window
from geosearch.sample.worlds import Over

app = command_group(
    """Make sample photos that need no download.

    Example: geosearch sample space -o sample
    """
)


@app.command()
def space(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")],
    references: Annotated[int, typer.Option(help="Geotagged reference views.")] = 6000,
    queries: Annotated[int, typer.Option(help="Query views, without EXIF.")] = 400,
    seed: Annotated[int, typer.Option(help="Another seed, other views.")] = SpaceSample.seed,
    difficulty: Annotated[
        Difficulty, typer.Option(help="How far queries stray from the references' kind of view.")
    ] = SpaceSample.difficulty,
    window: Annotated[
        str | None,
        typer.Option(metavar="W,S,E,N|LAT,LON,KM", help="Views of this part of the Earth only."),
    ] = None,
    shrink: Annotated[
        float,
        typer.Option(help="Say that all is so many times nearer to the middle of the window."),
    ] = SpaceSample.shrink,
    as_json: console.JsonOption = False,
) -> None:
    """Cut views of the Earth, 8° wide, from NASA's Blue Marble, centred over land.

    Writes references with EXIF positions, queries without, the truth in queries.csv and the
    recipe in sample.json. The same seed gives the same files. An interrupted run is completed
    by running it again.

    With --window and --shrink an experiment with a continent becomes one with a city: the pictures
    stay, and their positions draw together.

    Example: geosearch sample space --references 6000 --queries 400 --seed 0 -o sample

    Example: geosearch sample space --window -10,0,30,40 --shrink 1000 -o city
    """
    part = EARTH if window is None else Window.of(window)
    wanted = SpaceSample(references, queries, seed, difficulty, part, shrink)
    with console.progress("cutting views", "views") as report:
        summary = write_space_sample(wanted, output, progress=report)
    console.answer(
        as_json,
        asdict(summary),
        f"{summary.references:,} references and {summary.queries:,} queries "
        f"({summary.difficulty}) in {summary.directory}, {summary.written:,} newly cut",
    )


@app.command()
def trip(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")],
    photos: Annotated[int, typer.Option(help="Photos of the journeys.")] = TripSample.photos,
    references: Annotated[
        int, typer.Option(help="Photos by other people, located.")
    ] = TripSample.references,
    over: Annotated[
        Over, typer.Option(help="The Earth from space, or a city that is drawn.")
    ] = TripSample.over,
    seed: Annotated[int, typer.Option(help="Another seed, other journeys.")] = TripSample.seed,
    trips: Annotated[int, typer.Option(help="Journeys that the photos are of.")] = TripSample.trips,
    cameras: Annotated[
        int, typer.Option(help="Cameras; the clock of the first is right, others are off.")
    ] = TripSample.cameras,
    missing: Annotated[
        float, typer.Option(help="Share of photos without position.")
    ] = TripSample.missing,
    wrong_clocks: Annotated[
        float, typer.Option(help="Share of photos whose time is another than their camera had.")
    ] = TripSample.wrong_clocks,
    faults: Annotated[
        float, typer.Option(help="Share of the located photos that are wrong, for an audit.")
    ] = TripSample.faults,
    gaps: Annotated[
        float, typer.Option(help="Share of the tracks that is missing.")
    ] = TripSample.gaps,
    blank: Annotated[
        float, typer.Option(help="Share of photos that show nothing.")
    ] = TripSample.blank,
    as_json: console.JsonOption = False,
) -> None:
    """Make journeys: photos with the times and positions that cameras write, tracks, the truth.

    Writes mine/trip-01/*.jpg …, a track for each trip in tracks, photos that other people took
    thereabouts in references, and truth.csv: where and when each was taken, what its clock was
    ahead, and what is wrong with it. The same seed gives the same files. An interrupted run is
    completed by running it again.

    Example: geosearch sample trip --over city --seed 1 -o trip
    """
    wanted = TripSample(
        photos, references, over, seed, trips, cameras, missing, wrong_clocks, faults, gaps, blank
    )
    with console.progress("taking photos", "photos") as report:
        summary = write_trip_sample(wanted, output, progress=report)
    console.answer(
        as_json,
        asdict(summary),
        f"{summary.photos:,} photos of {summary.trips:,} trips, {summary.located:,} with a "
        f"position and {summary.wrong:,} with a wrong one or a wrong time, and "
        f"{summary.references:,} references in {summary.directory}, {summary.written:,} newly made",
    )
