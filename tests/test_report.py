"""Reports on stored evaluations: what the answers say, nothing else, in every form."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from psycopg.types.json import Jsonb

from geosearch.borders.border_rows import load_borders
from geosearch.borders.shipped import ATTRIBUTION
from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.evaluation.metrics import Interval, accuracy, wilson
from geosearch.localization import Localization
from geosearch.localization.answer_rows import save, with_places
from geosearch.report import compare, list_evaluations, summarize, write_csv
from geosearch.report.breakdown import AT_SEA, by_count
from geosearch.report.charts import evaluation_charts
from geosearch.report.comparison_page import write_comparison
from geosearch.report.evaluation_page import write_report
from geosearch.report.evaluation_picture import draw_report
from geosearch.report.evaluation_summary import Summary, histogram
from geosearch.report.palette import COLOURS
from geosearch.sphere import cap_km2, great_circle_km
from geosearch.thresholds import WORLD_KM
from geosearch.words import distances
from tests.answers import unanswered
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation, answer
from tests.rows import add_embeddings, add_model, add_photos

N = 60
HOSTILE = "/gone/<script>alert('&').jpg"


@dataclass(frozen=True)
class Stored:
    """An evaluation in the database, and what was put there."""

    database: Database
    id: int
    answers: list[Localization]
    error_km: NDArray[np.float64]
    truth_level: NDArray[np.float64]
    probability_200: NDArray[np.float64]
    references: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def summary(self) -> Summary:
        return summarize(self.database, self.id)


@pytest.fixture(scope="module")
def stored(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """60 answers, one without neighbours, with probabilities, a few photos that can be read."""
    generator = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("photos")
    truth_lat, truth_lon = generator.uniform(-60, 70, N), generator.uniform(-180, 180, N)
    error_km = np.minimum(generator.lognormal(5.0, 1.5, N), 15_000.0)
    answers = []
    for row in range(N):
        photo = f"/gone/{row}.jpg"
        if row % 3 == 0:
            photo = str(folder / f"{row}.png")
            Image.new("RGB", (80, 60), (200, 30, row)).save(photo)
        truth = (float(truth_lat[row]), float(truth_lon[row]))
        answers.append(answer(photo, truth, float(error_km[row]), generator.uniform(0, 360)))
    worst = int(np.argmax(error_km))
    answers[worst] = replace(answers[worst], query=replace(answers[worst].query, uri=HOSTILE))
    lost = (worst + 1) % N
    answers[lost] = replace(unanswered("/gone/lost.jpg"), truth=answers[lost].truth)
    error_km = np.array([np.inf if a.error_km is None else a.error_km for a in answers])
    level, probability = generator.uniform(0, 1, N), generator.uniform(0, 1, N)
    with module_database.connection() as connection:
        model_id = add_model(connection, 3)
        ref_lat, ref_lon = generator.uniform(-60, 70, 3000), generator.uniform(-180, 180, 3000)
        photos = add_photos(connection, ref_lat, ref_lon)
        vectors = generator.normal(size=(3000, 3)).astype(np.float32)
        add_embeddings(connection, model_id, photos, vectors)
    key = add_evaluation(module_database, model_id)
    with module_database.connection() as connection:
        ids = save(connection, with_places(connection, answers), key)
        for row, (each, found) in enumerate(zip(ids, answers, strict=True)):
            if found.lat is not None:
                connection.execute(
                    """
                    UPDATE geosearch.localizations
                    SET truth_level = %s, probability_within_km = %s, confident = %s
                    WHERE id = %s
                    """,
                    (level[row], Jsonb({"200": probability[row]}), probability[row] > 0.3, each),
                )
        connection.execute(
            """
            INSERT INTO geosearch.evaluation_failures (evaluation_id, uri, reason, message)
            VALUES (%s, '/gone/x.jpg', 'undecodable', 'the file is empty')
            """,
            (key,),
        )
    answered = np.isfinite(error_km)
    return Stored(
        module_database,
        key,
        answers,
        error_km,
        np.where(answered, level, np.nan),
        np.where(answered, probability, np.nan),
        (ref_lat, ref_lon),
    )


@pytest.fixture(scope="module")
def page(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, stored.database, stored.summary)
    return path.read_text("utf-8")


@pytest.fixture
def borders(stored: Stored, tmp_path: Path) -> Iterator[dict[str, tuple[float, float]]]:
    """Three countries that divide the world by longitude: their continents and meridians."""
    parts = {"West": (-180.0, -60.0), "Middle": (-60.0, 60.0), "East": (60.0, 120.0)}
    features = [
        {
            "type": "Feature",
            "properties": {"NAME": f"Land of {name}", "CONTINENT": name, "ISO_A2": name[:2]},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[w, -85], [e, -85], [e, 85], [w, 85], [w, -85]]],
            },
        }
        for name, (w, e) in parts.items()
    ]
    path = tmp_path / "borders.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    load_borders(stored.database, path)
    yield parts
    load_borders(stored.database)


def test_figures_come_from_the_stored_answers(stored: Stored) -> None:
    found = stored.summary
    assert found.figures.accuracy == accuracy(stored.error_km)
    assert found.unanswered == 1
    assert found.failed == {"undecodable": 1}
    assert found.answers.photo == tuple(item.photo for item in stored.answers)
    np.testing.assert_array_equal(found.answers.error_km, stored.error_km)


def test_worst_errors_come_first_and_lost_queries_not_at_all(stored: Stored) -> None:
    worst = stored.summary.worst(5)
    known = np.where(np.isfinite(stored.error_km), stored.error_km, -1.0)
    assert worst.tolist() == np.argsort(-known)[:5].tolist()
    assert len(stored.summary.worst(1000)) == N - 1


def test_coverage_is_the_share_of_truths_in_the_region_of_a_level(stored: Stored) -> None:
    found = {item.level: item for item in stored.summary.coverage}
    level = stored.truth_level[np.isfinite(stored.truth_level)]
    assert found[0.5].share == np.mean(level <= 0.5)
    assert found[0.9].share == np.mean(level <= 0.9)
    assert found[0.5].n == N - 1


def test_kinds_of_queries_have_coverage_and_reliability_of_their_own(
    stored: Stored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kinds by collection, spacing and fit, put there by hand and counted again by the database."""
    known = np.isfinite(stored.error_km)
    areas_km2 = np.where(known, cap_km2(np.where(known, stored.error_km, 0.0)), np.inf)
    key = add_evaluation(
        stored.database,
        calibration="7: 400 queries",
        flagged=Jsonb({"not_confident": 9, "low_information": 0}),
        areas_km2=areas_km2.tolist(),
    )
    with stored.database.connection() as connection:
        ids = save(connection, stored.answers, key)
        for row in np.flatnonzero(known).tolist():
            connection.execute(
                """
                UPDATE geosearch.localizations
                SET truth_level = %s, probability_within_km = %s, calibration_fits = %s,
                    kind_above_km = %s
                WHERE id = %s
                """,
                (
                    stored.truth_level[row],
                    Jsonb({"200": stored.probability_200[row]}),
                    ("yes", "widened", "no")[row % 3],
                    (0.0, 12.5)[row % 2],
                    ids[row],
                ),
            )
        counted = connection.execute(
            """
            SELECT 'calibration_fits', calibration_fits, count(*), avg((truth_level <= 0.9)::int),
                avg((coalesce((probability_within_km ->> '200')::float8, 0)
                    - (error_km <= 200)::int) ^ 2)
            FROM geosearch.localizations WHERE evaluation_id = %(key)s
                AND calibration_fits IS NOT NULL
            GROUP BY calibration_fits
            UNION ALL
            SELECT 'spacing', CASE kind_above_km WHEN 0 THEN 'above 0 m' ELSE 'above 12.5 km' END,
                count(*), avg((truth_level <= 0.9)::int),
                avg((coalesce((probability_within_km ->> '200')::float8, 0)
                    - (error_km <= 200)::int) ^ 2)
            FROM geosearch.localizations WHERE evaluation_id = %(key)s
                AND kind_above_km IS NOT NULL
            GROUP BY kind_above_km
            """,
            {"key": key},
        ).fetchall()
    summary = summarize(stored.database, key)
    assert len(counted) == 5
    for by, kind, n, held, brier in counted:
        (found,) = (item for item in summary.by_kind[by] if item.kind == kind)
        assert found.n == n
        assert found.coverage[1].share == pytest.approx(float(held))
        assert found.reliability[200].brier == pytest.approx(float(brier))
    printed = summary.to_json()
    assert printed["calibration"] == "7: 400 queries"
    assert printed["flagged"] == {"not_confident": 9, "low_information": 0}
    assert printed["by_kind"]["spacing"][0]["coverage"][0]["level"] == 0.5
    for km, share in printed["areas"]["within"].items():
        assert share == pytest.approx(np.mean(stored.error_km <= float(km)))
    said = CommandLine(stored.database.url, capsys)("report", key).out
    assert "7: 400 queries" in said
    assert "flagged: 9 not confident" in said
    assert "90 % regions hold" in said
    assert "areas" in [chart.id for chart in evaluation_charts(summary)]
    draw_report(tmp_path / "report.png", summary)
    write_report(tmp_path / "report.html", stored.database, summary)
    assert "How much must be searched" in (tmp_path / "report.html").read_text("utf-8")
    (both,) = compare(stored.database, [key, stored.id])
    assert both.to_json()["first"]["areas"] == printed["areas"]
    assert both.to_json()["second"]["areas"] is None
    write_comparison(tmp_path / "comparison.html", [both])

    assert "collection" not in summary.by_kind  # none of the queries is stored

    def stored_as(collection: str, authors: dict[int, str | None]) -> None:
        nowhere = np.zeros(len(authors))
        with stored.database.connection() as connection, connection.cursor() as cursor:
            photos = add_photos(
                *(connection, nowhere, nowhere),
                collection=collection,
                authors=list(authors.values()),
                prefix=f"own{min(authors)}",
            )
            cursor.executemany(
                "UPDATE geosearch.localizations SET photo_sha256 = (SELECT sha256 FROM "
                "geosearch.photos WHERE id = %s) WHERE id = %s",
                [(photo.photo_id, ids[row]) for photo, row in zip(photos, authors, strict=True)],
            )

    stored_as("towns", {2: None, 4: None})
    stored_as("fields", {3: None})
    by_kind = summarize(stored.database, key).by_kind
    assert [(item.kind, item.n) for item in by_kind["collection"]] == [("fields", 1), ("towns", 2)]
    assert "author" not in by_kind
    # Of the last there are too few.
    stored_as("towns", dict(enumerate(["anna"] * 21 + ["bert"] * 20 + ["carl"] * 9, start=5)))
    by_kind = summarize(stored.database, key).by_kind
    assert [(item.kind, item.n) for item in by_kind["author"]] == [("anna", 21), ("bert", 20)]


def test_histogram_holds_every_finite_error() -> None:
    found = histogram(np.array([0.0, 0.05, 1.0, 150.0, 20015.0, np.inf]), 1)
    assert found.counts.sum() == 5
    assert found.counts[0] == 2
    assert found.edges_km[0] == 0.0
    np.testing.assert_allclose(found.edges_km[2:] / found.edges_km[1:-1], 10 ** (1 / 5))


def test_the_page_says_where_the_worst_answers_were_taken(stored: Stored, page: str) -> None:
    summary = stored.summary
    rows = [int(row) for row in summary.worst(3)]
    with stored.database.connection() as connection:
        for row in rows:
            lat, lon = stored.answers[row].truth or (0.0, 0.0)
            found = connection.execute(
                "SELECT geosearch.place_name(ST_Point(%s, %s)), place "
                "FROM geosearch.localizations WHERE id = %s",
                (lon, lat, int(summary.answers.localization_id[row])),
            ).fetchone()
            assert found is not None
            assert all(f": {escape(name)}" in page for name in found)
    assert ATTRIBUTION in page


def test_continents_are_those_of_the_borders_that_come_with_geosearch(stored: Stored) -> None:
    found = stored.summary
    assert found.by_continent is not None
    names = {group.name for group in found.by_continent}
    assert {"Asia", "Africa", "North America", AT_SEA} <= names


def test_without_borders_the_report_says_how_to_get_continents(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    with stored.database.connection() as connection:
        connection.execute("DELETE FROM geosearch.borders")
    try:
        found = stored.summary
        said = CommandLine(stored.database.url, capsys)("report", stored.id).err
    finally:
        load_borders(stored.database)
    assert "geosearch borders load" in said
    assert found.by_continent is None
    assert any("geosearch borders load" in text for text in found.notes)


def test_figures_by_continent(stored: Stored, borders: dict[str, tuple[float, float]]) -> None:
    found = stored.summary
    assert found.by_continent is not None
    assert not any("borders" in text for text in found.notes)
    lon = np.array([item.truth[1] for item in stored.answers if item.truth is not None])
    groups = {group.name: group.figures for group in found.by_continent}
    # A degree off a country's area still counts as in it.
    middle, east = (lon >= -60) & (lon <= 60), (lon > 60) & (lon <= 121)
    expected = {"West": lon < -60, "Middle": middle, "East": east, AT_SEA: lon > 121}
    assert groups.keys() == expected.keys()
    for name, rows in expected.items():
        assert groups[name].accuracy == accuracy(stored.error_km[rows])
    sizes = [group.figures.accuracy.n for group in found.by_continent]
    assert sizes == sorted(sizes, reverse=True)


def test_references_near_a_truth_are_counted(stored: Stored) -> None:
    found = stored.summary
    assert found.references is not None
    lat, lon = stored.references
    for row, item in enumerate(stored.answers):
        assert item.truth is not None
        near = great_circle_km(*item.truth, lat, lon)
        assert found.references[row] == np.sum(near < 200)
    assert found.references.max() >= 3


def test_references_are_counted_within_any_radius(stored: Stored) -> None:
    found = summarize(stored.database, stored.id, radius_km=1000.0)
    assert found.references is not None
    lat, lon = stored.references
    near = [
        np.sum(great_circle_km(*item.truth, lat, lon) < 1000)
        for item in stored.answers
        if item.truth
    ]
    assert found.references.tolist() == near
    assert found.to_json()["by_density"]["radius_km"] == 1000.0
    with pytest.raises(InputError, match="radius_km: "):
        summarize(stored.database, stored.id, radius_km=0.0)


def test_references_that_the_filter_drops_are_not_counted(stored: Stored) -> None:
    with stored.database.connection() as connection:
        model = connection.execute("SELECT model_id FROM geosearch.evaluations").fetchone()
    assert model is not None
    key = add_evaluation(stored.database, model[0], filter=Jsonb({"bbox": [-180, -90, 0, 90]}))
    with stored.database.connection() as connection:
        save(connection, stored.answers, key)
    found, everything = summarize(stored.database, key), stored.summary
    assert found.references is not None
    assert everything.references is not None
    west = found.answers.true_lon < -5
    np.testing.assert_array_equal(found.references[west], everything.references[west])
    assert found.references[found.answers.true_lon > 5].sum() == 0


def test_groups_by_count_keep_equal_counts_together() -> None:
    counts = np.array([0, 0, 0, 0, 0, 1, 2, 3, 1000])
    groups = by_count(counts, np.arange(9.0), WORLD_KM)
    assert [(group.name, group.figures.accuracy.n) for group in groups] == [
        ("0", 5),
        ("1 to 2", 2),
        ("3 or more", 2),
    ]


def test_an_evaluation_of_a_sweep_has_its_own_errors_for_the_same_queries(stored: Stored) -> None:
    errors = (stored.error_km / 2).tolist()
    key = add_evaluation(stored.database, sweep_id=stored.id, errors_km=errors)
    found = summarize(stored.database, key)
    assert found.figures.accuracy == accuracy(stored.error_km / 2)
    assert found.answers.sha256 == stored.summary.answers.sha256
    assert np.isnan(found.answers.lat).all()
    assert any(f"evaluation {stored.id}" in text for text in found.notes)


def test_an_evaluation_without_answers_or_none_at_all_is_an_error(stored: Stored) -> None:
    key = add_evaluation(stored.database)
    with pytest.raises(InputError, match=f"evaluation {key} has no answers") as stopped:
        summarize(stored.database, key)
    assert "It was stopped" in str(stopped.value.remedy)
    finished = add_evaluation(stored.database, n=0)
    with pytest.raises(InputError, match="has no answers") as unusable:
        summarize(stored.database, finished)
    assert "None of its queries could be used" in str(unusable.value.remedy)
    with pytest.raises(NotFoundError, match="evaluation 12345"):
        summarize(stored.database, 12345)


def test_the_page_is_well_formed_and_needs_nothing_else(page: str) -> None:
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "http" not in page
    assert "@import" not in page
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag != "script"
        for name in ("src", "href"):
            target = element.get(name, "#")
            assert target.startswith("data:") or target == "#" or target[1:] in ids
    for target in re.findall(r"url\(#([^)]*)\)", page):
        assert target in ids


def test_the_page_holds_the_figures(page: str, stored: Stored) -> None:
    figures = stored.summary.figures
    for km in WORLD_KM:
        ends = figures.within[km]
        assert f"{100 * figures.accuracy.within[km]:.1f} %" in page
        assert f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %" in page
    assert f"Evaluation {stored.id}: density, k 100, 200 km, 60 queries" in page
    assert "1 query (undecodable)" in page
    found = stored.summary.probabilities[200]
    assert f"{found.brier:.4f}" in page


def test_the_page_follows_light_and_dark(page: str) -> None:
    charts = page[page.index("<svg") : page.rindex("</svg>")]
    for name, (light, dark) in COLOURS.items():
        assert f"--{name}: {light};" in page
        assert f"--{name}: {dark};" in page
        assert light not in charts
    assert "var(--series-1)" in charts
    assert "prefers-color-scheme: dark" in page


def test_the_page_shows_photos_that_can_be_read_and_writes_names_safely(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "not readable" in page
    assert page.count("data:image/webp;base64,") >= 2  # the map, and a photo


def test_every_chart_has_a_title_and_an_explanation(stored: Stored) -> None:
    charts = evaluation_charts(stored.summary)
    assert [chart.id for chart in charts] == [
        "within",
        "errors",
        "coverage",
        "probabilities",
        "kept",
        "continents",
        "density",
    ]
    kept = next(chart for chart in charts if chart.id == "kept")
    assert "lowest probability within 200 km" in kept.note
    assert all(chart.title and chart.note for chart in charts)


def test_intervals_in_kilometres_read_well() -> None:
    assert distances(Interval(12.0, 34.0)) == "12.0 to 34.0 km"
    assert distances(Interval(0.3, 5.0)) == "300 m to 5.0 km"
    assert distances(Interval(12.0, math.inf)) == "12.0 km to none"
    assert distances(Interval(math.inf, math.inf)) == "none"


def test_a_picture_takes_any_file_name(stored: Stored, tmp_path: Path) -> None:
    summary = stored.summary
    odd = replace(summary, evaluation=replace(summary.evaluation, queries="costs_$a_^$.csv"))
    draw_report(tmp_path / "report.png", odd)
    with Image.open(tmp_path / "report.png") as image:
        assert image.format == "PNG"


def test_a_picture_of_all_charts(stored: Stored, tmp_path: Path) -> None:
    draw_report(tmp_path / "report.png", stored.summary)
    with Image.open(tmp_path / "report.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    panel = np.array([255, 255, 255])
    assert (pixels == panel).all(axis=-1).mean() > 0.6
    teal = np.array([0x0B, 0x7A, 0x6F])
    assert (np.abs(pixels.astype(int) - teal).max(axis=-1) < 8).mean() > 0.005


def test_a_table_with_one_line_a_query(stored: Stored, tmp_path: Path) -> None:
    assert write_csv(tmp_path / "report.csv", stored.summary) == N
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    errors = [float(row["error_km"] or "inf") for row in rows]
    np.testing.assert_array_equal(errors, stored.error_km)
    assert [row["photo"] for row in rows] == [item.photo for item in stored.answers]
    lost = rows[int(np.flatnonzero(np.isinf(stored.error_km))[0])]
    assert (lost["lat"], lost["agreement"], lost["confident"]) == ("", "", "")
    assert [row["continent"] for row in rows] == list(stored.summary.continent or ())
    first = rows[int(np.flatnonzero(np.isfinite(stored.error_km))[0])]
    assert first["confident"] in ("True", "False")
    assert float(first["probability_within_200_km"]) in stored.probability_200
    assert first["probability_within_25_km"] == ""


def test_command_prints_figures_and_writes_a_file(
    stored: Stored, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine(stored.database.url, capsys)
    plain = geosearch("report", stored.id)
    share = stored.summary.figures.accuracy.within[200]
    assert plain.code == 0
    assert re.search(rf"within 200 km +{100 * share:.1f} % +[\d.]+ to [\d.]+ %", plain.out)
    assert "1 query (undecodable)" in plain.err
    ran = geosearch("report", stored.id, "--json", "-o", tmp_path / "report.csv")
    assert ran.code == 0
    assert ran.json()["accuracy"]["200"] == share
    assert ran.json()["intervals"]["accuracy"]["200"] == [
        pytest.approx(end) for end in wilson(round(share * N), N).to_json()
    ]
    assert ran.json()["coverage"][0]["level"] == 0.5
    assert ran.json()["output"] == str(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text("utf-8").startswith("localization_id,photo,")


def test_unknown_formats_and_evaluations_are_named(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(stored.database.url, capsys)
    ran = geosearch("report", stored.id, "-o", "report.pdf")
    assert ran.code == InputError.exit_code
    assert ".html or .png or .csv" in ran.err
    ran = geosearch("report", 12345)
    assert ran.code == NotFoundError.exit_code
    assert "geosearch evaluations list" in ran.err


def test_evaluations_are_listed_latest_first(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {str(km): 0.25 for km in WORLD_KM}
    done = add_evaluation(stored.database, n=4, accuracy=Jsonb(shares), median_km=float("inf"))
    stopped = add_evaluation(stored.database, queries="/data/stopped.csv")
    geosearch = CommandLine(stored.database.url, capsys)
    listed = geosearch("evaluations", "list", "--last", 2, "--json").json()
    assert [item["evaluation_id"] for item in listed] == [stopped, done]
    assert listed[0]["n"] is None
    assert listed[1]["accuracy"] == shares
    assert listed[1]["median_km"] is None
    shown = geosearch("evaluations", "list", "--last", 2).out
    assert " 25.0 " in shown
    assert "stopped" in shown
    add_evaluation(stored.database, queries="/data/q[red].csv")
    assert "q[red].csv" in geosearch("evaluations", "list", "--last", 1).out
    with stored.database.connection() as connection:
        assert stored.id in [item.id for item in list_evaluations(connection)]
