"""What a release installs stays as it was: the sha256 of all files that its migrations run.

A version is released when its section of CHANGELOG.md has a date, `## 0.1.0 (2026-01-31)`. Then
`python -m tests.releases 0.1.0` writes its manifest, which `sha256sum --check` can read too.
"""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Manifests of releases, `0.1.0.sha256`, and rows for each of their revisions, `0001.sql`.
FOLDER = Path(__file__).parent / "revisions"


def released_versions(changelog: str) -> set[str]:
    """Versions whose section has a date."""
    return set(re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", changelog, re.MULTILINE))


def manifests() -> dict[str, str]:
    """Version → manifest of its files."""
    return {path.stem: path.read_text() for path in FOLDER.glob("*.sha256")}


def manifest(root: Path, newest: str = "9999") -> str:
    """sha256 and name of each file of `root` that migrations run, up to a revision."""
    files = [*root.glob("alembic/versions/*.py"), *root.glob("sql/*/**/*.sql")]
    names = sorted(path.relative_to(root).as_posix() for path in files)
    return "".join(
        f"{sha256((root / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if _revision(name) <= newest
    )


def newest_revision(manifest: str) -> str:
    """The revision that a release has."""
    return max(_revision(line.split()[1]) for line in manifest.splitlines())


def _revision(name: str) -> str:
    """Of `alembic/versions/0001_first_schema.py` or `sql/0001/tables/photos.sql`: 0001."""
    found = re.match(r"(?:alembic/versions|sql)/(\d{4})[_/]", name)
    assert found, f"{name} belongs to no revision"
    return found[1]


if __name__ == "__main__":
    (FOLDER / f"{sys.argv[1]}.sha256").write_text(manifest(ROOT))
