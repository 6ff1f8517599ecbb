"""From photo to recorded answer, on a small space-view sample with the real default backbone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from psycopg.types.json import Jsonb
from shapely.geometry import box

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import EXIT_NO_NEIGHBOURS, InputError, NotFoundError, PhotoRejected, Reason
from geosearch.ingest.manifests import read_manifest
from geosearch.ingest.records import Candidate
from geosearch.localization import Failure, Localization, Parameters
from geosearch.localization.answer_rows import save
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sphere import great_circle_km
from geosearch.words import format_km
from tests.command_line import CommandLine
from tests.rows import add_photos, fetch, set_rule

REFERENCES, QUERIES = 150, 6


@dataclass
class Space:
    """A database with the embedded sample, and where its files are."""

    gs: Geosearch
    folder: Path

    @property
    def queries(self) -> list[Candidate]:
        items = list(read_manifest(str(self.folder / "queries.csv")))
        return [item for item in items if isinstance(item, Candidate)]


@pytest.fixture(scope="module")
def space(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Space:
    folder = tmp_path_factory.mktemp("space")
    write_space_sample(SpaceSample(REFERENCES, QUERIES, seed=3), folder)
    gs = Geosearch(module_database)
    gs.ingest(folder / "references", collection="space")
    summary = gs.embed()
    assert summary.embedded == REFERENCES
    return Space(gs, folder)


@pytest.fixture
def command(space: Space, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(space.gs.database.url, capsys)


def test_a_reference_photo_is_found_where_it_was_taken(space: Space) -> None:
    photo = space.folder / "references" / "000010.jpg"
    answer = space.gs.localize(photo, parameters=Parameters(method="nearest", k=5))
    assert answer.neighbours.uri[0] == str(photo)
    assert answer.neighbours.distance[0] == pytest.approx(0, abs=1e-3)
    assert (answer.lat, answer.lon) == (answer.neighbours.lat[0], answer.neighbours.lon[0])
    assert list(answer.weights) == [1, 0, 0, 0, 0]


def test_exclude_self_leaves_the_same_bytes_out(space: Space, tmp_path: Path) -> None:
    photo = shutil.copy(space.folder / "references" / "000010.jpg", tmp_path / "copy.jpg")
    answer = space.gs.localize(photo, exclude_self=True)
    assert str(space.folder / "references" / "000010.jpg") not in answer.neighbours.uri
    assert len(answer.neighbours) == 100


def test_an_answer_reads_back_as_it_was_given(space: Space) -> None:
    query = space.queries[0]
    given = space.gs.localize(query.uri, near=(0, 0, 15_000), parameters=Parameters(k=30))
    assert given.id is not None
    read = space.gs.load(given.id)
    assert read.to_json() == given.to_json()
    assert read.software == given.software
    assert read.where == given.where
    np.testing.assert_array_equal(read.query.embedding, given.query.embedding)
    assert read.regions.keys() == given.regions.keys() == {0.5, 0.9}
    for level, region in given.regions.items():
        assert read.regions[level].geometry.symmetric_difference(region.geometry).area < 1e-9
        assert read.regions[level].area_km2 == region.area_km2


def test_a_filter_confines_neighbours_and_estimate(space: Space) -> None:
    africa = box(-20, -35, 52, 38)
    answer = space.gs.localize(space.queries[0].uri, within=africa, parameters=Parameters(k=10))
    assert len(answer.neighbours) == 10
    assert ((answer.neighbours.lon > -20) & (answer.neighbours.lon < 52)).all()
    assert ((answer.neighbours.lat > -35) & (answer.neighbours.lat < 38)).all()


def test_no_matching_reference_is_an_answer_without_estimate(space: Space) -> None:
    answer = space.gs.localize(space.queries[0].uri, near=(-48.9, -123.4, 100))  # Point Nemo
    assert answer.lat is None
    assert answer.to_json()["estimate"] is None
    assert answer.id is None  # there is nothing to record
    with space.gs.database.connection() as connection:
        (key,) = save(connection, [answer])  # as an evaluation does, which counts it as a miss
    loaded = space.gs.load(key)
    assert loaded.to_json() == replace(answer, id=key, created_at=loaded.created_at).to_json()
    assert space.gs.reproduce(key).same


def test_a_photo_without_neighbours_ends_the_command_with_a_code_of_its_own(
    space: Space, command: CommandLine
) -> None:
    photos = [query.uri for query in space.queries[:2]]
    nowhere = command("localize", *photos, "--near", "-48.9,-123.4,100")
    assert nowhere.code == EXIT_NO_NEIGHBOURS == 8
    assert "2 photos without neighbours" in nowhere.err
    assert "geosearch ingest" in nowhere.err
    assert command("localize", photos[0], "missing.jpg", "--near", "-48.9,-123.4,100").code == 3


def test_an_option_counts_before_the_same_parameter_in_json(
    space: Space, command: CommandLine
) -> None:
    photo = space.queries[0].uri
    given = '{"k": 3, "method": "nearest"}'
    asked = command("localize", photo, "--parameters", given, "--k", 5, "--no-record", "--json")
    assert (asked.json()["parameters"]["k"], asked.json()["method"]) == (5, "nearest")
    refused = command("localize", photo, "--k", 0)
    assert refused.code == InputError.exit_code
    assert "error: --k: 0 is out of range" in refused.err
    for wrong, says in (
        ('{"q": 1}', "there is no parameter 'q'"),
        ('{"k": "many"}', "--k: expected a number, found 'many'"),
        ('{"calibrate": 1}', "calibrate: expected true or false, found 1"),
        ('{"calibrate": false, "calibration": 1}', "calibration is given, and calibrate is false"),
        ("[1]", "--parameters [1] is neither a JSON object nor a readable file"),
    ):
        refused = command("localize", photo, "--parameters", wrong)
        assert (refused.code, says in refused.err) == (InputError.exit_code, True), refused.err


def test_photos_that_cannot_be_read_do_not_stop_the_others(space: Space, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    good = Path(space.queries[0].uri)
    answers = list(space.gs.localize_many([broken, tmp_path / "missing.jpg", good]))
    assert [type(answer) for answer in answers] == [Failure, Failure, Localization]
    assert [a.reason for a in answers if isinstance(a, Failure)] == [
        Reason.UNDECODABLE,
        Reason.UNREADABLE,
    ]
    with pytest.raises(PhotoRejected, match=r"missing\.jpg"):
        space.gs.localize(tmp_path / "missing.jpg")


def test_localizing_without_embeddings_says_what_to_run(database: Database, space: Space) -> None:
    with pytest.raises(NotFoundError, match=r"no photos yet\. Run: geosearch ingest"):
        Geosearch(database).localize(space.queries[0].uri)
    with pytest.raises(NotFoundError, match=r"no photos yet\. Run: geosearch ingest"):
        Geosearch(database).localize(space.queries[0].uri, collections=["mine"])
    with database.connection() as connection:
        add_photos(connection, [1.0], [2.0])
    with pytest.raises(NotFoundError, match="geosearch embed"):
        Geosearch(database).localize(space.queries[0].uri)


@pytest.mark.parametrize("method", ["density", "im2gps", "nearest"])
def test_an_unchanged_database_reproduces_every_method(space: Space, method: str) -> None:
    space.gs.index(force=True)
    answer = space.gs.localize(space.queries[1].uri, parameters=Parameters(method=method))
    assert answer.id is not None
    again = space.gs.reproduce(answer.id)
    assert again.same
    assert again.shift_km == 0
    assert again.changes == ()


def test_reproduce_names_photos_added_moved_and_deleted(
    database: Database, space: Space, tmp_path: Path
) -> None:
    gs = Geosearch(database)
    references = tmp_path / "references"
    references.mkdir()
    for number in range(12):
        name = f"{number + 1:06d}.jpg"
        shutil.copy(space.folder / "references" / name, references / name)
    gs.ingest(references, collection="space")
    gs.embed()
    query = space.folder / "references" / "000020.jpg"
    answer = gs.localize(query, parameters=Parameters(k=5))
    assert answer.id is not None
    assert gs.reproduce(answer.id).same

    moved, deleted = int(answer.neighbours.photo_id[0]), int(answer.neighbours.photo_id[1])
    with database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.photos SET geom = ST_SetSRID(ST_Point(1, 2), 4326) WHERE id = %s",
            (moved,),
        )
        connection.execute("DELETE FROM geosearch.photos WHERE id = %s", (deleted,))
    shutil.copy(query, references / "added.jpg")
    gs.ingest(references, collection="space")
    gs.embed()
    again = gs.reproduce(answer.id)
    assert not again.same
    assert not again.neighbours_same
    assert again.shift_km is not None
    assert again.shift_km > 1
    text = "\n".join(again.changes)
    assert "added.jpg) was added on" in text
    assert "is now neighbour 1" in text
    assert f"photo {deleted} " in text
    assert "was deleted" in text
    assert f"photo {moved} " in text
    assert "to 2.000000,1.000000" in text


def test_reproduce_names_a_collection_that_is_gone(space: Space) -> None:
    answer = space.gs.localize(space.queries[0].uri, collections=("space",))
    assert answer.id is not None
    with space.gs.database.connection() as connection:
        connection.execute("UPDATE geosearch.collections SET name = 'renamed'")
    again = space.gs.reproduce(answer.id)
    with space.gs.database.connection() as connection:
        connection.execute("UPDATE geosearch.collections SET name = 'space'")
    assert not again.same
    assert again.changes == ("there is no collection 'space' any more",)


def test_reproduce_opens_no_file_that_a_planted_filter_names(space: Space, tmp_path: Path) -> None:
    answer = space.gs.localize(space.queries[0].uri)
    assert answer.id is not None
    (tmp_path / "area.json").write_text('{"type": "Point", "coordinates": [0, 0]}')
    for planted in ("/dev/zero", str(tmp_path / "area.json")):
        with space.gs.database.connection() as connection:
            connection.execute(
                "UPDATE geosearch.localizations SET filter = %s WHERE id = %s",
                (Jsonb({"within": planted}), answer.id),
            )
        with pytest.raises(InputError, match="neither WKT nor GeoJSON"):
            space.gs.reproduce(answer.id)


def test_a_photo_that_stands_twice_in_a_manifest_is_two_queries(
    space: Space, tmp_path: Path
) -> None:
    manifest = tmp_path / "queries.csv"
    uri = space.queries[0].uri
    manifest.write_text(f"uri,lat,lon\n{uri},1,2\n{uri},3,4\n")
    result = space.gs.evaluate(manifest, exclude_self=False)
    assert result.accuracy.n == 2
    assert result.parameters["exclude_self"] is False


def test_reproduce_names_a_rebuilt_index_and_a_removed_model(
    database: Database, space: Space, tmp_path: Path
) -> None:
    # Among 30 photos exact search is always cheaper; here it must not be.
    set_rule(database, exact_row_ms=1)
    gs = Geosearch(database)
    for number in range(30):
        name = f"{number + 1:06d}.jpg"
        shutil.copy(space.folder / "references" / name, tmp_path / name)
    gs.ingest(tmp_path, collection="space")
    gs.embed()
    gs.index()
    answer = gs.localize(tmp_path / "000003.jpg", parameters=Parameters(k=10))
    assert answer.plan["strategy"] == "ann"
    assert answer.id is not None
    gs.index(rebuild=True)
    assert any("was rebuilt" in change for change in gs.reproduce(answer.id).changes)
    with database.connection() as connection:
        connection.execute("DELETE FROM geosearch.models")
    gone = gs.reproduce(answer.id)
    assert not gone.same
    assert "model packaged/efficientnet-lite0" in gone.changes[0]
    assert gs.load(answer.id).model["name"] == "packaged/efficientnet-lite0"


def test_evaluation_figures_follow_from_the_stored_answers(space: Space) -> None:
    result = space.gs.evaluate(space.folder / "queries.csv", parameters=Parameters(k=20))
    assert result.accuracy.n == QUERIES
    with space.gs.database.connection() as connection:
        rows = connection.execute(
            "SELECT ST_Y(estimate), ST_X(estimate), ST_Y(truth), ST_X(truth), error_km, photo_uri "
            "FROM geosearch.localizations WHERE evaluation_id = %s ORDER BY id",
            (result.id,),
        ).fetchall()
        stored = connection.execute(
            "SELECT n, accuracy, median_km, mean_km, failed FROM geosearch.evaluations "
            "WHERE id = %s",
            (result.id,),
        ).fetchone()
    truths = {query.uri: query.position for query in space.queries}
    errors = []
    for lat, lon, true_lat, true_lon, error, uri in rows:
        position = truths[uri]
        assert position is not None
        assert (true_lat, true_lon) == (position.lat, position.lon)
        assert error == pytest.approx(float(great_circle_km(lat, lon, true_lat, true_lon)))
        errors.append(error)
    assert len(errors) == QUERIES
    for km, share in result.accuracy.within.items():
        assert share == pytest.approx(np.mean(np.array(errors) <= km))
    assert result.accuracy.median_km == pytest.approx(np.median(errors))
    printed = result.to_json()
    assert stored == (
        QUERIES,
        printed["accuracy"],
        printed["median_km"],
        printed["mean_km"],
        0,
    )


def test_evaluation_counts_and_lists_queries_it_cannot_use(space: Space, tmp_path: Path) -> None:
    manifest = tmp_path / "queries.csv"
    good = space.queries[0]
    manifest.write_text(f"uri,lat,lon\n{good.uri},1,2\nmissing.jpg,3,4\n{good.uri}x,,\n,5,6\n")
    result = space.gs.evaluate(manifest)
    assert result.accuracy.n == 1
    assert result.failed == {"unreadable": 1, "bad_row": 2}
    listed = fetch(
        space.gs.database,
        "SELECT uri, reason FROM geosearch.evaluation_failures WHERE evaluation_id = %s "
        "ORDER BY reason, uri",
        result.id,
    )
    assert (str(tmp_path / "missing.jpg"), "unreadable") in listed
    assert len(listed) == 3


def test_a_collection_is_evaluated_leave_one_out(space: Space, tmp_path: Path) -> None:
    manifest = tmp_path / "own.csv"
    photo = space.folder / "references" / "000001.jpg"
    manifest.write_text(f"uri,lat,lon\n{photo},10,10\n")
    nearest = Parameters(method="nearest", k=1)
    with_itself = space.gs.evaluate(manifest, parameters=nearest, exclude_self=False)
    without = space.gs.evaluate(manifest, parameters=nearest)
    with space.gs.database.connection() as connection:
        found = [
            connection.execute(
                "SELECT n.uri FROM geosearch.localization_neighbours n "
                "JOIN geosearch.localizations l ON l.id = n.localization_id "
                "WHERE l.evaluation_id = %s",
                (key,),
            ).fetchone()
            for key in (with_itself.id, without.id)
        ]
    assert found[0] == (str(photo),)
    assert found[1] is not None
    assert found[1] != (str(photo),)


@pytest.mark.parametrize("exclude_self", [True, False])
def test_exact_evaluation_in_one_pass_gives_the_answers_of_searches_alone(
    space: Space, tmp_path: Path, exclude_self: bool
) -> None:
    photos = sorted((space.folder / "references").glob("*.jpg"))[:8]
    rows = [f"{photo},1,2" for photo in [*photos, tmp_path / "missing.jpg"]]
    manifest = tmp_path / "own.csv"
    manifest.write_text("\n".join(["uri,lat,lon", *rows]))
    result = space.gs.evaluate(
        manifest, parameters=Parameters(k=12, exact=True), exclude_self=exclude_self
    )
    assert result.accuracy.n == 8
    assert result.failed == {"unreadable": 1}
    keys = fetch(
        space.gs.database,
        "SELECT id, photo_uri FROM geosearch.localizations WHERE evaluation_id = %s ORDER BY id",
        result.id,
    )
    assert [uri for _, uri in keys] == [str(photo) for photo in photos]
    for key, uri in keys:
        recorded = space.gs.load(key)
        alone = space.gs.localize(
            uri, parameters=Parameters(k=12, exact=True), exclude_self=exclude_self
        )
        np.testing.assert_array_equal(recorded.neighbours.photo_id, alone.neighbours.photo_id)
        np.testing.assert_array_equal(recorded.neighbours.distance, alone.neighbours.distance)
        assert recorded.neighbours.uri == alone.neighbours.uri
        np.testing.assert_array_equal(recorded.neighbours.lat, alone.neighbours.lat)
        np.testing.assert_array_equal(recorded.neighbours.lon, alone.neighbours.lon)
        assert (recorded.lat, recorded.lon) == (alone.lat, alone.lon)
        assert recorded.where == alone.where
        assert recorded.plan == alone.plan
        assert recorded.plan["matches"] == REFERENCES - exclude_self
        assert space.gs.reproduce(key).same


def test_many_photos_are_answered_in_their_order_at_once(space: Space, tmp_path: Path) -> None:
    photos = sorted((space.folder / "references").glob("*.jpg"))[:40]
    missing = tmp_path / "missing.jpg"
    asked = [*photos[:25], missing, *photos[25:]]
    answers = list(space.gs.localize_many(asked, parameters=Parameters(method="nearest", k=1)))
    assert [answer.photo for answer in answers] == [str(photo) for photo in asked]
    assert isinstance(answers[25], Failure)
    keys = []
    for answer in answers:
        if isinstance(answer, Failure):
            continue
        assert answer.neighbours.uri == (answer.photo,)
        assert answer.id is not None
        assert space.gs.load(answer.id).photo == answer.photo
        keys.append(answer.id)
    assert keys == sorted(keys)


def test_an_empty_manifest_is_an_error(space: Space, tmp_path: Path) -> None:
    manifest = tmp_path / "queries.csv"
    manifest.write_text("uri,lat,lon\n")
    with pytest.raises(InputError, match="no query has a position"):
        space.gs.evaluate(manifest)


@pytest.mark.parametrize("method", ["density", "nearest"])
def test_a_picture_that_tells_nothing_is_never_confident(
    space: Space, command: CommandLine, tmp_path: Path, method: str
) -> None:
    grey = tmp_path / "grey.jpg"
    Image.new("RGB", (300, 200), (128, 128, 128)).save(grey)
    answer = space.gs.localize(grey, method=method)
    assert answer.query.low_information == "blank"
    assert answer.confident is False
    assert answer.id is not None
    assert space.gs.load(answer.id).to_json() == answer.to_json()
    assert space.gs.reproduce(answer.id).same
    assert answer.to_json()["low_information"] == "blank"
    assert "too little information" in command("localize", grey).out
    assert "too little information" in command("show", answer.id).out
    row = fetch(space.gs.database, "SELECT low_information, confident FROM geosearch.gis_estimates")
    assert ("blank", False) in row
    seen = space.gs.localize(space.queries[0].uri)
    assert seen.to_json()["low_information"] is seen.confident is None


def test_the_bandwidth_follows_the_neighbours_and_is_kept(space: Space) -> None:
    answer = space.gs.localize(space.queries[0].uri)
    used = answer.parameters.bandwidth_km
    assert used is not None
    assert 300 < used < 3000  # of 150 views on the whole Earth
    assert answer.id is not None
    assert space.gs.load(answer.id).parameters.bandwidth_km == used
    assert space.gs.reproduce(answer.id).same
    assert space.gs.localize(space.queries[0].uri, bandwidth_km=7).parameters.bandwidth_km == 7


def test_localize_prints_the_documented_json(space: Space, command: CommandLine) -> None:
    ran = command("localize", space.queries[0].uri, "--k", 7, "--near", "0,0,19000", "--json")
    assert ran.code == 0
    printed = ran.json()
    assert printed.keys() >= {
        "localization_id",
        "photo",
        "estimate",
        "method",
        "agreement",
        "radius_km",
        "neighbours",
        "plan",
        "model",
        "elapsed_ms",
    }
    assert printed["estimate"].keys() == {"lat", "lon"}
    assert printed["radius_km"].keys() == {"50", "90"}
    assert printed["radius_km"]["50"] < printed["radius_km"]["90"]
    assert [item["rank"] for item in printed["neighbours"]] == list(range(1, 8))
    assert printed["neighbours"][0].keys() == {
        "rank",
        "photo_id",
        "uri",
        "lat",
        "lon",
        "distance",
        "weight",
    }
    assert sum(item["weight"] for item in printed["neighbours"]) == pytest.approx(1)
    assert printed["plan"].keys() >= {"strategy", "reason", "rows_scanned", "truncated"}
    assert printed["elapsed_ms"].keys() == {"features", "retrieval", "density", "total"}
    assert printed["filter"] == {"near": [0, 0, 19000]}
    assert "near 0.0,0.0,19000.0" in command("show", printed["localization_id"]).out


def test_show_and_reproduce_answer_by_id(space: Space, command: CommandLine) -> None:
    given = command("localize", space.queries[0].uri, "--json").json()
    key = given["localization_id"]
    assert command("show", key, "--json").json() == given
    shown = command("show", key)
    assert Path(given["neighbours"][0]["uri"]).name in shown.out
    again = command("reproduce", key, "--json")
    assert again.code == 0
    assert again.json()["same"]
    missing = command("show", 999_999)
    assert missing.code == NotFoundError.exit_code
    assert "999999" in missing.err


def test_a_bad_photo_is_reported_beside_the_answers(
    space: Space, command: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    ran = command("localize", tmp_path / "bad.jpg", space.queries[0].uri, "--json")
    assert ran.code == 3
    first, second = map(json.loads, ran.out.splitlines())
    assert first["error"]["reason"] == "undecodable"
    assert second["estimate"] is not None


def test_nearest_lists_neighbours_and_verbose_names_the_database(
    space: Space, command: CommandLine
) -> None:
    photo = space.folder / "references" / "000004.jpg"
    ran = command("-v", "nearest", photo, "--k", 3, "--json")
    neighbours = ran.json()["neighbours"]
    assert len(neighbours) == 3
    assert neighbours[0]["uri"] == str(photo)
    assert "database: " in ran.err
    assert "dbname=geosearch_test_" in ran.err


def test_explain_shows_both_plans(space: Space, command: CommandLine) -> None:
    ran = command("explain", space.queries[0].uri, "--k", 5, "--near", "0,0,9000", "--json")
    printed = ran.json()
    assert printed["rows"] == 5
    assert printed["plan"]["strategy"] == "exact"
    assert printed["plan"]["expected_recall"] == 1
    assert printed["plan"]["matches"] == printed["plan"]["rows_scanned"] > 5
    assert any("actual time" in line for line in printed["postgresql"])
    assert "Limit" in command("explain", space.queries[0].uri).out


def test_few_photos_need_no_index(space: Space, command: CommandLine) -> None:
    with space.gs.database.connection() as connection:
        connection.execute("DROP INDEX IF EXISTS geosearch.embeddings_m1_hnsw")
    done = space.gs.index()
    assert not done.needed
    assert done.built is None
    assert command("index", "--json").json() == {"needed": False, "rows": REFERENCES, "asked": 0.98}
    said = command("index").out
    assert "no index is needed yet" in said
    assert said.endswith("next: geosearch localize PHOTO\n")
    assert space.gs.nearest(space.queries[0].uri, 5).plan.reason == "the model has no index"


def test_index_reports_its_recall_and_check_confirms_it(
    space: Space, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosearch.retrieval.recall.CURVE_SAMPLE", 30)
    monkeypatch.setattr("geosearch.retrieval.recall.SWEEP_SAMPLE", 3)
    built = command("index", "--recall", "0.9", "--k", 20, "--force", "--json").json()
    assert built["needed"]
    assert built["rows"] == REFERENCES
    assert {point["ef_search"] for point in built["curve"]} >= {100, 1000}
    assert all(item["complete"] for item in built["checks"])
    checked = command("index", "check", "--json")
    assert checked.code == 0
    assert checked.json()["holds"]
    assert checked.json()["recall"] >= 0.9
    assert "it holds" in command("index", "check").out


def test_a_query_that_cannot_be_read_is_named(
    space: Space, command: CommandLine, tmp_path: Path
) -> None:
    for name in ("nearest", "explain"):
        ran = command(name, tmp_path / "missing.jpg")
        assert ran.code == PhotoRejected.exit_code
        assert "missing.jpg" in "".join(ran.err.split())


def test_evaluate_prints_the_documented_json(space: Space, command: CommandLine) -> None:
    ran = command("evaluate", space.folder / "queries.csv", "--method", "nearest", "--json")
    printed = ran.json()
    assert ran.code == 0
    assert printed["n"] == QUERIES
    assert printed["accuracy"].keys() == {"1", "25", "200", "750", "2500"}
    assert printed["median_km"] > 0
    table = command("evaluate", space.folder / "queries.csv", "--method", "nearest")
    assert "within 2,500 km" in table.out
    assert format_km(printed["mean_km"]) in table.out


def test_a_query_of_another_size_and_mode_is_answered(space: Space, tmp_path: Path) -> None:
    photo = tmp_path / "grey.png"
    Image.effect_noise((640, 200), 60).save(photo)
    assert space.gs.localize(photo).lat is not None


@pytest.mark.system
def test_real_photos_are_localized_leave_one_out(database: Database, shared_data: Path) -> None:
    manifest = shared_data / "photos_open" / "photos.csv"
    gs = Geosearch(database)
    summary = gs.ingest(manifest, collection="open")
    assert summary.added == 434
    assert gs.embed().embedded == 434
    result = gs.evaluate(manifest, parameters=Parameters(method="nearest", k=10), within_km=(1, 25))
    assert result.accuracy.n == 434
    assert not result.failed
    with database.connection() as connection:
        own = connection.execute(
            "SELECT count(*) FROM geosearch.localizations l "
            "JOIN geosearch.localization_neighbours n ON n.localization_id = l.id "
            "JOIN geosearch.photos p ON p.id = n.photo_id "
            "WHERE p.sha256 = l.photo_sha256"
        ).fetchone()
    assert own == (0,)
    # Most photos show a site that others show too; what is left are lone photos of other places.
    assert result.accuracy.within[1] > 0.75
