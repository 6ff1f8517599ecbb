"""The colours of reports, for a light and a dark page; and charts that follow the page.

A chart is drawn once, in the light colours. As SVG inside a page, each becomes the page's variable
of that name, so that the reader's setting decides.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Name → colour on a light page, colour on a dark page. No two light ones are equal.
COLOURS = {
    "page": ("#f6f8fb", "#0b111b"),
    "panel": ("#ffffff", "#121a28"),
    "ink": ("#17202e", "#e8edf4"),
    "muted": ("#5a687c", "#93a1b5"),
    "line": ("#dbe2eb", "#263246"),
    "series-1": ("#0b7a6f", "#5eead4"),
    "series-2": ("#b4540a", "#ffb454"),
    "series-3": ("#3156c4", "#8fb4ff"),
    "series-4": ("#a21a6b", "#f58fc8"),
    "series-5": ("#6b7d12", "#cfe06a"),
    "series-6": ("#6d3fc0", "#c4a6ff"),
    "series-7": ("#b3202f", "#ff8f8f"),
    "series-8": ("#2b7a3e", "#86dd9a"),
}

PANEL, INK, MUTED, LINE = (COLOURS[name][0] for name in ("panel", "ink", "muted", "line"))
#: The colours of data, in order; for more series they begin again.
SERIES = tuple(light for name, (light, _) in COLOURS.items() if name.startswith("series"))

#: What all charts look like: matplotlib's settings.
STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "xtick.major.pad": 6.0,
    "xtick.minor.size": 0.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 9.0,
    "svg.fonttype": "none",
}

_SIZE = (4.8, 3.2)  # inches


def css_variables(theme: int) -> str:
    """The colours as CSS variables; `theme` 0 is light, 1 dark."""
    return " ".join(f"--{name}: {both[theme]};" for name, both in COLOURS.items())


def inline_svg(name: str, draw: Callable[[Axes], None], label: str) -> str:
    """A chart as an SVG element to put into a page, in the page's colours and font.

    `name` is unique in the page: it keeps apart the ids that charts define. `label` is what a
    screen reader says.
    """
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True)
    return _for_page(stream.getvalue(), name, label)


def _for_page(svg: str, name: str, label: str) -> str:
    """Without prolog, metadata and namespaces, which a page does not need; ids made unique."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head = re.match(r"<svg[^>]*>", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert head is not None
    assert box is not None
    svg = f'<svg {box[0]} role="img" aria-label="{label}">{svg[head.end() :]}'
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    for variable, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{variable})")
    return svg.strip()
