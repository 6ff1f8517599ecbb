"""The wheel carries all it needs: migrations and SQL work without a checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from geosearch.installation import DISTRIBUTION

ROOT = Path(__file__).parent.parent

UPGRADE = """
import sys
from pathlib import Path
import geosearch
from geosearch.database import migrations, schema
from geosearch.database.resources import resource
home, url = Path(sys.argv[1]), sys.argv[2]
for place in (geosearch.__file__, resource("alembic"), resource("sql")):
    assert Path(place).is_relative_to(home), place
migrations.upgrade(url)
import psycopg
with psycopg.connect(url) as connection:
    assert schema.current_revision(connection) == schema.head_revision()
    connection.execute(resource("sql/overview.sql").read_text())
print(schema.head_revision())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True, capture_output=True)
    return folder


def run(
    installed: Path, folder: Path, code: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with the installed wheel, the dependencies, and no checkout."""
    # -S: no .pth files, so the editable install of the checkout is not there to be found.
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    preamble = f"import sys; sys.path += {[str(installed), dependencies]!r}\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", preamble + code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_checkout_is_out_of_sight(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing", tmp_path, "import geosearch.errors")
    assert "No module named 'geosearch.errors'" in done.stderr


def test_an_installed_wheel_upgrades_an_empty_database(
    installed: Path, tmp_path: Path, empty_url: str
) -> None:
    done = run(installed, tmp_path, UPGRADE, str(installed), empty_url)
    assert done.returncode == 0, done.stderr
    versions = ROOT / "alembic" / "versions"
    assert done.stdout.strip() == max(path.name for path in versions.glob("[0-9]*.py"))[:4]


def test_the_command_runs_from_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    code = "sys.argv = ['geosearch', '--version']; from geosearch.cli.app import main; main()"
    done = run(installed, tmp_path, code)
    assert (done.returncode, done.stdout) == (0, "geosearch 0.1.0\n"), done.stderr


def test_the_wheel_carries_every_migration_and_sql_file(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("alembic", "sql"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"geosearch/_bundled/{file.relative_to(ROOT)}" in carried


def test_the_wheel_carries_the_page(wheel: Path) -> None:
    page = ROOT / "geosearch" / "web" / "page"
    built = {str(file.relative_to(ROOT)) for file in page.rglob("*") if file.is_file()}
    if not built:
        pytest.skip("the page is not built")
    assert built <= set(zipfile.ZipFile(wheel).namelist())
    assert "geosearch/web/page/assets/licences.txt" in built


def test_links_of_its_page_lead_to_the_files_of_the_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        page = archive.read(name).decode()
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", page)
    assert len(links) > 20
    for picture, link in links:
        host = "raw.githubusercontent.com" if picture else ("github.com", "semver.org")
        assert urlsplit(link).netloc in host, link


def test_the_wheel_carries_the_package_and_nothing_of_its_surroundings(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    about = f"{DISTRIBUTION.replace('-', '_')}-0.1.0.dist-info"
    assert {name.split("/")[0] for name in names} == {"geosearch", about}
    assert "geosearch/py.typed" in names
    assert f"{about}/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name]
