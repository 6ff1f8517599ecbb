"""An evaluation as one picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from geosearch.atomic_files import replacing
from geosearch.report.charts import evaluation_charts
from geosearch.report.evaluation_summary import Summary
from geosearch.report.palette import INK, MUTED, PANEL, STYLE
from geosearch.words import percent, percents, threshold

_COLUMNS = 3
_PANEL_INCHES = (5.2, 3.6)
_HEADER_INCHES = 1.15
_DPI = 110


def draw_report(path: Path, summary: Summary) -> None:
    """Draw all charts of an evaluation, under its figures, as one PNG.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    charts = evaluation_charts(summary)
    columns = min(_COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    width, height = _PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows + _HEADER_INCHES
    with mpl.rc_context(STYLE):
        top = 1 - _HEADER_INCHES / height
        layout = ConstrainedLayoutEngine(
            rect=(0.008, 0.008, 0.984, top - 0.012), wspace=0.03, hspace=0.04
        )
        figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=PANEL, layout=layout)
        FigureCanvasAgg(figure)
        for number, chart in enumerate(charts):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_title(chart.title, loc="left", fontsize=11.5, fontweight="bold", pad=22)
            chart.draw(axes)
        left = 0.18 / width
        figure.text(left, 1 - 0.36 / height, summary.headline, fontsize=17, fontweight="bold")
        figure.text(left, 1 - 0.68 / height, _figures(summary), fontsize=12.5, color=INK)
        figure.text(
            left,
            1 - 0.95 / height,
            f"{summary.evaluation.queries} · {summary.evaluation.model}",
            fontsize=10.5,
            color=MUTED,
            parse_math=False,  # names of files may hold dollar signs
        )
        with replacing(path) as part:
            figure.savefig(part, format="png", dpi=_DPI, facecolor=PANEL)


def _figures(summary: Summary) -> str:
    found = summary.figures
    parts = [
        f"{threshold(km)}: {percent(share)} ({percents(found.within[km])})"
        for km, share in found.accuracy.within.items()
    ]
    return "   ".join(parts)
