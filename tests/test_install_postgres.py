"""scripts/install-postgres: what it would run, on machines played by stub programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.test_binaries import install

SCRIPT = Path(__file__).parent.parent / "scripts" / "install-postgres"
OS_RELEASE = Path("/etc/os-release")
PROGRAMS = """
    awk bash cat chmod dirname env head id mkdir mktemp printf rm sed sh sort tee tr tail
"""

on_debian = pytest.mark.skipif(
    not OS_RELEASE.exists() or "debian" not in OS_RELEASE.read_text(),
    reason="reads this machine's /etc/os-release",
)


class Machine:
    """A PATH of the usual programs and stubs; no PostgreSQL."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "path"
        self.path.mkdir()
        for name in PROGRAMS.split():
            found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
            (self.path / name).symlink_to(found.stdout.strip())
        self.stub("uname", "echo Linux")
        self.stub("sudo", "exit 1")
        self.stub("dpkg", "exit 1")

    def stub(self, name: str, script: str) -> None:
        program = self.path / name
        # A link to the real program must go first: writing would go through it.
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def apt(self, candidates: dict[str, str], mirror: str = "") -> None:
        """An apt that knows these packages and comes from this mirror."""
        cases = "".join(f"{name}) v={version} ;;\n" for name, version in candidates.items())
        with_postgis = " ".join(name for name in candidates if "postgis" in name)
        self.stub(
            "apt-cache",
            f"""
            case $1 in
                search) printf '%s - PostGIS\\n' {with_postgis} ;;
                policy) v='(none)'; case $2 in {cases} esac; echo "$2:"; echo "  Candidate: $v" ;;
            esac""",
        )
        self.stub("apt-get", f"echo '{mirror}'")

    def run(self, *arguments: str, chosen: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.path),
            "GEOSEARCH_POSTGRES_BIN": str(chosen or self.root / "none"),
        }
        return subprocess.run(
            [SCRIPT, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def codename() -> str:
    lines = OS_RELEASE.read_text().splitlines()
    return next(line.split("=")[1] for line in lines if line.startswith("VERSION_CODENAME="))


def test_nothing_happens_where_all_is_there(machine: Machine, tmp_path: Path) -> None:
    folder = install(tmp_path / "17")
    (folder / "pg_config").write_text(
        f"#!/bin/sh\n[ $1 = --sharedir ] && echo {tmp_path}/17/share || echo PostgreSQL 17.4\n"
    )
    done = machine.run(chosen=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"install-postgres: nothing to do: {folder} has PostGIS and pgvector\n"


@on_debian
def test_packages_are_taken_where_apt_has_a_recent_pgvector(machine: Machine) -> None:
    machine.apt(
        {
            "postgresql-16": "16.9-1.pgdg",
            "postgresql-16-postgis-3": "3.5.2",
            "postgresql-16-pgvector": "0.8.1-1.pgdg",
            "postgresql-17": "17.5-1.pgdg",
            "postgresql-17-postgis-3": "3.5.2",
            "postgresql-17-pgvector": "0.8.1-1.pgdg",
            "postgresql-9-postgis-3": "3.0",
        }
    )
    done = machine.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        "apt-get install --yes --quiet --no-install-recommends --no-upgrade "
        "postgresql-17 postgresql-17-postgis-3 postgresql-17-pgvector\n"
    ) in done.stdout
    assert "make" not in done.stdout


@on_debian
@pytest.mark.parametrize("packaged", [{}, {"postgresql-15-pgvector": "0.6.0-1"}])
@pytest.mark.parametrize(
    ("origin", "suite", "component", "keyring"),
    [
        ("Debian", "trixie", "main", "debian-archive-keyring"),
        ("Ubuntu", "resolute", "universe", "ubuntu-archive-keyring"),
    ],
)
def test_pgvector_is_built_from_signed_source_where_apt_has_none(
    machine: Machine,
    packaged: dict[str, str],
    origin: str,
    suite: str,
    component: str,
    keyring: str,
) -> None:
    machine.apt(
        {"postgresql-15": "15.13-0", "postgresql-15-postgis-3": "3.3.2"} | packaged,
        mirror=f"{origin} http://mirror.example/archive main {codename()} stable",
    )
    done = machine.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        f"deb-src [signed-by=/usr/share/keyrings/{keyring}.gpg] "
        f"http://mirror.example/archive {suite} {component}\n"
    ) in done.stdout
    assert "source --download-only pgvector" in done.stdout
    assert "PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config OPTFLAGS=" in done.stdout


@on_debian
def test_a_machine_without_a_known_mirror_is_told_so(machine: Machine) -> None:
    machine.apt(
        {"postgresql-15": "15.13-0", "postgresql-15-postgis-3": "3.3.2"},
        mirror="Debian http://mirror.example/debian main another-release stable",
    )
    done = machine.run("--dry-run")
    assert done.returncode == 2
    assert "apt has no Debian or Ubuntu source" in done.stderr


@on_debian
def test_a_distribution_with_only_old_postgresql_is_told_so(machine: Machine) -> None:
    machine.apt({"postgresql-13": "13.20", "postgresql-13-postgis-3": "3.1"})
    done = machine.run("--dry-run")
    assert done.returncode == 2
    assert "no PostgreSQL 15 or newer with PostGIS" in done.stderr


def test_macos_gets_the_brew_line(machine: Machine) -> None:
    machine.stub("uname", "echo Darwin")
    done = machine.run()
    assert done.returncode == 2
    assert "brew install postgresql@17 postgis pgvector" in done.stderr


def test_a_system_without_apt_gets_a_clear_message(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 2
    assert "this system has no apt-get" in done.stderr


def test_a_stub_leaves_the_real_program_alone(machine: Machine) -> None:
    real = (machine.path / "id").resolve()
    before = real.read_bytes()
    machine.stub("id", "echo 1000")
    assert real.read_bytes() == before
    assert not (machine.path / "id").is_symlink()


@on_debian
def test_a_user_without_sudo_is_told_to_be_root(machine: Machine) -> None:
    machine.apt({})
    machine.stub("id", "echo 1000")
    (machine.path / "sudo").unlink()
    done = machine.run()
    assert done.returncode == 2
    assert "run it as root, or install sudo" in done.stderr


def test_an_unknown_option_shows_the_usage(machine: Machine) -> None:
    done = machine.run("--force")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: scripts/install-postgres")
    assert os.access(SCRIPT, os.X_OK)
