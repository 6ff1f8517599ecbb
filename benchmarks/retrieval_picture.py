"""The picture of `retrieval.py`: time and recall of every system by selectivity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_COLOURS = {
    "geosearch": "#000000",
    "pgvector planner": "#d55e00",
    "pgvector gist": "#0072b2",
    "pgvector hnsw": "#56b4e9",
    "FAISS flat": "#009e73",
    "FAISS hnsw": "#8fce7c",
    "LanceDB": "#cc79a7",
}
_PLACEMENTS = {
    "near": "boxes round the query",
    "far": "boxes on another side of the globe",
    "anywhere": "boxes anywhere",
    "time": "times",
    "author": "authors",
}


def draw(figures: list[dict[str, Any]], file: Path) -> None:
    """p50 and recall in parts of each kind; 100 % is in all."""
    kinds = {item["placement"] for item in figures}
    placements = {kind: title for kind, title in _PLACEMENTS.items() if kind in kinds}
    panels, axes = plt.subplots(
        2,
        len(placements),
        figsize=(2 + 4.5 * len(placements), 7),
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    shares = sorted({item["selectivity"] for item in figures}, reverse=True)
    places = {share: index for index, share in enumerate(shares)}
    for column, (placement, where) in enumerate(placements.items()):
        for system, colour in _COLOURS.items():
            chosen = [
                item
                for item in figures
                if item["system"] == system and item["placement"] in (placement, "none")
            ]
            x = [places[item["selectivity"]] for item in chosen]
            ours = system == "geosearch"
            style: dict[str, Any] = {
                "color": colour,
                "marker": "o",
                "markersize": 4,
                "linewidth": 2.4 if ours else 1.3,
                "zorder": 3 if ours else 2,
                "label": system,
            }
            axes[0][column].plot(x, [item["p50_ms"] for item in chosen], **style)
            axes[1][column].plot(x, [item["recall"] for item in chosen], **style)
        axes[0][column].set_yscale("log")
        axes[0][column].set_title(where)
        axes[1][column].set_ylim(-0.03, 1.03)
        axes[1][column].set_xticks(range(len(shares)), [f"{100 * share:g} %" for share in shares])
        axes[1][column].set_xlabel("references in the part")
        for row in range(2):
            axes[row][column].grid(alpha=0.3)
    axes[0][0].set_ylabel("p50, ms")
    axes[1][0].set_ylabel("recall of the 100 nearest")
    handles, labels = axes[0][0].get_legend_handles_labels()
    panels.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    panels.savefig(file, dpi=150)
    plt.close(panels)
