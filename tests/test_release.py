"""What people who join and pass on the project rely on: workflow, templates, citation, release."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for

from geosearch import __version__

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", sorted(GITHUB.glob("workflows/*.yml"))),
        ("github-issue-forms", [GITHUB / "ISSUE_TEMPLATE" / f"{n}.yml" for n in ("fault", "wish")]),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("dependabot", [GITHUB / "dependabot.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_for_others_are_of_the_form_that_they_read(schema: str, files: list[Path]) -> None:
    form = get_builtin_schema(f"vendor.{schema}")
    check = validator_for(form)(form)
    assert files
    for file in files:
        read = yaml.safe_load(file.read_text())
        # YAML 1.1 reads `on` as a truth value; GitHub does not.
        read = {("on" if key is True else key): value for key, value in read.items()}
        assert [error.message for error in check.iter_errors(read)] == []


def test_the_workflow_runs_what_there_is() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "checks.yml").read_text())
    runs = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    made = {target for run in runs for target in re.findall(r"\bmake ([a-z]+)", run)}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lint", "test", "lowest", "package", "docs"} <= made
    assert made <= targets
    assert ".ci/run" in runs


def test_the_workflow_tests_every_python_and_postgres_that_is_supported() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "checks.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"
    minimum = re.search(r"minimum_postgres=(\d+)", (ROOT / "scripts/install-postgres").read_text())
    assert minimum is not None
    assert matrix["postgres"][0] == int(minimum[1])


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert "Revisiting IM2GPS" in cited["references"][0]["title"]


def test_hooks_run_programs_of_the_environment_and_fetch_nothing() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("touch new.txt", "the tree is not clean"),
        ("", r"CHANGELOG.md has no section '## 0.1.0 \(DATE\)'"),
        ("sed -i 's/## 0.1.0 .*/## 0.1.0 (2027-01-31)/' CHANGELOG.md", "its files are not frozen"),
    ],
    ids=["unclean", "undated", "unfrozen"],
)
def test_a_release_is_refused_before_anything_is_built(
    tmp_path: Path, change: str, told: str
) -> None:
    for name in ("CHANGELOG.md", "CITATION.cff", "scripts/check-release"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".gitignore").write_text(".venv/\n")
    commit = "git -c user.name=a -c user.email=b commit --quiet --all --message all"
    steps = ["git init --quiet", "git add --all", commit]
    steps = [*steps, change] if change.startswith("touch") else [change or "true", *steps]
    for step in steps:
        subprocess.run(step, shell=True, cwd=tmp_path, check=True)

    script = ["bash", "scripts/check-release"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert re.search(told, done.stderr), done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("BSD License; Apache Software License", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("LGPL-3.0-only", True),
        ("GPL-3.0-or-later", False),
        ("GNU Affero General Public License v3", False),
        ("MIT AND AGPL-3.0", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_licences_of_dependencies_are_known_and_allowed(
    tmp_path: Path, licence: str, allowed: bool
) -> None:
    listed = tmp_path / "licences.csv"
    listed.write_text(f'"Name","Version","License"\n"one","1","MIT"\n"other","2","{licence}"\n')
    script = [sys.executable, str(ROOT / "scripts" / "check-licences"), str(listed)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is allowed, done.stderr
    assert (f"other: {licence}" in done.stderr) is not allowed
