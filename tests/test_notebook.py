"""What a notebook shows: answers with map and neighbours, tables, bars; nothing from outside."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import IPython.display
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

import geosearch
from geosearch import Failure, Geosearch, Localization
from geosearch.database.connection import Database
from geosearch.errors import (
    DatabaseError,
    InputError,
    MissingExtraError,
    PhotoRejected,
)
from geosearch.export import canvas
from geosearch.notebook.answer_view import AnswerView, query_picture
from geosearch.progress_bar import progress_bar
from tests.answers import make_answer, unanswered
from tests.html_parts import Tags
from tests.photo_files import photos_at
from tests.test_embed import backbone

PLACES = [(10 + number % 4 / 10, 20 + number // 4) for number in range(24)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    photos_at(folder, PLACES, size=(32, 24))
    return folder


@pytest.fixture(scope="module")
def gs(module_database: Database, photos: Path) -> Iterator[Geosearch]:
    """Photos at `PLACES`, the first twenty with thumbnails."""
    with geosearch.connect(module_database.url) as opened:
        opened.ingest(photos, collection="mine", embed=backbone(), thumbnails=True)
        opened.sql("DELETE FROM geosearch.all_thumbnails WHERE photo_id > 20")
        yield opened


@pytest.fixture(scope="module")
def answer(gs: Geosearch, photos: Path) -> Localization:
    return gs.localize(photos / "5.jpg", model=backbone())


def test_an_answer_says_itself_in_one_line(answer: Localization) -> None:
    assert repr(answer).startswith(f"Localization({answer.id}, '/")
    assert "5.jpg', 10." in repr(answer)
    many = make_answer(np.full(1000, 46.0), np.full(1000, 8.0), photo="/a\x1b[2J\n.jpg")
    assert repr(many) == (
        r"Localization('/a\x1b[2J\n.jpg', 46.0000° N, 8.0000° E, 90 % within 429 km, "
        "1,000 neighbours)"
    )
    assert repr(many.neighbours) == "Neighbours(1,000, nearest '/photos/0.jpg' at 0.2000, exact)"
    assert repr(unanswered()) == "Localization('/photos/query.jpg', no neighbours)"
    assert len(repr(many.query)) < 300
    assert unanswered()._repr_html_() is None


def test_an_answer_is_shown_with_its_map_and_the_pictures_of_its_neighbours(
    answer: Localization,
) -> None:
    page = Tags(answer._repr_html_() or "")
    whole, *pictures = page.of("img")
    assert whole["alt"] == "Map of 5.jpg"
    assert "12 of 24 neighbours" in page.text
    near = answer.neighbours.photo_id[:12]
    assert len(pictures) == (near <= 20).sum()  # the others have no thumbnail
    for each in (whole, *pictures):
        assert (each["src"] or "").startswith("data:image/webp;base64,")
    assert f"1. distance {answer.neighbours.distance[0]:.3f}" in page.text
    assert page.text.count("weight") == 12
    assert {name for _, attributes in page.found for name in attributes} == {"style", "alt", "src"}


def test_nothing_is_fetched_to_show_an_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas, "read_bytes", lambda uri: pytest.fail(f"{uri} was read"))
    asked = make_answer([46.0], [8.0], photo="https://photos.example/secret.jpg")
    shown = AnswerView(database).html(asked)
    assert "Map of secret.jpg" in shown
    assert "https" not in shown


def test_the_query_is_shown_by_its_file_or_what_is_kept_of_it(
    gs: Geosearch, answer: Localization, photos: Path
) -> None:
    large = BytesIO()
    Image.new("RGB", (900, 900), (10, 200, 30)).save(large, "WEBP")
    kept = replace(answer, query=replace(answer.query, picture=large.getvalue()))
    with Image.open(photos / "5.jpg") as picture:
        in_memory = gs.localize(picture, model=backbone(), record=False)
    gone = replace(answer, query=replace(answer.query, uri="/photos/gone.jpg"))
    shown = [query_picture(each) for each in (answer, kept, in_memory, gone)]
    assert [each and each.size for each in shown] == [(360, 270), (270, 270), (360, 270), None]
    assert shown[1] is not None
    assert shown[1].getpixel((9, 9)) == pytest.approx((10, 200, 30), abs=3)


def test_an_answer_is_shown_after_its_database_was_closed(
    module_database: Database, gs: Geosearch, answer: Localization
) -> None:
    with Database(module_database.url) as closed:
        pass
    page = Tags(replace(answer, view=AnswerView(closed))._repr_html_() or "")
    assert len(page.of("img")) == 1
    assert len(page.of("figure")) == 12


def test_a_copy_of_an_answer_can_be_kept_and_is_not_shown(answer: Localization) -> None:
    kept = pickle.loads(pickle.dumps(answer))
    assert (kept.id, kept.lat, kept.lon) == (answer.id, answer.lat, answer.lon)
    assert kept._repr_html_() is None
    with pytest.raises(InputError, match="knows no database"):
        kept.plot()


def test_the_map_of_an_answer_is_drawn_on_axes(gs: Geosearch, answer: Localization) -> None:
    page = Figure(figsize=(8, 6))
    axes = page.add_subplot()
    assert gs.load(answer.id or 0).plot(axes) is axes
    assert axes.get_xlim() == (-axes.get_xlim()[1], axes.get_xlim()[1])  # round the estimate
    assert axes.get_legend() is not None
    assert "GeoNames" in axes.get_xlabel()
    # On a page of vectors, which has no pixels to measure letters by, too.
    page.savefig(BytesIO(), format="svg")


def test_an_answer_is_a_table_of_places(answer: Localization) -> None:
    places = answer.to_geopandas()
    assert places.crs.to_epsg() == 4326
    kinds = dict(places.kind.value_counts())
    assert kinds == {"neighbour": 24, "region": 2, "estimate": 1}
    estimate = places.geometry[places.kind == "estimate"].iloc[0]
    assert (estimate.y, estimate.x) == (answer.lat, answer.lon)
    for _, region in places[places.kind == "region"].iterrows():
        assert region.geometry.covers(estimate)
        assert region.area_km2 == answer.regions[region.level].area_km2
    near = places[places.kind == "neighbour"]
    assert list(near.photo_id) == answer.neighbours.photo_id.tolist()
    assert near.weight.sum() == pytest.approx(1)
    known = replace(answer, **vars(answer.with_truth(10.0, 21.0)) | {"view": answer.view})
    assert known.to_geopandas().kind.tolist().count("truth") == 1
    nothing = replace(unanswered(), view=answer.view).to_geopandas()
    assert (len(nothing), nothing.crs.to_epsg()) == (0, 4326)


def test_answers_are_a_table_with_a_row_for_each_photo(gs: Geosearch, photos: Path) -> None:
    asked: dict[str, Any] = {"model": backbone(), "record": False}
    paths = [photos / "1.jpg", photos / "missing.jpg", photos / "2.jpg"]
    table = gs.localize_many(paths, **asked).to_frame()
    assert [Path(each).name for each in table.photo] == ["1.jpg", "missing.jpg", "2.jpg"]
    assert table.lat.notna().tolist() == [True, False, True]
    assert table.reason.tolist()[1] == "unreadable"
    answers = gs.localize_many(paths, **asked)
    first = next(answers)
    assert isinstance(first, Localization)
    assert first.to_geopandas().kind.iloc[0] == "estimate"
    places = answers.to_geopandas()  # those that are left
    assert places.geometry.isna().tolist() == [True, False]
    assert len(gs.localize_many([], **asked).to_geopandas()) == 0
    failed = gs.localize_many(photos / "missing.jpg", **asked).to_frame()
    nothing = gs.localize_many([], **asked).to_frame()
    assert list(table) == list(failed) == list(nothing)


def test_whole_numbers_stay_whole_where_some_are_missing(gs: Geosearch) -> None:
    rows = gs.sql(
        "SELECT * FROM (VALUES (7, 2.5::float8, 47), (NULL, NULL, NULL)) AS t (id, lon, lat)"
    )
    table = rows.to_frame()
    assert [str(kind) for kind in table.dtypes] == ["Int64", "float64", "Int64"]
    assert str(table.id[0]) == "7"
    assert rows.to_geopandas().geometry.isna().tolist() == [False, True]


def test_a_photo_that_cannot_be_read_is_a_row_or_an_error(gs: Geosearch, photos: Path) -> None:
    asked: dict[str, Any] = {"model": backbone(), "record": False}
    paths = [photos / "1.jpg", photos / "missing.jpg"]
    kinds = [type(each) for each in gs.localize_many(paths, **asked)]
    assert kinds == [Localization, Failure]
    answers = gs.localize_many(paths, on_error="raise", **asked)
    next(answers)
    with pytest.raises(PhotoRejected, match=r"missing.jpg: No such file"):
        next(answers)
    with pytest.raises(InputError, match=r"on_error`?: 'ignore' is unknown"):
        gs.localize_stored([1], on_error="ignore", **asked)  # type: ignore[call-overload]


def test_photos_are_a_table_and_a_layer(gs: Geosearch) -> None:
    photos = gs.photos(geosearch.Near(10, 20, 100))
    assert 0 < len(photos) < len(PLACES)
    assert repr(photos) == f"<{len(photos)} rows of id, collection, uri, lat, lon, ...>"
    places = photos.to_geopandas()
    assert places.crs.to_epsg() == 4326
    assert places.geometry.iloc[0].coords[0] == (photos[0].lon, photos[0].lat)
    assert gs.photos(limit=3).to_frame().columns[0] == "id"
    nothing = gs.photos(geosearch.Near(-80, 0, 1))
    assert nothing.to_frame().columns.tolist() == list(photos.columns)
    assert len(nothing.to_geopandas()) == 0
    page = Tags(gs.photos()._repr_html_())
    assert len(page.of("tr")) == 11
    assert "10 of 24 rows" in page.text


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_value_in_a_query_is_a_value(gs: Geosearch, text: str) -> None:
    assert gs.sql("SELECT %(x)s::text AS x, 1 AS one", x=text) == [{"x": text, "one": 1}]


def test_a_query_gives_rows_shapes_and_tables(gs: Geosearch) -> None:
    within = shapely.box(19, 9, 21.5, 11)
    rows = gs.sql(
        "SELECT id, geom, taken_at FROM geosearch.photos WHERE ST_Within(geom, %(area)s)"
        " AND id < ALL(%(ids)s) ORDER BY id",
        area=within,
        ids=[7, 8],
    )
    inside = [each.id for each in gs.photos() if (each.lon or 0) < 21.5 and each.id < 7]
    assert [row["id"] for row in rows] == inside != []
    assert rows.columns == ("id", "geom", "taken_at")
    places = rows.to_geopandas()
    assert (places.active_geometry_name, places.crs.to_epsg()) == ("geom", 4326)
    metres = gs.sql("SELECT ST_Transform(geom, 3857) AS here FROM geosearch.photos")
    assert metres.to_geopandas().crs.to_epsg() == 3857
    assert gs.sql("SELECT 5 AS lat, 6 AS lon").to_geopandas().geometry[0] == shapely.Point(6, 5)
    assert gs.sql("SELECT 'a' LIKE '%'").to_frame().iloc[0, 0]
    with pytest.raises(InputError, match="none of the columns n says where"):
        gs.sql("SELECT 1 AS n").to_geopandas()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing", 'column "nothing" does not exist'),
        ("SELECT %(y)s", "missing: y"),
        ("SELECT 1 AS a, %(x)s AS a", "share a name: a, a"),
        ("DELETE FROM geosearch.photos WHERE id = %(x)s; SELECT 1", "multiple commands"),
    ],
)
def test_a_query_that_cannot_be_run_is_refused_in_words(
    gs: Geosearch, query: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        gs.sql(query, x=1)
    assert len(gs.photos()) == len(PLACES)


def test_several_statements_are_refused_and_change_nothing(gs: Geosearch) -> None:
    with pytest.raises(InputError, match="several statements"):
        gs.sql("SELECT 1; DELETE FROM geosearch.all_photos")
    assert len(gs.photos()) == len(PLACES)
    with pytest.raises(DatabaseError):
        gs.sql("SELECT 1 / 0")


def test_tables_need_an_extra_that_is_named(gs: Geosearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geopandas", None)
    with pytest.raises(MissingExtraError, match=r"geopandas.*is not installed") as refused:
        gs.photos().to_geopandas()
    assert "notebook" in (refused.value.remedy or "")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pandas.*is not installed"):
        gs.photos().to_frame()


def test_without_what_draws_maps_an_answer_shows_its_neighbours(
    answer: Localization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Tags(answer._repr_html_() or "")
    assert "5.jpg" in page.text
    assert len(page.of("figure")) == 12
    with pytest.raises(MissingExtraError, match=r"a map needs matplotlib") as refused:
        answer.plot()
    assert "pictures" in (refused.value.remedy or "")


class Display:
    """A notebook's own, as far as bars go: what it showed, as text."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, bar: Any, display_id: bool) -> Display:
        self.update(bar)
        return self

    def update(self, bar: Any) -> None:
        self.shown.append(bar._repr_mimebundle_([], [])["text/plain"])


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    shown = Display()
    monkeypatch.setattr("geosearch.progress_bar.in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", shown)
    return shown


def test_a_notebook_shows_how_far_work_is(display: Display, gs: Geosearch, photos: Path) -> None:
    gs.localize_many(photos, model=backbone(), record=False).to_frame()
    assert "localizing" in display.shown[0]
    assert "24/24" in display.shown[-1]
    before = len(display.shown)
    gs.localize(photos / "1.jpg", model=backbone(), record=False)
    assert len(display.shown) == before  # one needs no bar


def test_bars_are_drawn_in_notebooks_unless_they_are_not_wanted(display: Display) -> None:
    with progress_bar("work", "photos", shown=False) as told:
        assert told is None
    with progress_bar("work", "photos") as told:
        assert told is not None
        told(1, 2)
    assert "1/2" in display.shown[-1]
    with progress_bar("work", "photos") as told:
        assert told is not None
        told(3, None)
    assert "3/3" in display.shown[-1]


def test_outside_of_notebooks_nothing_is_drawn() -> None:
    with progress_bar("work", "photos") as told:
        assert told is None
