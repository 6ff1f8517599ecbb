"""Finds PostgreSQL installations that can serve geosearch: recent, with PostGIS and pgvector."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geosearch.database.connection import MINIMUM_POSTGRES
from geosearch.database.schema import EXTENSIONS
from geosearch.errors import ServerError
from geosearch.installation import SCRIPTS
from geosearch.settings import ServerSettings

_PROGRAMS = ("initdb", "postgres")
_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PGDG on Red Hat and SUSE
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL on this machine.

    Attributes
    ----------
    bin
        Folder of `initdb` and `postgres`.
    version
        (major, minor).
    missing
        What it lacks to serve geosearch, in words; empty if it can.
    """

    bin: Path
    version: tuple[int, int]
    missing: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        """The major version, which a data directory is bound to."""
        return self.version[0]

    def __str__(self) -> str:
        verdict = f"lacks {', '.join(self.missing)}" if self.missing else "suitable"
        return f"PostgreSQL {self.version[0]}.{self.version[1]} in {self.bin}: {verdict}"


def suitable(major: int | None = None) -> Installation:
    """The newest installation that can serve geosearch, of version `major` where given.

    Raises
    ------
    ServerError
        There is none; says what was found, what each lacks, and how to install the rest.
    """
    found = installations()
    for installation in found:
        if not installation.missing and major in (None, installation.major):
            return installation
    wanted = f"PostgreSQL {major or f'{MINIMUM_POSTGRES} or newer'} with PostGIS and pgvector"
    seen = "\n".join(f"  {installation}" for installation in found) or "  no PostgreSQL at all"
    raise ServerError(f"no {wanted} on this machine; found:\n{seen}", install_hint(major))


def installations() -> list[Installation]:
    """All PostgreSQL servers on this machine, newest first.

    `GEOSEARCH_POSTGRES_BIN` limits the search to that folder.

    Raises
    ------
    ServerError
        `GEOSEARCH_POSTGRES_BIN` names a folder without a PostgreSQL server.
    """
    chosen = ServerSettings().postgres_bin
    if chosen is None:
        found = [inspected for folder in _candidates() if (inspected := inspect(folder))]
        return sorted(found, key=lambda installation: installation.version, reverse=True)
    inspected = inspect(chosen)
    if inspected is None:
        raise ServerError(
            f"GEOSEARCH_POSTGRES_BIN={chosen} has no PostgreSQL server",
            f"Set it to a folder that has {', '.join(_PROGRAMS)}, or unset it.",
        )
    return [inspected]


def inspect(folder: Path) -> Installation | None:
    """What PostgreSQL is in `folder`; None if there is no complete server."""
    if not all((folder / program).is_file() for program in _PROGRAMS):
        return None
    version = _output(folder / "postgres", "--version")
    match = re.search(r"PostgreSQL\) (\d+)(?:\.(\d+))?", version or "")
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2] or 0)
    return Installation(folder, (major, minor), tuple(_missing(major, _share(folder))))


def install_hint(major: int | None = None) -> str:
    """The line that installs what geosearch needs on this system."""
    version = f"@{major}" if major else ""
    if sys.platform == "darwin":
        return f"Install it: brew install postgresql{version or '@17'} postgis pgvector"
    if shutil.which("apt-get"):
        if major:
            return (
                f"Install it: apt-get install postgresql-{major} postgresql-{major}-postgis-3 "
                f"postgresql-{major}-pgvector"
            )
        script = SCRIPTS / "install-postgres"
        packages = "apt-get install postgresql postgresql-postgis postgresql-pgvector"
        return f"Install it: {script if script.is_file() else packages}"
    names = ", ".join(f"{name} {_dotted(minimum)} or newer" for name, minimum in EXTENSIONS.items())
    return (
        f"Install PostgreSQL {major or MINIMUM_POSTGRES} with the extensions {names}, set "
        "GEOSEARCH_POSTGRES_BIN where it is in an unusual folder, or set GEOSEARCH_DATABASE_URL "
        "to another server."
    )


def _candidates() -> Iterable[Path]:
    folders = [Path(folder) for pattern in _PATTERNS for folder in Path("/").glob(pattern[1:])]
    if (config := shutil.which("pg_config")) and (bindir := _output(Path(config), "--bindir")):
        folders.append(Path(bindir))
    if initdb := shutil.which("initdb"):
        # Often a link into the real folder, without the rest beside it.
        folders.append(Path(initdb).resolve().parent)
    return dict.fromkeys(folder.resolve() for folder in folders)


def _share(folder: Path) -> Path | None:
    if named := _output(folder / "pg_config", "--sharedir"):
        return Path(named)
    beside = (folder.parent / "share" / name for name in ("postgresql", "pgsql", ""))
    return next((share for share in beside if (share / "extension").is_dir()), None)


def _missing(major: int, share: Path | None) -> Iterator[str]:
    if major < MINIMUM_POSTGRES:
        yield f"version {MINIMUM_POSTGRES} or newer"
    for name, minimum in EXTENSIONS.items():
        version = None if share is None else _extension_version(share, name)
        if version is None:
            yield name
        elif version < minimum:
            yield f"{name} {_dotted(minimum)} or newer (has {_dotted(version)})"


def _extension_version(share: Path, name: str) -> tuple[int, ...] | None:
    try:
        control = (share / "extension" / f"{name}.control").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^default_version\s*=\s*'(\d+(?:\.\d+)*)", control, re.MULTILINE)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _output(program: Path, argument: str) -> str | None:
    try:
        done = subprocess.run(
            [program, argument], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
