"""Map pictures: the right size, the right place, the right marks; and projections that invert."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image

from geosearch.audit.audit_rows import Doubt
from geosearch.database.connection import Database
from geosearch.errors import NotFoundError
from geosearch.export import canvas
from geosearch.export.answer_picture import draw_selection
from geosearch.export.doubts_picture import draw_doubts
from geosearch.export.map import draw_map
from geosearch.export.projections import AzimuthalEquidistant, EqualEarth, Projection, view_of
from geosearch.export.surroundings import draw_names, draw_surroundings, read_surroundings
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km
from geosearch.words import format_bytes, format_km, format_position, number_of
from tests.answers import make_answer, unanswered
from tests.rows import add_photos

latitudes = st.floats(-89.9, 89.9)
longitudes = st.floats(-179.99, 179.99)
projections = st.one_of(
    st.builds(EqualEarth, longitudes),
    st.builds(AzimuthalEquidistant, latitudes, longitudes, st.just(20_000.0), st.just(20_000.0)),
)

MAP_WIDTH = round(0.73 * canvas.WIDTH)  # the rest is the panel


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (canvas.WIDTH, canvas.HEIGHT)
        return np.asarray(image.convert("RGB")).astype(int)


def share_of(image: np.ndarray, colour: str, tolerance: int = 12) -> float:
    wanted = np.round(255 * np.array(to_rgb(colour)))
    return float((np.abs(image - wanted).max(axis=-1) <= tolerance).mean())


@given(projections, latitudes, longitudes)
def test_projections_invert(projection: Projection, lat: float, lon: float) -> None:
    back = projection.inverse(*projection.forward(lat, lon))
    assert float(great_circle_km(lat, lon, *back)) < 1e-3


def test_equal_earth_has_the_area_of_the_earth_and_an_edge() -> None:
    projection = EqualEarth(100.0)
    lat, _ = canvas.raster(projection, (600, 1200))
    left, right, bottom, top = projection.extent
    area = np.isfinite(lat).mean() * (right - left) * (top - bottom)
    assert area == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=0.005)
    assert np.isnan(lat[0, 0])


def test_azimuthal_map_keeps_distances_from_its_centre() -> None:
    projection = AzimuthalEquidistant(-17.0, 179.0, 3000.0, 2000.0)
    x, y = projection.forward([-17.0, 10.0], [-175.0, 179.0])
    away = great_circle_km(-17.0, 179.0, [-17.0, 10.0], [-175.0, 179.0])
    np.testing.assert_allclose(np.hypot(x, y), away, rtol=1e-9)
    assert x[0] > 0  # across the antimeridian, eastwards still
    assert y[1] == pytest.approx(away[1])


def test_lines_are_cut_where_the_map_ends() -> None:
    lon = np.arange(150.0, 211.0, 5.0)
    lines = list(canvas.projected(EqualEarth(), np.zeros_like(lon), (lon + 180) % 360 - 180))
    assert [len(line) for line in lines] == [6, 7]
    assert lines[0][:, 0].min() > 0 > lines[1][:, 0].max()


def test_the_estimate_is_in_the_middle_and_the_truth_where_it_belongs(tmp_path: Path) -> None:
    # The truth due north: on the map straight above the estimate.
    answer = make_answer([46.0, 46.1, 45.9], [8.0, 8.1, 7.9], truth=(50.0, 8.0))
    draw_map(answer, tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    row, column = canvas.HEIGHT // 2, MAP_WIDTH // 2
    estimate = image[row - 5 : row + 5, column - 5 : column + 5]
    assert share_of(estimate, canvas.ESTIMATE) > 0.9
    truth = np.abs(image[:, :MAP_WIDTH] - np.round(255 * np.array(to_rgb(canvas.TRUTH)))).max(-1)
    rows, columns = np.nonzero(truth <= 12)
    assert abs(np.median(columns) - column) < 5
    assert rows.max() < row
    # The distance of the mark, through the scale of the map: 1.3 times the error fits above.
    reach = max(1.3 * (answer.error_km or 0), 1.3 * answer.radius_km[0.9])
    expected = row - (answer.error_km or 0) / reach * canvas.HEIGHT / 2
    assert np.median(rows[np.abs(rows - rows.min()) < 16]) == pytest.approx(expected, abs=4)


def test_without_truth_its_colour_is_nowhere(tmp_path: Path) -> None:
    draw_map(make_answer([46.0], [8.0], method="nearest"), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    assert share_of(image, canvas.TRUTH) == 0.0
    assert share_of(image, canvas.ESTIMATE) > 0.0


def test_density_shines_at_the_neighbours_and_not_far_away(tmp_path: Path) -> None:
    draw_map(make_answer([22.0] * 3, [-160.0, -160.1, -159.9]), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    warmth = image[..., 0] - image[..., 2]
    middle = warmth[400:500, MAP_WIDTH // 2 - 50 : MAP_WIDTH // 2 + 50].mean()
    corner = warmth[:60, :60].mean()
    assert middle > corner + 80


def test_the_photo_is_shown_where_it_can_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), (10, 200, 30)).save(tmp_path / "green.png")
    draw_map(make_answer([46.0], [8.0], photo=str(tmp_path / "green.png")), tmp_path / "map.png")
    panel = pixels(tmp_path / "map.png")[:, MAP_WIDTH:]
    assert share_of(panel, "#0ac81e") * panel.shape[0] * panel.shape[1] == pytest.approx(
        360 * 270, rel=0.02
    )


def test_an_answer_without_neighbours_is_a_plain_world(tmp_path: Path) -> None:
    draw_map(unanswered(), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    assert share_of(image, canvas.ESTIMATE) == 0.0
    assert image[:, :MAP_WIDTH].std() > 10  # continents are there


def test_one_answer_is_drawn_in_detail_and_many_on_the_world(
    database: Database, tmp_path: Path
) -> None:
    near = make_answer([48.8, 48.9], [2.3, 2.4], truth=(48.86, 2.35))
    far = make_answer([10.0, 10.1], [-60.0, -60.1], truth=(0.0, 20.0))
    with database.connection() as connection:
        ids = save(connection, [near, far])
    draw_selection(database, Selection(ids=(ids[0],)), tmp_path / "one.png")
    assert share_of(pixels(tmp_path / "one.png")[:, MAP_WIDTH:], canvas.PANEL) > 0.5
    draw_selection(database, Selection(), tmp_path / "many.png")
    image = pixels(tmp_path / "many.png")
    assert share_of(image[800:830], "#f43f5e") > 0.2  # half of the answers are beyond 2,500 km
    assert share_of(image[800:830], "#5eead4") > 0.2  # and half within 25 km


def test_many_answers_are_drawn_with_borders_and_whose_they_are(
    database: Database, tmp_path: Path
) -> None:
    with database.connection() as connection:
        save(connection, [make_answer([48.8], [2.3]), make_answer([10.0], [-60.0])])
    draw_selection(database, Selection(), tmp_path / "map.png")
    with database.connection() as connection:
        connection.execute("DELETE FROM geosearch.borders")
    draw_selection(database, Selection(), tmp_path / "bare.png")
    image, bare = pixels(tmp_path / "map.png"), pixels(tmp_path / "bare.png")
    changed = np.abs(image - bare).max(axis=-1) > 20
    assert 0.005 < changed.mean() < 0.2
    assert share_of(bare[880:], canvas.DARK.muted, 40) > 0.001  # a line of small writing


def doubt(reason: str, stated: tuple[float, float], mend: tuple[float, float] | None) -> Doubt:
    then = datetime(2024, 6, 1, tzinfo=UTC)
    likelier = (None, None) if mend is None else mend
    return Doubt(
        *(1, 1, "/photo.jpg", "mine", reason, 1.0, 0.0, 1.0, None, None, None),
        *(*stated, "exif", *likelier, then, None, then),
    )


def test_doubts_are_lines_to_where_photos_were_likelier(database: Database, tmp_path: Path) -> None:
    near = [
        doubt("copied", (46.95, 7.44), (46.96, 7.46)),
        doubt("swapped", (7.45, 46.95), (46.95, 7.45)),  # whose stated place is far outside
        doubt("clock", (46.945, 7.43), None),
    ]
    far = [doubt("speed", (46.95, 7.44), (46.96, 7.46)), doubt("home", (0.0, 9.0), (40.0, -100.0))]
    with database.connection() as connection:
        for name, doubts in (("near", near), ("far", far)):
            draw_doubts(connection, doubts, tmp_path / f"{name}.png")
    image = pixels(tmp_path / "near.png")
    shown = image[120:780]  # without the legend
    for colour, reason in (("#f0723b", "copied"), ("#2f81f7", "swapped"), ("#d29922", "clock")):
        assert share_of(shown, colour, 40) > 1e-5, reason
    # The way from a stated place far away comes in from the edge: from the south-east.
    line = np.abs(shown - np.round(255 * np.array(to_rgb("#8bb3f2")))).max(axis=-1) < 40
    rows, columns = np.nonzero(line)
    assert (rows.max(), columns.max()) > (600, 900)
    assert share_of(shown, canvas.LIGHT.land) > 0.5
    world = pixels(tmp_path / "far.png")[120:780]
    assert share_of(world, canvas.LIGHT.land) < 0.01  # the Blue Marble
    assert share_of(pixels(tmp_path / "far.png")[800:830], "#f0384b") > 0.2  # half of the reasons
    assert view_of(np.zeros(0), np.zeros(0), 1.0, 1.0) == EqualEarth()  # of none


def near_centre(image: np.ndarray, x_km: float, y_km: float, half_height_km: float) -> np.ndarray:
    """The colour of a local map at kilometres east and north of its centre: median of 9 x 9."""
    scale = canvas.HEIGHT / 2 / half_height_km
    row, column = round(canvas.HEIGHT / 2 - y_km * scale), round(MAP_WIDTH / 2 + x_km * scale)
    found: np.ndarray = np.median(
        image[row - 4 : row + 5, column - 4 : column + 5].reshape(-1, 3), axis=0
    )
    return found


def test_a_map_of_a_coast_has_land_and_sea(database: Database, tmp_path: Path) -> None:
    genoa = make_answer([44.41], [8.93], bandwidth_km=20.0)
    draw_map(genoa, tmp_path / "map.png", database)
    image, half_height = pixels(tmp_path / "map.png"), 1.3 * genoa.radius_km[0.9]
    for (lat, lon), colour in {
        (44.80, 8.75): canvas.LIGHT.land,
        (44.75, 9.15): canvas.LIGHT.land,
        (44.02, 8.70): canvas.LIGHT.sea,
        (44.03, 9.10): canvas.LIGHT.sea,
    }.items():
        view = AzimuthalEquidistant(genoa.lat or 0.0, genoa.lon or 0.0, 100.0, 100.0)
        x, y = (float(value) for value in view.forward(lat, lon))
        seen = near_centre(image, x, y, half_height)
        other = canvas.LIGHT.sea if colour == canvas.LIGHT.land else canvas.LIGHT.land
        away, wrong = (
            np.abs(seen - 255 * np.array(to_rgb(each))).sum() for each in (colour, other)
        )
        assert away < wrong, (lat, lon)


def test_a_map_of_a_street_is_plain_and_shows_the_photos_near(
    database: Database, tmp_path: Path
) -> None:
    answer = make_answer([41.0], [-83.0], bandwidth_km=0.2)
    half_height = 1.3 * answer.radius_km[0.9]
    assert 0.5 < half_height < 0.6
    draw_map(answer, tmp_path / "bare.png", database)
    with database.connection() as connection:
        step = half_height / 2 / 111.2
        add_photos(connection, [41.0 + step, 41.0 + step, 45.0], [-83.0, -83.0 + step, -83.0])
    draw_map(answer, tmp_path / "map.png", database)
    image, bare = pixels(tmp_path / "map.png"), pixels(tmp_path / "bare.png")
    changed = np.abs(image - bare).max(axis=-1)[:, :MAP_WIDTH] > 30
    rows, columns = np.nonzero(changed)
    # Two dots, a half of the half-height to the north, one of them to the east, too.
    assert abs(rows - canvas.HEIGHT / 4).max() < 8
    spread = np.ptp(columns) / (canvas.HEIGHT / 4 * np.cos(np.radians(41.0)))
    assert spread == pytest.approx(1.0, abs=0.08)
    assert share_of(bare[:60, :60], canvas.LIGHT.land, tolerance=10) > 0.9


def test_the_world_is_drawn_with_its_borders(database: Database, tmp_path: Path) -> None:
    wide = make_answer([46.0, -40.0], [8.0, -60.0], bandwidth_km=3000.0)
    draw_map(wide, tmp_path / "plain.png")
    draw_map(wide, tmp_path / "map.png", database)
    with_borders, plain = pixels(tmp_path / "map.png"), pixels(tmp_path / "plain.png")
    changed = np.abs(with_borders - plain).max(axis=-1)[:, :MAP_WIDTH] > 20
    assert 0.005 < changed.mean() < 0.2


VIEWS = [
    EqualEarth(),
    EqualEarth(170.0),
    *(
        AzimuthalEquidistant(lat, lon, 1.3 * half_height, half_height)
        for lat, lon in [(46.0, 8.0), (90.0, 0.0), (-90.0, 0.0), (-17.0, 180.0), (-41.0, 174.8)]
        for half_height in (0.3, 30.0, 600.0, 4500.0)
    ),
]


@pytest.mark.parametrize("projection", VIEWS, ids=str)
def test_names_are_on_the_map_and_cover_neither_one_another_nor_the_answer(
    module_database: Database, projection: Projection
) -> None:
    with module_database.connection() as connection:
        around = read_surroundings(connection, projection)
    figure = canvas.new_figure()
    axes = canvas.add_map(figure, (0.0, 0.0, 0.73, 1.0), projection, canvas.LIGHT)
    draw_surroundings(axes, projection, around, canvas.LIGHT)
    before = len(axes.texts)
    draw_names(axes, projection, around, canvas.LIGHT, [(0.0, 0.0)])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [label.get_window_extent(renderer) for label in axes.texts[before:]]
    frame = axes.get_window_extent()
    middle = axes.transData.transform((0.0, 0.0))
    for number, each in enumerate(boxes):
        assert (frame.x0 <= each.x0, each.x1 <= frame.x1) == (True, True)
        assert (frame.y0 <= each.y0, each.y1 <= frame.y1) == (True, True)
        assert not each.contains(*middle)
        assert not any(each.overlaps(other) for other in boxes[:number])
    if projection in (*VIEWS[:2], AzimuthalEquidistant(46.0, 8.0, 780.0, 600.0)):
        assert len(boxes) > 5


def test_scale_bars_have_round_lengths() -> None:
    assert [canvas.round_length(goal) for goal in (0.19, 0.99, 1.0, 4.9, 166.0, 7000.0)] == [
        pytest.approx(length) for length in (0.1, 0.5, 1.0, 2.0, 100.0, 5000.0)
    ]


def test_no_answers_cannot_be_drawn(database: Database, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no answers"):
        draw_selection(database, Selection(), tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("km", "text"), [(0.0085, "8.5 m"), (0.85, "850 m"), (12.34, "12.3 km"), (1240.0, "1,240 km")]
)
def test_distances_are_written_with_three_digits(km: float, text: str) -> None:
    assert format_km(km) == text


def test_positions_are_written_with_hemispheres() -> None:
    assert format_position(-17.5, 179.25) == "17.5000° S, 179.2500° E"
    assert format_position(52.5163, -13.3777) == "52.5163° N, 13.3777° W"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (87_000, "87 kB"), (2.4e9, "2.4 GB")],
)
def test_sizes_are_written_for_people(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_things_are_counted_with_their_plural() -> None:
    assert number_of(1, "query", "queries") == "1 query"
    assert number_of(1240, "query", "queries") == "1,240 queries"
    assert number_of(0, "photo") == "0 photos"
