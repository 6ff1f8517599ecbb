"""The course of a training: a table, a picture and, where it is installed, TensorBoard."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geosearch.atomic_files import replacing
from geosearch.thresholds import WORLD_KM
from geosearch.training.validation import Validation

#: Columns of `curves.csv`; those of a validation are empty on the other rows.
COLUMNS = (
    "step",
    "epoch",
    "photos",
    "seconds",
    "learning_rate",
    "gradient_norm",
    "loss",
    "validation_loss",
    *(f"nearest_{km}_km" for km in WORLD_KM),
    *(f"density_{km}_km" for km in WORLD_KM),
    "density_median_km",
)

#: Least time between pictures, seconds.
REDRAW_S = 60.0

Row = dict[str, float | int | None]


def validation_columns(validation: Validation) -> Row:
    """A validation's figures by column."""
    return {
        "validation_loss": validation.loss,
        **{f"nearest_{km}_km": share for km, share in validation.nearest.items()},
        **{f"density_{km}_km": share for km, share in validation.density.items()},
        "density_median_km": validation.median_km,
    }


class Curves:
    """Rows in `curves.csv`, and now and then a picture of them, `curves.png`."""

    def __init__(self, folder: Path, rows: Sequence[Row] = ()) -> None:
        self.folder, self.rows = folder, list(rows)
        with replacing(folder / "curves.csv") as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        self._board = _tensorboard(folder)
        self._drawn = time.monotonic()

    def add(self, row: Row) -> None:
        """Append a row."""
        self.rows.append(row)
        with (self.folder / "curves.csv").open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        if self._board is not None:
            for name in COLUMNS[4:]:
                if row.get(name) is not None:
                    self._board.add_scalar(name, row[name], row["step"])

    def draw_if_due(self) -> None:
        """Draw, unless it is less than `REDRAW_S` since: it takes a second of a processor."""
        if time.monotonic() - self._drawn >= REDRAW_S:
            self.draw()

    def draw(self) -> None:
        """Write `curves.png`: losses on the left, shares of the validation on the right."""
        self._drawn = time.monotonic()
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError:  # no reason to stop a training: curves.csv has all of it
            return

        figure = Figure(figsize=(11, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        validated = [row for row in self.rows if row.get("validation_loss") is not None]
        trained = [row for row in self.rows if row.get("loss") is not None]
        left.plot(*_line(trained, "loss"), label="training", color="#0072b2")
        left.plot(*_line(validated, "validation_loss"), "o-", label="held out", color="#d55e00")
        left.set(xlabel="photos seen", ylabel="loss", title="Loss")
        left.grid(alpha=0.3)
        left.legend()
        for km, colour in zip(WORLD_KM, _COLOURS, strict=True):
            right.plot(*_line(validated, f"density_{km}_km"), "o-", label=f"{km} km", color=colour)
            right.plot(*_line(validated, f"nearest_{km}_km"), ":", color=colour)
        right.set(
            xlabel="photos seen",
            ylabel="share of photos held out",
            title="Error within … (line: density, dots: nearest)",
            ylim=(0, 1),
        )
        right.grid(alpha=0.3)
        if validated:
            figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
        with replacing(self.folder / "curves.png") as part:
            figure.savefig(part, dpi=110)


_COLOURS = ("#cc79a7", "#d55e00", "#e69f00", "#009e73", "#0072b2")


def _line(rows: Sequence[Row], name: str) -> tuple[list[Any], list[Any]]:
    return [row["photos"] for row in rows], [row[name] for row in rows]


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an optional view of what curves.csv holds anyway
        return None
    return SummaryWriter(str(folder / "tensorboard"))
