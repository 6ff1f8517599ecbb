"""Evaluations: leave-one-out, several parameters on the same neighbours, what is left out."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError, Reason
from geosearch.evaluation import Evaluation, Labelled, QuerySet, evaluate, evaluate_each, leakage
from geosearch.evaluation.metrics import figures
from geosearch.evaluation.sweep import Sweep, grid
from geosearch.localization import Failure, Parameters
from geosearch.retrieval import where
from geosearch.retrieval.duplicates import NOTHING, Excluded, Exclusions
from geosearch.sphere import Cells, cap_km2, great_circle_km, unit_vectors
from geosearch.words import format_km
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos, fetch

COUNT, DIMENSION, MODEL = 120, 12, "test/places"


@dataclass
class World:
    """Photos whose embeddings tell, more or less, where they are; each third has an author."""

    database: Database
    photo_id: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    vectors: NDArray[np.float32]

    def nearest_error(self, number: int) -> float:
        """Error in km of the nearest other photo."""
        stored = self.vectors.astype(np.float16).astype(np.float64)
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        similarity = stored @ stored[number]
        similarity[number] = -2
        best = int(similarity.argmax())
        place = self.lat[best], self.lon[best]
        return float(great_circle_km(*place, self.lat[number], self.lon[number]))


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(5)
    lat = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, COUNT)))
    lon = rng.uniform(-180, 180, COUNT)
    radians = np.radians([lat, lon])
    east = np.cos(radians[0]) * np.cos(radians[1]), np.cos(radians[0]) * np.sin(radians[1])
    place = np.stack([*east, np.sin(radians[0])], axis=1)
    looks = place @ rng.normal(size=(3, DIMENSION)) + 0.3 * rng.normal(size=(COUNT, DIMENSION))
    vectors = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION, MODEL)
        authors = ["ann" if number % 3 == 0 else None for number in range(COUNT)]
        photos = add_photos(connection, lat, lon, authors=authors)
        add_embeddings(connection, model, photos, vectors)
    ids = np.array([photo.photo_id for photo in photos])
    return World(module_database, ids, lat, lon, vectors)


@pytest.fixture
def command(world: World, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(world.database.url, capsys)


OWN_ONLY = Exclusions(same_bytes=True)
SEVERAL = (
    Parameters("nearest", 1),
    Parameters("density", 5, 300.0, "uniform"),
    Parameters("im2gps", 20),
    Parameters("density", 20, 800.0, "softmax:0.1"),
)


def one(world: World, parameters: Parameters, **options: object) -> Evaluation:
    return evaluate(world.database, None, model=MODEL, parameters=parameters, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("exact", [True, False])
def test_leave_one_out_answers_every_photo_by_the_others(world: World, exact: bool) -> None:
    result = one(world, Parameters("nearest", 1, exact=exact), exclusions=OWN_ONLY)
    expected = [world.nearest_error(number) for number in range(COUNT)]
    np.testing.assert_allclose(result.errors_km, expected, atol=1e-6)
    assert result.accuracy.n == COUNT
    assert result.excluded == Excluded(same_bytes=COUNT)
    assert result.queries == "leave-one-out: everything"


def test_leave_one_out_asks_only_photos_that_pass_the_filter(world: World) -> None:
    north = where(bbox=(-180, 0, 180, 90))
    result = one(world, Parameters("density", 5), where=north, exclusions=OWN_ONLY)
    assert result.accuracy.n == int(np.sum(world.lat >= 0))
    with world.database.connection() as connection:
        row = connection.execute(
            "SELECT min(ST_Y(n.geom)), count(DISTINCT l.id), count(*) "
            "FROM geosearch.localizations l "
            "JOIN geosearch.localization_neighbours n ON n.localization_id = l.id "
            "WHERE l.evaluation_id = %s",
            (result.id,),
        ).fetchone()
    assert row is not None
    assert row[0] >= 0
    assert row[1:] == (result.accuracy.n, 5 * result.accuracy.n)


def test_leave_one_out_says_when_there_is_nothing_to_ask(world: World) -> None:
    with pytest.raises(InputError, match="passes the filter"):
        one(world, Parameters(), where=where(near=(-48.9, -123.4, 1)))
    with pytest.raises(NotFoundError, match="test/none"):
        evaluate(world.database, None, model="test/none")


def test_a_sample_is_drawn_by_its_seed(world: World) -> None:
    def asked(seed: int) -> list[str]:
        result = one(world, Parameters("nearest", 1), sample=10, seed=seed)
        assert result.accuracy.n == 10
        assert result.parameters["sample"] == 10
        assert result.parameters["seed"] == seed
        rows = fetch(
            world.database,
            "SELECT photo_uri FROM geosearch.localizations WHERE evaluation_id = %s ORDER BY id",
            result.id,
        )
        return [uri for (uri,) in rows]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)
    with pytest.raises(InputError, match="sample: 0"):
        one(world, Parameters(), sample=0)


@pytest.mark.parametrize("exact", [True, False])
def test_parameters_on_shared_neighbours_give_what_each_gives_alone(
    world: World, exact: bool
) -> None:
    several = [replace(item, exact=exact) for item in SEVERAL]
    together = evaluate_each(world.database, None, several, model=MODEL, sample=20)
    for parameters, result in zip(several, together, strict=True):
        alone = one(world, parameters, sample=20)
        np.testing.assert_allclose(result.errors_km, alone.errors_km, atol=1e-3)
        assert result.accuracy.within == alone.accuracy.within
        assert result.excluded == alone.excluded
        assert alone.sweep_id is None


def test_a_sweep_stores_all_figures_and_the_answers_of_its_largest_k(world: World) -> None:
    results = evaluate_each(world.database, None, SEVERAL, model=MODEL, sample=20)
    main = results[2]
    assert [result.sweep_id for result in results] == [main.id] * 4
    rows = fetch(
        world.database,
        "SELECT e.id, e.sweep_id, e.n, e.errors_km, e.accuracy, e.excluded, "
        "(SELECT array_agg(error_km ORDER BY l.id) FROM geosearch.localizations l "
        "WHERE l.evaluation_id = e.id) "
        "FROM geosearch.evaluations e WHERE e.sweep_id = %s ORDER BY e.id",
        main.id,
    )
    for result, (key, sweep_id, n, errors, shares, excluded, answers) in zip(
        results, rows, strict=True
    ):
        assert (key, sweep_id, n) == (result.id, main.id, 20)
        assert tuple(errors) == result.errors_km
        assert shares == result.to_json()["accuracy"]
        assert excluded == result.excluded.to_json()
        assert answers == (list(result.errors_km) if result is main else None)


def test_parameters_must_agree_on_exactness(world: World) -> None:
    for parameters in ([], [Parameters(exact=True), Parameters(exact=False)]):
        with pytest.raises(InputError, match="all exact, or all not"):
            evaluate_each(world.database, None, parameters, model=MODEL)


def test_every_k_must_be_in_range_not_just_the_largest(world: World) -> None:
    for k in (0, -5, 5000):
        with pytest.raises(InputError, match=f"k: {k} is out of range"):
            evaluate_each(world.database, None, [Parameters(k=k), Parameters(k=10)], model=MODEL)
    with world.database.connection() as connection:
        kept = connection.execute(
            "SELECT count(*) FROM geosearch.evaluations WHERE (parameters->>'k')::int <= 0"
        ).fetchone()
    assert kept == (0,)


def test_references_of_a_querys_author_are_left_out_unless_let_in(world: World) -> None:
    parameters = Parameters("nearest", 3)
    default = one(world, parameters, where=where(authors=("ann",)))
    anns = COUNT // 3
    assert default.unanswered == default.accuracy.n == anns
    assert default.errors_km == (math.inf,) * anns
    assert default.accuracy.within[2500] == 0
    assert default.excluded == Excluded(same_bytes=anns, author=anns * (anns - 1))
    let_in = one(
        world,
        parameters,
        where=where(authors=("ann",)),
        exclusions=leakage(exclude_author=False),
    )
    assert let_in.unanswered == 0
    assert let_in.excluded.author == 0
    assert let_in.remark is None
    assert repr(let_in).endswith(f"{anns} queries, median {format_km(let_in.accuracy.median_km)})")


def test_python_is_told_why_no_query_has_neighbours(world: World) -> None:
    gs, said = Geosearch(world.database), "author are left out.*exclude_same_author=False"
    with pytest.warns(UserWarning, match=said) as warned:
        evaluation = gs.evaluate(None, model=MODEL, where=where(authors=("ann",)))
    assert warned[0].filename == __file__
    assert "median none): " in repr(evaluation)
    assert str(warned[0].message) in repr(evaluation)


def test_excluded_references_are_counted_per_query_and_in_all(world: World) -> None:
    exclusions = Exclusions(same_bytes=True, duplicate_distance=0.1, same_author=True)
    parameters = Parameters("density", 5, 2000.0)
    result = one(world, parameters, exclusions=exclusions, sample=40, regions=True)
    rows = fetch(
        world.database,
        "SELECT excluded, truth_level, (SELECT count(*) FROM geosearch.localization_regions r "
        "WHERE r.localization_id = l.id) FROM geosearch.localizations l "
        "WHERE evaluation_id = %s",
        result.id,
    )
    counts = [Excluded(**excluded) for excluded, _, _ in rows]
    assert {count.same_bytes for count in counts} == {1}
    assert len({count.duplicates for count in counts}) > 1
    assert sum(counts, Excluded()) == result.excluded
    levels = [level for _, level, _ in rows]
    assert all(0 <= level <= 1 for level in levels)
    assert len(set(levels)) > 20
    assert {regions for _, _, regions in rows} == {2}


def test_the_level_of_the_truth_says_whether_a_region_holds_it(world: World) -> None:
    result = one(world, Parameters("density", 8, 600.0), regions=True, sample=30)
    rows = fetch(
        world.database,
        "SELECT l.truth_level, r.level, ST_Intersects(r.geom, l.truth) "
        "FROM geosearch.localizations l "
        "JOIN geosearch.localization_regions r ON r.localization_id = l.id "
        "WHERE evaluation_id = %s AND abs(l.truth_level - r.level) > 0.03",
        result.id,
    )
    assert {held for *_, held in rows} == {True, False}
    assert all(held == (truth_level < level) for truth_level, level, held in rows)


def test_the_area_to_search_is_that_where_the_density_is_as_high_as_at_the_truth(
    world: World,
) -> None:
    several = [Parameters("density", 20, 900.0), Parameters("nearest", 1)]
    asked = evaluate_each(world.database, None, several, model=MODEL, sample=25)
    density, nearest = asked
    # Of one kernel round the estimate it is the circle that reaches to the truth.
    np.testing.assert_allclose(nearest.areas_km2, cap_km2(np.array(nearest.errors_km)), rtol=1e-6)

    rows = fetch(
        world.database,
        "SELECT ST_Y(min(truth)), ST_X(min(truth)), array_agg(ST_Y(n.geom) ORDER BY rank), "
        "array_agg(ST_X(n.geom) ORDER BY rank), array_agg(weight ORDER BY rank) "
        "FROM geosearch.localizations l "
        "JOIN geosearch.localization_neighbours n ON n.localization_id = l.id "
        "WHERE evaluation_id = %s GROUP BY l.id ORDER BY l.id",
        density.id,
    )
    cells = Cells.of_sphere(15)
    centres, km2 = cells.centres(), cells.steradians * 6371.0**2
    expected = []
    for lat, lon, lats, lons, weights in rows:
        points = np.vstack([centres, unit_vectors(lat, lon)])
        cosines = points @ unit_vectors(lats, lons).T
        values = np.exp((6371.0 / 900.0) ** 2 * (cosines - 1)) @ np.array(weights)
        expected.append(km2 * np.sum(values[:-1] >= values[-1]))
    np.testing.assert_allclose(density.areas_km2, expected, rtol=0.08, atol=20 * km2)

    held, stored = (
        density.areas,
        fetch(
            world.database,
            "SELECT areas_km2 FROM geosearch.evaluations WHERE id IN (%s, %s) ORDER BY id",
            *(density.id, nearest.id),
        ),
    )
    assert [tuple(areas) for (areas,) in stored] == [density.areas_km2, nearest.areas_km2]
    assert held is not None
    ordered = sorted(density.areas_km2)
    assert held.holding_km2 == {50: ordered[12], 80: ordered[19], 90: ordered[22]}
    for km, share in held.within.items():
        circle = 2 * math.pi * 6371.0**2 * (1 - math.cos(km / 6371.0))
        assert share == sum(area <= circle for area in ordered) / 25
    assert held.within[2500] > held.within[200]


def test_photos_that_cannot_be_queries_are_listed_by_reason(world: World) -> None:
    asked = QuerySet(
        "a set",
        (Labelled("/photo/test/3.jpg", (1.0, 2.0), None, int(world.photo_id[3])),),
        (
            Failure("b.jpg", Reason.MISSING, "the folder has no such image"),
            Failure("c.jpg", Reason.UNLABELLED, "the table has no row for this image"),
            Failure("d.jpg", Reason.MISSING, "the folder has no such image"),
        ),
        stored=True,
    )
    result = evaluate_each(world.database, asked, [Parameters("nearest", 1)], model=MODEL)[0]
    printed = result.to_json()
    assert printed["n"] == 1
    assert printed["queries"] == "a set"
    assert printed["failed"] == 3
    assert printed["failed_by_reason"] == {"missing": 2, "unlabelled": 1}
    assert printed["missing"] == ["b.jpg", "d.jpg"]
    assert printed["unlabelled"] == ["c.jpg"]
    stored = fetch(
        world.database,
        "SELECT uri, reason FROM geosearch.evaluation_failures WHERE evaluation_id = %s "
        "ORDER BY uri",
        result.id,
    )
    assert stored == [("b.jpg", "missing"), ("c.jpg", "unlabelled"), ("d.jpg", "missing")]


def test_the_python_interface_evaluates_leave_one_out(world: World) -> None:
    result = Geosearch(world.database).evaluate(
        None,
        model=MODEL,
        parameters=Parameters("nearest", 1),
        exclude_self=False,
        exclude_same_author=False,
    )
    assert result.accuracy.within[1] == 1  # every photo finds itself
    assert result.parameters["exclude_self"] is False
    assert result.parameters["duplicate_distance"] is None
    assert result.parameters["exclude_author"] is False


def test_grid_combines_only_what_can_differ() -> None:
    made = grid(["nearest", "im2gps", "density"], [1, 10], [50.0, 200.0], ["power:10", "uniform"])
    assert made == [
        Parameters("nearest", 1),
        Parameters("im2gps", 1, None, "power:10"),
        Parameters("im2gps", 1, None, "uniform"),
        Parameters("im2gps", 10, None, "power:10"),
        Parameters("im2gps", 10, None, "uniform"),
        Parameters("density", 1, 50.0, "power:10"),
        Parameters("density", 10, 50.0, "power:10"),
        Parameters("density", 10, 200.0, "power:10"),
        Parameters("density", 10, 50.0, "uniform"),
        Parameters("density", 10, 200.0, "uniform"),
    ]
    with pytest.raises(InputError, match="power:x"):
        grid(["density"], [10], [50.0], ["power:x"])
    with pytest.raises(InputError, match="fastest"):
        grid(["fastest"], [10], [50.0], ["uniform"])


def result_of(key: int, parameters: Parameters, errors_km: list[float]) -> Evaluation:
    return Evaluation(
        id=key,
        sweep_id=1,
        queries="queries.csv",
        model=MODEL,
        parameters=parameters.to_json(),
        figures=figures(np.array(errors_km)),
        errors_km=tuple(errors_km),
        areas_km2=tuple(cap_km2(np.array(errors_km))),
        failures=(),
        excluded=Excluded(),
    )


NARROW, WIDE = Parameters("density", 10, 50.0), Parameters("density", 100, 800.0)


@pytest.mark.parametrize(
    ("one_km", "narrow_km", "wide_km", "one_is_best", "widens", "verdict"),
    [
        # Within 1 km one neighbour, within 200 the narrow kernel, within 750 the wide one.
        ([0.5, 800, 800, 800], [30, 90, 800, 800], [300, 300, 300, 800], True, True, "this holds"),
        # The narrow kernel is best everywhere.
        ([300, 900, 900, 900], [0.5, 10, 10, 10], [500] * 4, False, False, "does not hold"),
        # One neighbour is best everywhere: the kernel does not get wider.
        ([0.5, 10, 10, 10], [300, 900, 900, 900], [800] * 4, True, False, "holds in part"),
    ],
)
def test_a_sweep_says_whether_wider_kernels_win_at_coarser_distances(
    one_km: list[float],
    narrow_km: list[float],
    wide_km: list[float],
    one_is_best: bool,
    widens: bool,
    verdict: str,
) -> None:
    sweep = Sweep(
        (
            result_of(1, Parameters("nearest", 1), one_km),
            result_of(2, NARROW, narrow_km),
            result_of(3, WIDE, wide_km),
        )
    )
    assert sweep.pattern is not None
    assert sweep.pattern.finest_km == 1
    assert (sweep.pattern.one_is_best, sweep.pattern.widens) == (one_is_best, widens)
    assert verdict in sweep.pattern.sentence


def test_no_pattern_is_claimed_where_nothing_differs_or_one_side_is_absent() -> None:
    ones = result_of(1, Parameters("nearest", 1), [5.0, 5.0])
    assert Sweep((ones, result_of(2, WIDE, [6.0, 6.0]))).pattern is None
    assert Sweep((result_of(2, WIDE, [6.0]), result_of(3, NARROW, [60.0]))).pattern is None
    assert Sweep((ones,)).pattern is None
    # Bandwidths that follow the neighbours have no width of their own.
    follows = [result_of(key, Parameters("density", k), [5.0]) for key, k in ((1, 10), (2, 100))]
    assert Sweep(tuple(follows)).pattern is None


def test_of_equals_the_narrowest_kernel_is_the_best() -> None:
    wide, narrow = result_of(1, WIDE, [0.5, 90]), result_of(2, NARROW, [0.6, 30])
    assert {km: item.id for km, item in Sweep((wide, narrow)).best.items()} == {
        1: 2,
        25: 2,
        200: 2,
        750: 2,
        2500: 2,
    }


def test_sweep_prints_and_writes_the_same_figures(
    world: World, command: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.csv"
    options = (
        *("--leave-one-out", "--model", MODEL, "--sample", 20),
        *("--k", "1,10", "--bandwidth-km", "100,1000"),
    )
    ran = command("sweep", *options, "--csv", file, "--json")
    assert ran.code == 0
    printed = ran.json()
    assert printed["n"] == 20
    assert printed["excluded"]["same_bytes"] == 20
    items = printed["evaluations"]
    assert [(item["method"], item["parameters"]["k"]) for item in items] == [
        ("nearest", 1),
        ("im2gps", 1),
        ("im2gps", 10),
        ("density", 1),
        ("density", 10),
        ("density", 10),
    ]
    assert printed["best"].keys() == {"1", "25", "200", "750", "2500"}
    assert printed["pattern"]["sentence"].count("one neighbour") == 2
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["evaluation_id"]) for row in rows] == [item["evaluation_id"] for item in items]
    for row, item in zip(rows, items, strict=True):
        for part, km2 in item["areas"]["holding_km2"].items():
            assert float(row[f"area_{part}_km2"]) == km2
        for km, share in item["accuracy"].items():
            assert float(row[f"within_{km}_km"]) == share
            assert float(row[f"within_{km}_km_low"]) <= share <= float(row[f"within_{km}_km_high"])
    shown = command("sweep", *options)
    assert f"20 queries, {MODEL}" in shown.out
    best = max(item["accuracy"]["2500"] for item in items)
    assert f"{100 * best:.1f}*" in shown.out
    assert "holds" in shown.out


def test_several_methods_are_swept_and_one_is_evaluated(command: CommandLine) -> None:
    asked = ("--leave-one-out", "--model", MODEL, "--k", 7, "--sample", 20, "--json")
    several = ("--method", "nearest,density", "--include-author")
    printed = command("sweep", *asked, *several).json()
    assert [item["method"] for item in printed["evaluations"]] == ["nearest", "density"]
    assert printed["n"] == 20
    assert printed["excluded"] == {"same_bytes": 20, "duplicates": 0, "author": 0}
    refused = command("evaluate", *asked, *several)
    assert refused.code == InputError.exit_code
    assert "nearest,density" in refused.err


def test_the_text_says_what_was_left_out_and_why_nothing_was_found(
    world: World, command: CommandLine
) -> None:
    ran = command("evaluate", "--leave-one-out", "--model", MODEL, "--author", "ann")
    assert ran.code == 0
    anns = COUNT // 3
    flat = " ".join(ran.out.split())
    assert f"left out: {anns} with the query's bytes, {anns * (anns - 1):,} by its" in flat
    assert f"{anns} queries without neighbours, a miss each" in ran.err
    assert "--include-author" in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there are no queries"),
        (("q.csv", "--leave-one-out"), "--leave-one-out"),
        (("--set", "im2gps"), "--set and --images"),
        (("--images", "/tmp"), "--set and --images"),
        (("--leave-one-out", "--model", MODEL, "--method", "nearest,density"), "nearest,density"),
        (
            (
                *("--leave-one-out", "--model", MODEL, "--method", "nearest"),
                *("--parameters", '{"calibration": 1}'),
            ),
            "--calibration: 1 fixes method, k, bandwidth and weighting Leave out --method, --k, "
            "--bandwidth-km, --weighting and restrict_cells, or --calibration.",
        ),
        (
            (
                *("--leave-one-out", "--model", MODEL, "--method", "nearest"),
                *("--parameters", '{"min_presence": 0.5}'),
            ),
            "needs a calibration",
        ),
    ],
)
def test_queries_that_are_not_clear_are_refused(
    command: CommandLine, arguments: tuple[object, ...], says: str
) -> None:
    ran = command("evaluate", *arguments)
    assert ran.code == InputError.exit_code
    assert says in " ".join(ran.err.split())


def test_nothing_is_excluded_when_asked(world: World) -> None:
    result = one(world, Parameters("nearest", 1), exclusions=NOTHING)
    assert result.excluded == Excluded()
    assert result.accuracy.within[1] == 1
