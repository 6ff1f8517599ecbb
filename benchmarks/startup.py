"""How soon commands answer in a new process, beside importing what they cannot do without.

Every round runs each command once, and `import numpy, psycopg, onnxruntime`, whose median all are
compared with; a round before does not count. Bytecode is there, files are in the page cache, the
private server runs, its schema is current, and the photos were localized or embedded before. Exits
1 if a goal is missed.

    python benchmarks/startup.py
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from arguments import read_arguments

GEOSEARCH = str(Path(sys.executable).with_name("geosearch"))
IMPORTS = "import numpy, psycopg, onnxruntime"


@dataclass(frozen=True)
class Command:
    """What is run, and the greatest ratio to the imports that it may take; None: any."""

    name: str
    arguments: tuple[str, ...]
    goal: float | None
    completes: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the shell adds where it asks for completions."""
        if self.completes is None:
            return {}
        return {
            "_GEOSEARCH_COMPLETE": "complete_bash",
            "COMP_WORDS": self.completes,
            "COMP_CWORD": str(len(self.completes.split()) - 1),
        }


@dataclass(frozen=True)
class Figure:
    """Medians of a command in seconds, waited and worked, and their ratios to the imports."""

    name: str
    wall_s: float
    wall_ratio: float
    cpu_s: float
    cpu_ratio: float
    goal: float | None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return f"{'met' if self.wall_ratio <= self.goal else 'missed'}: <= {self.goal}"


def main() -> None:
    arguments = read_arguments(__doc__, references=600, rounds=7)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with photos(arguments.references) as (stored, query):
        figures = measure(commands(stored, query), arguments.rounds)
    if arguments.json:
        print(json.dumps([asdict(figure) for figure in figures]))
    else:
        show(figures, arguments.rounds)
    if any(figure.verdict.startswith("missed") for figure in figures):
        sys.exit(1)


def commands(stored: Path, query: Path) -> list[Command]:
    return [
        Command("--help", (GEOSEARCH, "--help"), 1.2),
        Command("completion of a command", (GEOSEARCH,), 1.2, "geosearch lo"),
        Command("completion of an option", (GEOSEARCH,), 1.2, "geosearch localize --ex"),
        Command("show 1", (GEOSEARCH, "show", "1"), 2.0),
        Command("nearest STORED", (GEOSEARCH, "nearest", str(stored)), 2.0),
        Command("nearest NEW", (GEOSEARCH, "nearest", str(query)), None),
        Command("localize NEW", (GEOSEARCH, "localize", str(query)), 4.0),
    ]


@contextmanager
def photos(references: int) -> Iterator[tuple[Path, Path]]:
    """A private server with sample photos and one answer; gives one of them, and a query."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server of root runs as another user
        os.environ["GEOSEARCH_DATA_DIR"] = str(folder / "database")
        os.environ.pop("GEOSEARCH_DATABASE_URL", None)
        sample = folder / "sample"
        size = ("--references", str(references), "--queries", "1")
        try:
            run(GEOSEARCH, "sample", "space", *size, "-o", str(sample))
            run(GEOSEARCH, "ingest", str(sample / "references"), "--collection", "sample")
            run(GEOSEARCH, "embed")
            query = sample / "queries" / "000001.jpg"
            run(GEOSEARCH, "localize", str(query))
            yield sample / "references" / "000001.jpg", query
        finally:
            run(GEOSEARCH, "db", "stop")


def measure(asked: list[Command], rounds: int) -> list[Figure]:
    asked = [Command(IMPORTS, (sys.executable, "-c", IMPORTS), None), *asked]
    wall: dict[str, list[float]] = {command.name: [] for command in asked}
    cpu: dict[str, list[float]] = {command.name: [] for command in asked}
    for number in range(rounds + 1):
        for command in asked:
            started, used = time.perf_counter(), children_cpu()
            run(*command.arguments, **command.environment)
            if number:
                wall[command.name].append(time.perf_counter() - started)
                cpu[command.name].append(children_cpu() - used)
    walls = {name: statistics.median(times) for name, times in wall.items()}
    cpus = {name: statistics.median(times) for name, times in cpu.items()}
    return [
        Figure(
            command.name,
            walls[command.name],
            walls[command.name] / walls[IMPORTS],
            cpus[command.name],
            cpus[command.name] / cpus[IMPORTS],
            command.goal,
        )
        for command in asked
    ]


def run(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        arguments, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    # The shell does not look at the exit code of a completion, which is not always 0.
    if done.returncode and not environment:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(figures: list[Figure], rounds: int) -> None:
    print(f"medians of {rounds}, {os.cpu_count()} cores")
    print(f"{'':40}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}")
    for figure in figures:
        print(
            f"{figure.name:40}{figure.wall_s:9.3f}{figure.wall_ratio:7.2f}"
            f"{figure.cpu_s:9.3f}{figure.cpu_ratio:7.2f}  {figure.verdict}"
        )


if __name__ == "__main__":
    main()
