"""Pieces of a page: text made safe, tables, tiles, cards, pictures; and the page as a whole.

Everything is in the one file: a page refers to nothing outside.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image

from geosearch import __version__
from geosearch.atomic_files import replacing
from geosearch.borders.shipped import ATTRIBUTION
from geosearch.evaluation.metrics import Figures
from geosearch.report.charts import Chart
from geosearch.report.palette import css_variables, inline_svg
from geosearch.words import distances, format_km, percent, percents

_WEBP_QUALITY = 82


def write_page(path: Path, title: str, subtitle: str, body: Iterable[str]) -> None:
    """Write a page of pieces of HTML under a title.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    folder = files("geosearch.report")
    page = Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        light=css_variables(0),
        dark=css_variables(1),
        style=folder.joinpath("page.css").read_text("utf-8"),
        body="\n".join(body),
        footer=f"geosearch {escape(__version__)} · {ATTRIBUTION}",
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def note(text: str) -> str:
    """A sentence in small type."""
    return f'<p class="note">{escape(text)}</p>'


def notes(texts: Sequence[str]) -> str:
    """A list of sentences; nothing without any."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="note">{items}</ul>' if items else ""


def tiles(shown: Iterable[tuple[str, str, str]]) -> str:
    """Key figures: name, value, range."""
    made = (
        f'<div class="tile"><div class="name">{escape(name)}</div>'
        f'<div class="value">{escape(value)}</div><div class="range">{escape(ends)}</div></div>'
        for name, value, ends in shown
    )
    return f'<div class="tiles">{"".join(made)}</div>'


def cards(charts: Iterable[Chart]) -> str:
    """Charts with their titles and how to read them."""
    made = (
        f'<section class="card"><h3>{escape(chart.title)}</h3>{note(chart.note)}'
        f"{inline_svg(chart.id, chart.draw, escape(chart.title))}</section>"
        for chart in charts
    )
    return f'<div class="cards">{"".join(made)}</div>'


Cell = str | tuple[str, str]


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, text: int = 1) -> str:
    """A table; the first `text` columns are words. A cell may be a figure and its range."""
    head = "".join(f"<th{_words(i < text)}>{escape(name)}</th>" for i, name in enumerate(header))
    body = "".join(
        "<tr>"
        + "".join(f"<td{_words(i < text)}>{_cell(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    parts = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{parts}</table></div>'  # it may be wider than a phone


def figures(found: Figures) -> list[Cell]:
    """Cells of a table: queries, the share within each distance, and the median."""
    shares = [
        (percent(share), percents(found.within[km])) for km, share in found.accuracy.within.items()
    ]
    median = (format_km(found.accuracy.median_km), distances(found.median_km))
    return [f"{found.accuracy.n:,}", *shares, median]


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are."""
    made = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f'<dl class="card">{"".join(made)}</dl>'


def picture(image: Image.Image, label: str, style: str = "") -> str:
    """A picture inside the page."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_WEBP_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    kind = f' class="{style}"' if style else ""
    return f'<img{kind} alt="{escape(label)}" src="data:image/webp;base64,{data}" />'


def photo(image: Image.Image | None, label: str, title: str, lines: Sequence[str]) -> str:
    """A photo, or a word in its place, with a title and lines below."""
    shown = picture(image, label) if image else '<div class="missing">not readable</div>'
    below = "<br />".join(escape(line) for line in lines)
    return f"<figure>{shown}<figcaption><b>{escape(title)}</b>{below}</figcaption></figure>"


def photos(shown: Iterable[str]) -> str:
    """Photos side by side."""
    return f'<div class="photos">{"".join(shown)}</div>'


def _words(yes: bool) -> str:
    return ' class="text"' if yes else ""


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    value, ends = cell
    return f'{escape(value)}<span class="range">{escape(ends)}</span>'
