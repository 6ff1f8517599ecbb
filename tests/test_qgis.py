"""QGIS: projects and styles that it opens, as files and from the database.

Tests with QGIS itself run where its Python is installed (Debian: python3-qgis), and skip elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from psycopg.conninfo import conninfo_to_dict

from geosearch.borders import load_borders
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.inserting import insert
from geosearch.density.density_cells import DensityCells
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.export.surface import density_of
from geosearch.gis.data_source import connection_uri, layer_uri
from geosearch.gis.density_layer import refresh_density
from geosearch.gis.map_layers import THEMES
from geosearch.gis.qgis_database import install_styles, make_project, save_project
from geosearch.layers.distance_colours import COLOURS, FARTHEST, class_names
from geosearch.layers.layer import LAYERS, PHOTOS
from geosearch.layers.selection import Selection
from geosearch.layers.styles import read_style
from geosearch.localization.answer_rows import save
from geosearch.thresholds import WORLD_KM
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation
from tests.rows import add_photos

ROOT = Path(__file__).parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"
BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg")
#: One country: a rectangle round Berlin.
BORDERS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"NAME": "Rectangle", "ISO_A2": "RE", "ISO_A3": "REC", "TYPE": "Country"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[5, 47], [16, 47], [16, 55], [5, 55], [5, 47]]],
            },
        }
    ],
}
#: Cells of the densities of Berlin and Fiji.
CELLS = [len(DensityCells.of(density_of(answer))) for answer in (BERLIN, FIJI)]
#: Features of each layer of the fixture `filled` in a project of everything.
FEATURES = {
    "estimates": 2,
    "truths": 1,
    "neighbours": 5,
    "lines": 5,
    "regions": 4,
    "density": sum(CELLS),
    "evaluated": 1,
    "evaluated_truths": 1,
    "errors": 1,
    "evaluated_regions": 2,
    "evaluated_density": CELLS[0],
    "unlocated": 1,
    "audit": 1,
    "duplicates": 1,
    "photos": 4,
    "coverage_56": 3,
    "coverage_222": 3,
    "borders": 1,
}


def has_qgis() -> bool:
    try:
        probe = subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], capture_output=True)
    except OSError:
        return False
    return probe.returncode == 0


needs_qgis = pytest.mark.skipif(not has_qgis(), reason="QGIS is not installed")


@pytest.fixture(scope="module")
def filled(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Photos, own answers, an evaluation and a country."""
    file = tmp_path_factory.mktemp("borders") / "borders.json"
    file.write_text(json.dumps(BORDERS))
    load_borders(module_database, file)
    with module_database.connection() as connection:
        photos = add_photos(connection, [46.9, 46.9, 52.5, -17.0], [8.0, 8.0, 13.4, 179.0])
        found = {"photo_id": photos[0].photo_id, "other_id": photos[2].photo_id}
        insert(connection, "duplicates", found | {"same_bytes": True})
        connection.execute(
            """
            INSERT INTO geosearch.audits (
                photo_id, photo_uri, stated, probability, level, reason, mend, filter, parameters,
                software
            )
            SELECT id, uri, geom, 0, 1, 'swapped', ST_FlipCoordinates(geom), '{}', '{}', '{}'
            FROM geosearch.photos ORDER BY id LIMIT 1
            """
        )
        add_photos(connection, [0.0], [0.0], prefix="unlocated")
        connection.execute(
            "UPDATE geosearch.all_photos SET geom = NULL, position_source = NULL, sha256 = %s "
            "WHERE uri LIKE '/unlocated/%%'",
            (BERLIN.query.sha256,),
        )
        refresh_coverage(connection)
        save(connection, [BERLIN, FIJI])
    evaluation = add_evaluation(module_database)
    with module_database.connection() as connection:
        save(connection, [BERLIN], evaluation)
    refresh_density(module_database, Selection())
    return module_database


def qgs(file: Path) -> ElementTree.Element:
    with zipfile.ZipFile(file) as archive:
        (name,) = archive.namelist()
        assert name.endswith(".qgs")
        return ElementTree.fromstring(archive.read(name))


def sources(project: ElementTree.Element) -> dict[str, str]:
    """Data source by layer, without the prefix of the id."""
    return {
        (layer.findtext("id") or "").removeprefix("geosearch_"): layer.findtext("datasource") or ""
        for layer in project.iterfind("projectlayers/maplayer")
    }


def test_a_connection_is_quoted_and_loses_its_passwords() -> None:
    assert (
        connection_uri("postgresql://ada:s%27ecret@db.example.org:5433/ph'otos?sslmode=require")
        == r"dbname='ph\'otos' host='db.example.org' port='5433' user='ada' sslmode='require'"
    )
    assert connection_uri("service=photos sslpassword=secret") == "service='photos'"
    assert connection_uri("postgresql://ada@/p?host=/run/pg") == (
        "dbname='p' host='/run/pg' user='ada'"
    )
    with pytest.raises(InputError, match="malformed"):
        connection_uri("secret")


def test_a_layer_names_its_key_and_its_condition() -> None:
    uri = layer_uri("service='x'", PHOTOS, "\"author\" = 'ada'")
    assert uri == (
        "service='x' key='id' estimatedmetadata=false srid=4326 type=Point "
        'checkPrimaryKeyUnicity=\'0\' table="geosearch"."gis_photos" (geom) sql="author" = \'ada\''
    )


def test_every_layer_of_the_project_has_rows_to_show(filled: Database) -> None:
    with filled.connection() as connection:
        project = make_project(connection, "service='x'", Selection())
        counts = {}
        for group in project.groups:
            for layer in group.layers:
                view, where = layer.source.view, layer.where or "true"
                row = connection.execute(
                    f"SELECT count(*) FROM geosearch.{view} WHERE {where}"  # noqa: S608
                ).fetchone()
                assert row is not None
                counts[layer.id] = row[0]
    assert counts == FEATURES
    assert [(group.title, group.shown) for group in project.groups] == [
        ("Answers", True),
        ("Evaluations", False),
        ("Photos", True),
        ("To be decided on", False),
        ("Doubts", False),
        ("Background", True),
    ]


def test_scales_follow_one_another_without_a_gap(filled: Database) -> None:
    with filled.connection() as connection:
        project = make_project(connection, "", Selection())
    (photos,) = (group.layers for group in project.groups if group.title == "Photos")
    limits = [(layer.closest, layer.farthest) for layer in photos]
    assert limits == [(None, 5_000_000), (5_000_000, 25_000_000), (25_000_000, None)]


def test_a_selection_filters_the_answers(filled: Database) -> None:
    with filled.connection() as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM geosearch.localizations")]
        (evaluation,) = connection.execute("SELECT max(id) FROM geosearch.evaluations").fetchone()  # type: ignore[misc]
        found = {
            chosen: sources(ElementTree.fromstring(make_project(connection, "", chosen).document()))
            for chosen in (
                Selection(ids=(ids[0],)),
                Selection(last=1),
                Selection(evaluation=evaluation),
            )
        }
        with pytest.raises(NotFoundError, match="no answer 999"):
            make_project(connection, "", Selection(ids=(999,)))
    by_id, by_last, by_evaluation = (
        {name: uri.partition(" sql=")[2] for name, uri in each.items()} for each in found.values()
    )
    assert (by_id["estimates"], by_id["lines"]) == (
        f'"id" IN ({ids[0]})',
        f'"localization_id" IN ({ids[0]})',
    )
    assert "LIMIT 1)" in by_last["regions"]
    assert by_evaluation["errors"] == f'"evaluation_id" = {evaluation}'
    assert by_id["density"] == by_id["regions"] == by_id["lines"]
    assert by_evaluation["evaluated_density"] == by_evaluation["errors"]
    assert "errors" not in by_id
    assert "estimates" not in by_evaluation


def test_it_opens_at_the_answers_else_at_the_photos_else_at_the_world(
    filled: Database, database: Database
) -> None:
    with filled.connection() as connection:
        west, south, east, north = make_project(connection, "", Selection(ids=(1,))).view
    assert west < 13.4 < east
    assert south < 52.5 < north
    assert east - west < 60
    with database.connection() as connection:
        assert make_project(connection, "", Selection()).view == (-180, -90, 180, 90)
        add_photos(connection, [46.9], [8.0])
        refresh_coverage(connection)
        west, south, east, north = make_project(connection, "", Selection()).view
    assert -180 < west < 8.0 < east < 180


def test_the_command_writes_the_file_and_saves_the_project(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(filled.url, capsys)
    file = tmp_path / "x.qgz"
    ran = run("export", "qgis", "-o", file, "--save", "all", "--reach", "service=photos", "--json")
    written = ran.json()
    assert ran.code == 0
    assert (written["layers"], written["source"]) == (18, "service='photos'")
    assert (written["saved"], written["output"]) == ("all", str(file))
    assert set(written["styles"]) == {layer.view for layer in LAYERS.values()}
    with filled.connection() as connection:
        row = connection.execute(
            "SELECT content, metadata FROM geosearch.qgis_projects WHERE name = 'all'"
        ).fetchone()
    assert row is not None
    assert row[0] == file.read_bytes()
    assert set(row[1]) == {"last_modified_time", "last_modified_user"}
    found = sources(qgs(file))
    assert all(
        uri.startswith("service='photos' ") for name, uri in found.items() if name in FEATURES
    )
    assert set(found) == {*FEATURES, "openstreetmap"}


def test_the_command_says_what_is_missing(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(database.url, capsys)
    nothing = run("export", "qgis")
    assert (nothing.code, "Give -o FILE.qgz" in nothing.err) == (InputError.exit_code, True)
    wrong = run("export", "qgis", "-o", tmp_path / "x.gpkg")
    assert wrong.code == InputError.exit_code
    bare = run("export", "qgis", "-o", tmp_path / "x.qgz")
    assert bare.code == 0
    assert set(sources(qgs(tmp_path / "x.qgz"))) == {"borders", "openstreetmap"}


def test_the_project_says_where_its_layers_come_from(filled: Database) -> None:
    with filled.connection() as connection:
        project = make_project(connection, "", Selection())
    assert project.abstracts["estimates"].startswith(
        "Answers, at the estimated positions of their photos. 2 answers of 20"
    )
    assert project.abstracts["regions"].endswith(
        "Model: test/model. Method: density. Calibration: none. Photos searched: all."
    )
    assert "1 answer of 20" in project.abstracts["evaluated_density"]
    assert "test: 4 photos, as counted on 20" in project.abstracts["photos"]
    assert project.abstracts["borders"] == LAYERS["borders"].about
    layer = ElementTree.fromstring(project.document()).find("projectlayers/maplayer")
    assert layer is not None
    assert layer.findtext("abstract") == project.abstracts["estimates"]
    assert layer.findtext("resourceMetadata/abstract") == project.abstracts["estimates"]


def test_columns_are_called_by_what_is_said_of_them(filled: Database) -> None:
    with filled.connection() as connection:
        aliases = make_project(connection, "", Selection()).aliases
    assert aliases["gis_photos"]["taken_at"] == "When taken"
    assert aliases["gis_photos"]["position_source"] == "Source of the position"
    assert aliases["gis_estimates"]["error_km"] == "Great-circle distance to the truth, kilometres"
    for view, names in aliases.items():
        assert len(set(names.values())) == len(names), view
        assert max(map(len, names.values())) <= 85, view


def test_the_regions_of_the_latest_answers_are_filled(filled: Database) -> None:
    with filled.connection() as connection:
        own = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM geosearch.localizations WHERE evaluation_id IS NULL "
                "ORDER BY id DESC"
            )
        ]
        every = make_project(connection, "", Selection())
        one = make_project(connection, "", Selection(ids=(own[1],)))
        none = make_project(connection, "", Selection(evaluation=1))
    assert (every.filled, one.filled, none.filled) == (tuple(own), (own[1],), ())
    properties = ElementTree.fromstring(every.document()).find("properties/Variables")
    assert properties is not None
    assert [each.text for each in properties.iter("value")] == [
        "geosearch_answers",
        f"{own[0]},{own[1]}",
    ]


def test_names_of_strangers_do_not_break_the_project(database: Database) -> None:
    with database.connection() as connection:
        add_photos(connection, [46.9], [8.0], collection="a\x1b[2J<b>&\u202e")
        refresh_coverage(connection)
        document = make_project(connection, "", Selection()).document()
    (bookmark,) = ElementTree.fromstring(document).iterfind("Bookmarks/Bookmark")
    assert bookmark.get("name") == r"a\x1b[2J<b>&\u202e"


def test_colours_of_distances_are_those_of_pictures() -> None:
    rules = ElementTree.fromstring(read_style("estimates"))
    colours = {
        symbol.get("name"): option.get("value")
        for symbol in rules.iterfind("renderer-v2/symbols/symbol")
        for option in symbol.iterfind("layer/Option/Option[@name='color']")
    }
    drawn = [to_hex(*map(int, (colours[str(n)] or "").split(",")[:3])) for n in range(6)]
    assert drawn == [*COLOURS, FARTHEST]
    labels = [rule.get("label") for rule in rules.iterfind("renderer-v2/rules/rule")]
    assert labels == [
        *(f"{name} off" for name in class_names(WORLD_KM)),
        "neither truth nor calibration",
    ]


def to_hex(red: int, green: int, blue: int) -> str:
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_an_estimate_says_within_what_distance_it_probably_is(database: Database) -> None:
    with database.connection() as connection:
        save(connection, [BERLIN, FIJI])
        set_odds = (
            "UPDATE geosearch.all_localizations SET probability_within_km = %s WHERE photo_uri = %s"
        )
        connection.execute(set_odds, ('{"2500": 0.9, "25": 0.2, "200": 0.5}', "/b.jpg"))
        connection.execute(set_odds, ('{"25": 0.2}', "/f.jpg"))
        found = connection.execute(
            "SELECT probable_km FROM geosearch.gis_estimates ORDER BY id"
        ).fetchall()
    assert found == [(200.0,), (None,)]


def styles(database: Database) -> dict[str, tuple[Any, ...]]:
    """View → name, style, whether the default; of ours and of others."""
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT f_table_name || '/' || stylename, styleqml::text, useasdefault "
            "FROM public.layer_styles WHERE f_table_catalog = current_database() "
            "AND f_table_schema = 'geosearch' AND f_geometry_column = 'geom'"
        ).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_styles_are_installed_and_updated(database: Database) -> None:
    with database.connection() as connection:
        first = install_styles(connection)
        connection.execute(
            "UPDATE public.layer_styles SET styleqml = '<old/>', "
            "description = 'The style of geosearch, md5 ' || md5('<old/>') "
            "WHERE f_table_name = 'gis_photos'"
        )
        assert install_styles(connection) == first
    assert first.kept == ()
    assert styles(database) == {
        f"{layer.view}/geosearch": (read_style(name), True) for name, layer in LAYERS.items()
    }


def test_a_users_styles_stay(database: Database) -> None:
    with database.connection() as connection:
        install_styles(connection)
        connection.execute(
            "UPDATE public.layer_styles SET styleqml = '<mine/>' WHERE f_table_name = 'gis_lines'"
        )
        connection.execute("DELETE FROM public.layer_styles WHERE f_table_name = 'gis_photos'")
        connection.execute(
            "INSERT INTO public.layer_styles (f_table_catalog, f_table_schema, f_table_name, "
            "f_geometry_column, stylename, styleqml, useasdefault) VALUES (current_database(), "
            "'geosearch', 'gis_photos', 'geom', 'red', '<red/>', true)"
        )
        again = install_styles(connection)
    assert again.kept == ("gis_lines",)
    found = styles(database)
    assert found["gis_lines/geosearch"] == ("<mine/>", True)
    assert found["gis_photos/red"] == ("<red/>", True)
    assert found["gis_photos/geosearch"] == (read_style("photos"), False)


def test_readers_read_the_styles_whichever_was_made_first(database: Database) -> None:
    readable = "SELECT has_table_privilege('geosearch_reader', 'public.layer_styles', 'SELECT')"
    with database.connection() as connection:
        install_styles(connection)
        assert connection.execute(readable).fetchone() == (True,)
        # As it stands where there were no roles yet, or where QGIS made the table.
        connection.execute("REVOKE ALL ON public.layer_styles FROM geosearch_reader")
        connection.execute("SELECT geosearch.create_roles(), geosearch.grant_rights()")
        assert connection.execute(readable).fetchone() == (True,)


def test_who_may_not_store_styles_is_told(database: Database) -> None:
    with database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL ROLE pg_monitor")
        with pytest.raises(DatabaseError, match="styles cannot be stored: permission") as raised:
            install_styles(connection)
    assert "write the project to a file" in str(raised.value)


_LOOK = """
import json, sys
from qgis.core import (
    QgsApplication, QgsLayerTreeModel, QgsLayoutItem, QgsProject, QgsVectorLayer
)
application = QgsApplication([], False)
application.initQgis()
seen = {}
project = QgsProject.instance()
for uri in json.loads(sys.argv[1]):
    read = project.read(uri)
    themes = project.mapThemeCollection()
    shown = {}
    for name in themes.mapThemes():
        themes.applyTheme(name, project.layerTreeRoot(), QgsLayerTreeModel(project.layerTreeRoot()))
        leaves = project.layerTreeRoot().findLayers()
        shown[name] = sorted(leaf.layerId() for leaf in leaves if leaf.isVisible())
    vectors = [each for each in project.mapLayers().values() if isinstance(each, QgsVectorLayer)]
    (layout,) = project.layoutManager().printLayouts()
    seen[uri] = {
        "read": read, "crs": project.crs().authid(), "themes": shown,
        "bookmarks": [
            [each.group(), each.extent().width()] for each in project.bookmarkManager().bookmarks()
        ],
        "layout": sorted(i.id() for i in layout.items() if isinstance(i, QgsLayoutItem)),
        "scale": layout.referenceMap().scale(),
        "counts": {each.id(): each.featureCount() for each in vectors},
        "aliases": {each.id(): [f.alias() for f in each.fields()] for each in vectors},
        "timed": [e.id() for e in vectors if e.temporalProperties().isActive()],
        "period": project.timeSettings().temporalRange().begin().date().year(),
        "layers": {
        layer.id(): [layer.isValid(), sum(1 for _ in layer.getFeatures()), layer.renderer().type(),
            layer.labelsEnabled(), "[%" in layer.mapTipTemplate(), layer.crs().authid()]
        for layer in project.mapLayers().values() if isinstance(layer, QgsVectorLayer)
    }}
added = {}
for view, uri in json.loads(sys.argv[2]).items():
    layer = QgsVectorLayer(uri, view, "postgres")
    added[view] = [layer.isValid(), layer.renderer().type(), "[%" in layer.mapTipTemplate()]
print(json.dumps([seen, added]))
project.clear()
application.exitQgis()
"""

RENDERERS = {
    "estimates": "RuleRenderer",
    "truths": "singleSymbol",
    "neighbours": "singleSymbol",
    "lines": "singleSymbol",
    "regions": "RuleRenderer",
    "density": "graduatedSymbol",
    "errors": "graduatedSymbol",
    "unlocated": "categorizedSymbol",
    "audit": "singleSymbol",
    "duplicates": "singleSymbol",
    "photos": "pointCluster",
    "coverage": "graduatedSymbol",
    "geocells": "graduatedSymbol",
    "borders": "singleSymbol",
}


@pytest.fixture(scope="module")
def environment(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For QGIS: no window, and the database as a service of libpq, as users name theirs."""
    folder = tmp_path_factory.mktemp("qgis")
    given = conninfo_to_dict(filled.url)
    lines = [f"{name}={value}" for name, value in given.items()]
    (folder / "services").write_text("\n".join(["[geosearch]", *lines, ""]))
    return {
        "QT_QPA_PLATFORM": "offscreen",
        "PATH": "/usr/bin",
        "HOME": str(folder),
        "PGSERVICEFILE": str(folder / "services"),
    }


@pytest.fixture(scope="module")
def project(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of everything, in a file and in the database."""
    file = tmp_path_factory.mktemp("project") / "geosearch.qgz"
    with filled.connection() as connection:
        made = make_project(connection, "service='geosearch'", Selection())
        save_project(connection, "geosearch", made)
        install_styles(connection)
    file.write_bytes(made.archive())
    return file


@pytest.mark.system
@needs_qgis
def test_qgis_opens_the_project_and_styles_what_is_added(
    project: Path, environment: dict[str, str]
) -> None:
    stored = "postgresql:?service=geosearch&schema=geosearch&project=geosearch"
    views = {layer.view: layer_uri("service='geosearch'", layer) for layer in LAYERS.values()}
    projects = json.dumps([str(project), stored])
    ran = subprocess.run(
        [SYSTEM_PYTHON, "-c", _LOOK, projects, json.dumps(views)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seen, added = json.loads(ran.stdout.splitlines()[-1])
    for found in seen.values():
        assert (found["read"], found["crs"]) == (True, "EPSG:8857")
        layers = {key.removeprefix("geosearch_"): value for key, value in found["layers"].items()}
        assert {key: value[0] for key, value in layers.items()} == dict.fromkeys([*FEATURES], True)
        assert {key: value[1] for key, value in layers.items()} == FEATURES
        for key, (_, _, renderer, labels, tips, crs) in layers.items():
            style = "estimates" if key == "evaluated" else key.removeprefix("evaluated_")
            assert renderer == RENDERERS[style.partition("_")[0]], key
            assert labels == (key in ("estimates", "borders")), key
            assert (tips, crs) == (True, "EPSG:4326"), key
        assert {key.removeprefix("geosearch_"): n for key, n in found["counts"].items()} == FEATURES
        assert all(all(names) for names in found["aliases"].values())
        assert set(found["themes"]) == set(THEMES)
        assert found["themes"]["errors"] == [
            f"geosearch_{key}" for key in ("borders", *sorted(THEMES["errors"]))
        ]
        assert [group for group, _ in found["bookmarks"]] == [
            "Answers", "Answers", "Answers", "Evaluations", "Collections",
        ]  # fmt: skip
        assert min(width for _, width in found["bookmarks"]) > 0
        assert found["layout"] == ["attribution", "legend", "map", "page", "scale bar", "title"]
        assert 1e6 < found["scale"] < 1e9
        assert sorted(found["timed"]) == [
            f"geosearch_{key}"
            for key in ("estimates", "evaluated", "evaluated_truths", "photos", "truths")
        ]
        assert found["period"] > 2000
    assert len(seen) == 2
    assert added == {layer.view: [True, RENDERERS[name], True] for name, layer in LAYERS.items()}


def drawn(project: Path, environment: dict[str, str], picture: Path, *options: str) -> Any:
    """The pixels of a picture of the country and what is round it, (n, 3)."""
    ran = subprocess.run(
        [SYSTEM_PYTHON, ROOT / "scripts/qgis-picture", project, picture, *options],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    if "--print" not in options:
        assert json.loads(ran.stdout.splitlines()[-1])["errors"] == []
    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB")).reshape(-1, 3).astype(int)


def share(pixels: Any, *colour: int) -> float:
    return float((np.abs(pixels - colour).max(axis=1) < 12).mean())


def orange(pixels: Any) -> float:
    red, _, blue = pixels.T
    return float((red - blue > 40).mean())


@pytest.mark.system
@needs_qgis
def test_qgis_draws_the_map(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    pixels = drawn(project, environment, tmp_path / "map.png", "--bounds", "3,46,18,56")
    assert len(pixels) == 1200 * 750
    assert share(pixels, 232, 237, 241) > 0.1  # the sea
    assert share(pixels, 245, 243, 238) > 0.1  # the country
    assert share(pixels, 251, 146, 60) > 2e-5  # the estimate, 750 to 2,500 km from the truth
    assert share(pixels, 30, 36, 48) > 1e-5  # its label
    assert orange(pixels) > 0.01  # the regions, orange over the country


@pytest.mark.system
@needs_qgis
def test_qgis_fills_the_regions_of_chosen_answers_only(
    project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def picture(bounds: str, theme: str, *more: str) -> Any:
        options = (f"--bounds={bounds}", "--theme", theme, *more)
        return drawn(project, environment, tmp_path / "map.png", *options)

    near, far = "3,46,18,56", "-60,-20,90,80"
    assert orange(picture(near, "answers")) > 0.03
    outlined, without = (picture(near, "errors", *more) for more in ((), ("--hide", "Regions")))
    assert 1e-4 < (outlined != without).any(axis=1).mean() < 0.01
    # Far away there are not even outlines.
    assert (picture(far, "errors") == picture(far, "errors", "--hide", "Regions")).all()


@pytest.mark.system
@needs_qgis
def test_qgis_prints_the_page(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    pixels = drawn(project, environment, tmp_path / "page.png", "--print", "--theme", "errors")
    assert share(pixels, 232, 237, 241) > 0.2  # the sea, in the map
    assert share(pixels, 255, 255, 255) > 0.15  # the paper round it
    assert share(pixels, 251, 146, 60) > 1e-5  # an estimate, there and in the legend
