"""The charts of an evaluation and of a comparison: each draws itself on given axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from geosearch.evaluation.metrics import Interval, wilson
from geosearch.report.breakdown import Group
from geosearch.report.evaluation_summary import Summary
from geosearch.report.palette import INK, MUTED, PANEL, SERIES
from geosearch.report.reliability import Reliability
from geosearch.sphere import Array, cap_radius_km
from geosearch.words import threshold

_FARTHEST_KM = 20037.5
#: Errors are drawn from this share of the smallest distance on.
_NEAREST = 0.1
_CURVE_POINTS = 200
#: Distances whose shares are drawn by group, and whose probabilities, the middle ones: more would
#: hide each other.
_MOST_SHOWN = 3
#: The accuracy of fewer answers than this says little.
_FEWEST_KEPT = 20
_MOST_CURVES = len(SERIES)


@dataclass(frozen=True)
class Chart:
    """A chart: an `id` unique among its page's, a title, how to read it, and what draws it."""

    id: str
    title: str
    note: str
    draw: Callable[[Axes], None]


def evaluation_charts(summary: Summary) -> list[Chart]:
    """The charts that the answers of an evaluation allow."""
    return list(_evaluation_charts(summary))


def _evaluation_charts(summary: Summary) -> Iterator[Chart]:
    yield Chart(
        "within",
        "Queries within a distance",
        "Share of all queries whose error is at most the distance, with its 95 % interval.",
        partial(
            _draw_curves,
            runs=[("", summary.answers.error_km)],
            within_km=summary.within_km,
            band=True,
        ),
    )
    if summary.areas is not None:
        yield _area_chart([("", summary.answers.area_km2)], summary.within_km, "all queries")
    yield Chart(
        "errors",
        "Errors",
        "Great-circle distance from the estimate to the truth; bins grow by a factor of 1.6.",
        partial(_draw_histogram, summary=summary),
    )
    if summary.coverage:
        yield Chart(
            "coverage",
            "Coverage of the regions",
            "Share of truths inside the region of each level. On the diagonal, regions keep their "
            "promise; above it they are too large, below too small.",
            partial(_draw_coverage, summary=summary),
        )
    if summary.probabilities:
        known = summary.probabilities
        shown = [(f"within {threshold(km)}", known[km]) for km in _shown(tuple(known))]
        yield Chart(
            "probabilities",
            "Reliability of the probabilities",
            "Of the answers given a probability, the share that was that near. Below the "
            "diagonal, answers promise too much.",
            partial(_draw_reliability, shown=shown, label="probability"),
        )
    elif summary.agreement is not None:
        yield Chart(
            "agreement",
            f"Agreement, and being within {threshold(summary.middle_km)}",
            "Without calibration agreement is a share of evidence, not a probability: the points "
            "need not follow the diagonal, but should rise.",
            partial(_draw_reliability, shown=[("", summary.agreement)], label="agreement"),
        )
    ranked_by, sureness = summary.ranked_by
    ranked = sureness[~np.isnan(sureness)]
    if len(ranked) >= 2 * _FEWEST_KEPT and np.ptp(ranked) > 0:
        yield Chart(
            "kept",
            "Keeping only the surest answers",
            f"Accuracy of the answers kept, when those of the lowest {ranked_by} are left out.",
            partial(_draw_kept, summary=summary),
        )
    near = f"By references within {threshold(summary.radius_km)} of the truth"
    for name, title, groups in (
        ("continents", "By continent of the truth", summary.by_continent),
        ("density", near, summary.by_density),
    ):
        if groups:
            note = "Share of the queries within a distance, with 95 % intervals."
            yield Chart(name, title, note, partial(_draw_groups, groups=groups))


def _area_chart(
    runs: Sequence[tuple[str, Array]], within_km: Sequence[float], queries: str
) -> Chart:
    return Chart(
        "areas",
        "Truths inside an area",
        f"Share of {queries} whose truth lies in the densest area of a size: how much must be "
        "searched to find them. The distances are the radii of circles as large.",
        partial(_draw_areas, runs=runs, within_km=within_km),
    )


def comparison_charts(
    runs: Sequence[tuple[str, Array, Array]], within_km: Sequence[float]
) -> list[Chart]:
    """The curves of runs, no more than there are colours: name, errors in km, areas in km².

    Areas are NaN where they were not stored; such a run has no curve of them.
    """
    note = "Share of the common queries whose error is at most the distance."
    if len(runs) > _MOST_CURVES:
        note += f" The first {_MOST_CURVES} runs."
    shown = runs[:_MOST_CURVES]
    errors = [(name, error_km) for name, error_km, _ in shown]
    areas = [(name, area_km2) for name, _, area_km2 in shown if not np.isnan(area_km2).any()]
    draw = partial(_draw_curves, runs=errors, within_km=within_km, band=False)
    charts = [Chart("within", "Queries within a distance", note, draw)]
    return charts + [_area_chart(areas, within_km, "the common queries")] * bool(areas)


def _draw_curves(
    axes: Axes, *, runs: Sequence[tuple[str, Array]], within_km: Sequence[float], band: bool
) -> None:
    km = np.geomspace(_NEAREST * within_km[0], _FARTHEST_KM, _CURVE_POINTS)
    for (name, error_km), colour in zip(runs, SERIES, strict=False):
        n = len(error_km)
        hits = np.searchsorted(np.sort(error_km), km, side="right")
        axes.plot(km, hits / n, color=colour, linewidth=2.0, label=name, zorder=3)
        if band:
            ends = [wilson(int(count), n) for count in hits]
            axes.fill_between(
                km, [e.low for e in ends], [e.high for e in ends], color=colour, alpha=0.18, lw=0
            )
    if any(name for name, _ in runs):
        axes.legend(loc="upper left", title="evaluation", alignment="left")
    _distance_axis(axes, within_km)
    _share_axis(axes, "share of queries")


def _draw_areas(
    axes: Axes, *, runs: Sequence[tuple[str, Array]], within_km: Sequence[float]
) -> None:
    # By the radius of a circle as large, so that it reads like the curve of errors.
    radii = [(name, cap_radius_km(area_km2)) for name, area_km2 in runs]
    _draw_curves(axes, runs=radii, within_km=within_km, band=len(runs) == 1)
    axes.set_xlabel("area, as the radius of a circle")


def _draw_histogram(axes: Axes, *, summary: Summary) -> None:
    edges = summary.histogram.edges_km.copy()
    edges[0] = edges[1] / (edges[2] / edges[1])  # the first bin starts at 0, which has no place
    counts = summary.histogram.counts
    axes.bar(
        edges[:-1],
        counts,
        width=np.diff(edges),
        align="edge",
        color=SERIES[0],
        edgecolor=PANEL,
        linewidth=0.8,
    )
    median, nearest = summary.figures.accuracy.median_km, _NEAREST * summary.within_km[0]
    if median is not None and np.isfinite(median):
        axes.axvline(max(median, nearest), color=SERIES[1], linewidth=1.5)
        axes.annotate(
            " median",
            (max(median, nearest), 1.0),
            xycoords=("data", "axes fraction"),
            color=SERIES[1],
            va="top",
        )
    _distance_axis(axes, summary.within_km)
    axes.set_ylabel("queries")


def _draw_coverage(axes: Axes, *, summary: Summary) -> None:
    levels = np.sort(summary.answers.truth_level[~np.isnan(summary.answers.truth_level)])
    share = np.arange(1, len(levels) + 1) / len(levels)
    _diagonal(axes)
    axes.step(
        np.concatenate([[0.0], levels, [1.0]]),
        np.concatenate([[0.0], share, [1.0]]),
        where="post",
        color=SERIES[0],
        linewidth=2.0,
    )
    for item in summary.coverage:
        axes.errorbar(
            item.level,
            item.share,
            yerr=_reach([item.share], [item.interval]),
            fmt="o",
            color=SERIES[1],
            markersize=6,
            capsize=3,
            zorder=4,
        )
        axes.annotate(
            f"{item.share:.0%}",
            (item.level, item.share),
            xytext=(8, -12),
            textcoords="offset points",
            color=INK,
        )
    _share_axes(axes, "level of the region", "truths inside")


def _draw_reliability(axes: Axes, *, shown: Sequence[tuple[str, Reliability]], label: str) -> None:
    _diagonal(axes)
    for (name, found), colour in zip(shown, SERIES, strict=False):
        observed = [item.share for item in found.bins]
        axes.errorbar(
            [item.predicted for item in found.bins],
            observed,
            yerr=_reach(observed, [item.interval for item in found.bins]),
            fmt="o-",
            color=colour,
            linewidth=1.4,
            elinewidth=1.0,
            markersize=4.5,
            label=name,
        )
    if any(name for name, _ in shown):
        axes.legend(loc="upper left")
    _share_axes(axes, label, "came true")


def _draw_kept(axes: Axes, *, summary: Summary) -> None:
    _, sureness = summary.ranked_by
    chosen = np.flatnonzero(~np.isnan(sureness))
    order = chosen[np.argsort(-sureness[chosen], kind="stable")]
    error_km = summary.answers.error_km[order]
    # Answers that are as sure are kept or left together.
    last = np.flatnonzero(np.append(np.diff(sureness[order]) != 0, True))
    last = last[last + 1 >= _FEWEST_KEPT]
    kept = last + 1.0
    for km, colour in zip(_shown(summary.within_km), SERIES, strict=False):
        share = np.cumsum(error_km <= km)[last] / kept
        axes.plot(
            kept / len(summary.answers), share, color=colour, linewidth=2.0, label=threshold(km)
        )
    _legend_above(axes)
    _share_axes(axes, "answers kept", "of these, within")
    axes.set_xlim(1, 0)


def _draw_groups(axes: Axes, *, groups: Sequence[Group]) -> None:
    rows = np.arange(len(groups))
    within_km = _shown(tuple(groups[0].figures.within))
    for number, (km, colour) in enumerate(zip(within_km, SERIES, strict=False)):
        shares = [group.figures.accuracy.within[km] for group in groups]
        axes.errorbar(
            shares,
            rows + 0.22 * (number - 1),
            xerr=_reach(shares, [group.figures.within[km] for group in groups]),
            fmt="o",
            color=colour,
            markersize=4.5,
            elinewidth=1.2,
            label=threshold(km),
        )
    axes.set_yticks(rows, [f"{group.name}  ({group.figures.accuracy.n:,})" for group in groups])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend_above(axes)


def _reach(shares: Sequence[float], ends: Sequence[Interval]) -> Array:
    """How far intervals reach below and above their shares, (2, n)."""
    low, high = np.array([(each.low, each.high) for each in ends]).T
    return np.maximum([shares - low, high - shares], 0.0)


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.99),
        ncols=_MOST_SHOWN,
        columnspacing=1.2,
        handlelength=1.4,
        borderpad=0.2,
    )


def _shown(within_km: Sequence[float]) -> Sequence[float]:
    """The middle ones of some distances."""
    first = max(0, (len(within_km) - _MOST_SHOWN + 1) // 2)
    return within_km[first : first + _MOST_SHOWN]


def _distance_axis(axes: Axes, within_km: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(_NEAREST * within_km[0] * 0.6, _FARTHEST_KM * 1.1)
    axes.xaxis.set_major_locator(FixedLocator(list(within_km)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: threshold(value)))
    axes.tick_params(axis="x", labelsize=8.5, labelrotation=30)
    axes.set_xlabel("error")


def _share_axis(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel(label)


def _share_axes(axes: Axes, across: str, up: str) -> None:
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(across)
    _share_axis(axes, up)


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
