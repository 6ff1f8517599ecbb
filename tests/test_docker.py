"""The Docker set-up hangs together. There may be no Docker here: the files are read, not run."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
UNITS = {"mb": 2**20, "gb": 2**30}


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def instructions(file: Path) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE))
    return [line for line in joined.splitlines() if line]


def copied(file: Path) -> list[str]:
    """What a Dockerfile copies from the checkout."""
    copies = [line.split()[1:-1] for line in instructions(file) if line.startswith("COPY")]
    return [source for sources in copies if "--from" not in sources[0] for source in sources]


def bytes_of(text: str) -> int:
    match = re.fullmatch(r"(\d+)([mg]b)", text.lower())
    assert match is not None
    return int(match[1]) * UNITS[match[2]]


def server_options(services: Any) -> dict[str, str]:
    return dict(part.split("=") for part in services["db"]["command"] if "=" in part)


def test_every_service_is_built_from_a_file_that_exists(services: Any) -> None:
    for service in services.values():
        assert (ROOT / service["build"]["dockerfile"]) in DOCKERFILES


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_everything_copied_exists_and_is_not_ignored(dockerfile: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    for source in copied(dockerfile):
        assert (ROOT / source).exists()
        assert f"!{source}" in lines


def test_nothing_else_reaches_the_build(services: Any) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed == {source for file in DOCKERFILES for source in copied(file)}
    assert not [name for name in (".git", ".venv", "demo") if fnmatch.filter(allowed, name)]


def test_the_database_is_postgresql_17_with_a_recent_pgvector() -> None:
    lines = instructions(ROOT / "docker" / "postgres.Dockerfile")
    assert re.fullmatch(r"FROM postgres:17-\w+", lines[0])
    minimum = next(line for line in lines if line.startswith("ARG MINIMUM_PGVECTOR="))
    assert tuple(map(int, minimum.split("=")[1].split("."))) >= (0, 8, 2)
    (build,) = (line for line in lines if line.startswith("RUN"))
    assert "postgresql-17-postgis-3" in build
    assert 'dpkg --compare-versions "$installed" ge "$MINIMUM_PGVECTOR"' in build


def test_index_builds_fit_the_shared_memory(services: Any) -> None:
    wanted = bytes_of(server_options(services)["maintenance_work_mem"])
    assert bytes_of(services["db"]["shm_size"]) > wanted


def test_the_database_is_reachable_from_this_machine_only(services: Any) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services["db"]["ports"])


def test_the_application_waits_for_the_database_then_upgrades_then_runs_the_demo(
    services: Any,
) -> None:
    assert "pg_isready" in services["db"]["healthcheck"]["test"]
    assert services["geosearch"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["geosearch"]["command"] == ["geosearch", "db", "upgrade"]
    waits = services["demo"]["depends_on"]
    assert waits == {"geosearch": {"condition": "service_completed_successfully"}}
    (script,) = services["demo"]["command"]
    assert (ROOT / script).is_file()
    assert services["demo"]["environment"]["GEOSEARCH_DEMO_DATABASE"] == "keep"
    assert script in copied(ROOT / "docker" / "app.Dockerfile")


def test_the_page_is_served_to_who_logs_in(services: Any) -> None:
    web = services["web"]
    assert web["command"] == ["geosearch", "serve", "--host", "0.0.0.0", "--auth"]
    assert all(port.startswith("127.0.0.1:") and port.endswith(":8000") for port in web["ports"])
    assert web["depends_on"] == {"geosearch": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("state", ["ready", "warming", "failed"])
def test_the_server_is_healthy_when_it_is_ready(services: Any, state: str) -> None:
    class Status(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/v1/status"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"state": state, "message": "no such model"}).encode())

    kind, *program, script = services["web"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", ["python", "-c"])
    with HTTPServer(("127.0.0.1", 0), Status) as server:
        Thread(target=server.handle_request).start()
        script = script.replace(":8000/", f":{server.server_port}/")
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == (state != "ready")
    assert (state in ran.stderr) == (state != "ready")


def test_the_application_has_the_databases_credentials(services: Any) -> None:
    of_database = services["db"]["environment"]
    user, name = of_database["POSTGRES_USER"], of_database["POSTGRES_DB"]
    password = of_database["POSTGRES_PASSWORD"]
    for service in ("geosearch", "demo", "web"):
        url = services[service]["environment"]["GEOSEARCH_DATABASE_URL"]
        assert url == f"postgresql://{user}:{password}@db:5432/{name}"


def test_the_application_is_installed_with_pinned_versions_and_runs_as_no_root() -> None:
    lines = instructions(ROOT / "docker" / "app.Dockerfile")
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all(re.search(r" -c (/tmp/)?constraints\.txt ", line) for line in installs)
    users = [index for index, line in enumerate(lines) if line.startswith("USER")]
    assert lines[users[-1]] == "USER geosearch"
    assert not [line for line in lines[users[-1] :] if line.startswith("RUN")]
    assert [line for line in lines if line.startswith("HEALTHCHECK")]


def test_the_application_knows_the_extras_it_was_built_with() -> None:
    lines = instructions(ROOT / "docker" / "app.Dockerfile")
    known = ("ARG EXTRAS=torch,pictures,fast,heic,gis,s3,web", "ENV GEOSEARCH_IMAGE_EXTRAS=$EXTRAS")
    (install,) = (line for line in lines if "$wheel[$EXTRAS]" in line)
    final = len(lines) - 1 - next(n for n, line in enumerate(lines[::-1]) if line[:4] == "FROM")
    assert all(final < lines.index(line) < lines.index(install) for line in known)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    built = known[0].partition("=")[2].split(",")
    assert set(built) <= set(extras["optional-dependencies"])


def test_the_demo_keeps_its_answers_and_the_database_its_data(services: Any) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    assert set(declared) == {"database", "demo"}
    assert services["db"]["volumes"] == ["database:/var/lib/postgresql/data"]
    assert services["demo"]["volumes"] == ["demo:/srv/geosearch/demo"]


def test_constraints_pin_every_requirement_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[^ +]+", pin) for pin in pins)
    names = [pin.split("==")[0] for pin in pins]
    assert names == sorted(set(names))
    project = (ROOT / "pyproject.toml").read_text()
    required = re.findall(r'^ *"([A-Za-z0-9-]+)(?:\[[a-z,]+\])?[>=]=', project, re.MULTILINE)
    assert len(required) > 20
    assert {name.lower() for name in required} <= set(names)
