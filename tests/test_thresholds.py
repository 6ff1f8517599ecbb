"""The distances within which answers are counted: they fit where is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.arguments import thresholds
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.retrieval import EVERYTHING, where
from geosearch.retrieval.extent import apart_km
from geosearch.thresholds import WORLD_KM, fitting_km
from geosearch.words import threshold
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos

MODEL = "test/streets"


def test_a_world_has_the_distances_of_the_field() -> None:
    assert fitting_km(9000) == fitting_km(4000) == WORLD_KM == (1, 25, 200, 750, 2500)


def test_a_smaller_place_has_round_numbers_as_much_smaller() -> None:
    assert fitting_km(800) == (0.1, 2.5, 20, 75, 250)
    assert fitting_km(0.8) == (0.001, 0.0025, 0.02, 0.075, 0.25)
    # Nothing below a metre.
    assert fitting_km(0.1) == (0.001, 0.0025, 0.01, 0.025)
    assert fitting_km(0) == (0.001,)


@given(apart_km=st.floats(0.01, 3900), factor=st.sampled_from([10, 100]))
def test_they_shrink_with_the_place(apart_km: float, factor: int) -> None:
    here, there = fitting_km(apart_km), fitting_km(apart_km / factor)
    assert sorted(set(here)) == list(here)
    if there[0] > 0.001:
        assert [factor * km for km in there] == pytest.approx(here)


@pytest.mark.parametrize("given", ["0.025, 0.1,1", [1, 0.1, 0.025], (0.025, 0.1, 1.0, 1)])
def test_they_are_read_as_lists_of_kilometres(given: Any) -> None:
    read = thresholds("within_km", given)
    assert read == (0.025, 0.1, 1)
    assert [str(km) for km in read] == ["0.025", "0.1", "1"]
    assert [threshold(km) for km in read] == ["25 m", "100 m", "1 km"]


@pytest.mark.parametrize("given", ["", "a,b", "0", "-1,5", "30000", [], "nan", {"1": 2}, None])
def test_what_is_no_distance_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="within_km"):
        thresholds("within_km", given)


@pytest.fixture(scope="module")
def street(module_database: Database) -> Database:
    """Photos of a street of a kilometre, each of which looks most like the next ones."""
    along = np.linspace(0, 1, 40)
    lat, lon = 52 + along / 111.19, np.full(40, 13.0)
    angle = along * np.pi / 2
    vectors = np.stack([np.cos(angle), np.sin(angle), np.ones(40)], axis=1).astype(np.float32)
    with module_database.connection() as connection:
        model = add_model(connection, 3, MODEL)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos, vectors)
    return module_database


@pytest.fixture
def command_line(street: Database, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(street.url, capsys)


def test_how_far_photos_are_apart_is_a_median(street: Database) -> None:
    with street.connection() as connection:
        apart = apart_km(connection, 1, EVERYTHING)
        assert apart == pytest.approx(0.29, abs=0.02)
        assert apart_km(connection, 1, where(bbox=(0, 0, 1, 1))) is None


def test_an_evaluation_counts_at_distances_that_fit_or_are_given(
    street: Database, command_line: CommandLine
) -> None:
    gs = Geosearch(street)
    fitting = gs.evaluate(None, model=MODEL, exclude_duplicates=None)
    assert fitting.within_km == (0.001, 0.0075, 0.025, 0.1)
    given = gs.evaluate(None, model=MODEL, exclude_duplicates=None, within_km=(0.05, 0.5))
    assert given.within_km == (0.05, 0.5)
    assert given.to_json()["accuracy"] == {"0.05": given.hits(0.05) / 40, "0.5": 1.0}
    shown = command_line("report", given.id).out
    assert "within 50 m" in shown
    assert "within 500 m" in shown
    assert "25 km" not in shown
    assert "within 100 m" in command_line("report", given.id, "--within-km", "0.1").out
    listed = command_line("evaluations", "list").out
    assert "so many m" in listed
    assert " 500\n" in listed


def test_runs_at_different_distances_are_compared_at_those_given(
    street: Database, command_line: CommandLine, tmp_path: Path
) -> None:
    gs = Geosearch(street)
    first, second = (
        gs.evaluate(None, model=MODEL, exclude_duplicates=None, within_km=km, k=k)
        for km, k in (((0.05, 0.5), 1), ((0.1, 1), 5))
    )
    refused = command_line("compare", first.id, second.id)
    assert refused.code == InputError.exit_code
    assert "50 m, 500 m" in refused.err
    assert "100 m, 1 km" in refused.err
    made = command_line("compare", first.id, second.id, "--within-km", "0.05,1", "--json").json()
    assert [test["km"] for test in made["comparisons"][0]["thresholds"]] == [0.05, 1]
    for file in ("page.html", "charts.png", "rows.csv"):
        assert command_line("report", second.id, "-o", tmp_path / file).code == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "100 m" in page


def test_a_sweep_has_one_set_of_distances(street: Database, command_line: CommandLine) -> None:
    swept = command_line(
        "sweep", "--leave-one-out", "--model", MODEL, "--within-km", "0.025,0.1", "--json"
    ).json()
    assert {tuple(item["accuracy"]) for item in swept["evaluations"]} == {("0.025", "0.1")}
    table = command_line(
        "sweep", "--leave-one-out", "--model", MODEL, "--k", "5", "--bandwidth-km", "auto,0.05"
    ).out
    assert "25 m" in table
    assert "50 m" in table
