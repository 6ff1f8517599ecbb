"""The picture of `paper.py`: accuracy by features and method."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from paper_table import COMPARED_KM, DIFFICULTIES, Row

mpl.use("Agg")
import matplotlib.pyplot as plt

from geosearch.report.palette import SERIES, STYLE

_METHODS = ("nearest", "im2gps", "density", "geocell", "density in cells")


def draw(rows: list[Row], file: Path) -> None:
    """A panel for each distance and difficulty: share of queries with its 95 % interval."""
    kinds = list(dict.fromkeys(row.features for row in rows))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(COMPARED_KM),
            len(DIFFICULTIES),
            figsize=(12, 7),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for down, km in enumerate(COMPARED_KM):
            for across, difficulty in enumerate(DIFFICULTIES):
                panel = axes[down][across]
                for index, method in enumerate(_METHODS):
                    chosen = [
                        row for row in rows if (row.method, row.difficulty) == (method, difficulty)
                    ]
                    shares = [row.share(km) for row in chosen]
                    height = [kinds.index(row.features) + 0.14 * (index - 2) for row in chosen]
                    values = [100 * share for share, _ in shares]
                    bars = (
                        [100 * (share - ends.low) for share, ends in shares],
                        [100 * (ends.high - share) for share, ends in shares],
                    )
                    panel.errorbar(
                        values, height, xerr=bars, fmt="o", ms=4, lw=1.2, color=SERIES[index],
                        label=method,
                    )  # fmt: skip
                panel.set_title(f"{difficulty}, within {km} km")
                panel.set_yticks(range(len(kinds)), kinds)
                if down == len(COMPARED_KM) - 1:
                    panel.set_xlabel("queries, %")
        axes[0][0].invert_yaxis()
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.savefig(file, dpi=150)
        plt.close(figure)
