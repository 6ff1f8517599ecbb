"""An answer as a piece of a page: the map, and the neighbours with their pictures.

It refers to nothing outside, runs nothing and links nowhere: names of files come from strangers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image

from geosearch.localization import Localization
from geosearch.notebook.frames import shown
from geosearch.words import number_of

#: Neighbours that are shown.
NEIGHBOURS = 12
_NAME = 24  # letters
_CARD = "width:132px;margin:0;font-size:11px;line-height:1.35;overflow-wrap:anywhere"
_PICTURE = "width:132px;height:99px;object-fit:cover;display:block;border-radius:4px"


def answer_html(
    answer: Localization, drawn: Image.Image | None, thumbnails: Mapping[int, bytes]
) -> str:
    """The map that was `drawn`, and the first neighbours, with thumbnails by the ids of photos."""
    stream = BytesIO()
    pieces = []
    if drawn is None:
        pieces.append(f"<div>{shown(repr(answer), 400)}</div>")
    else:
        drawn.save(stream, "WEBP", quality=82)
        label = f"Map of {PurePosixPath(answer.photo).name}"
        pieces.append(_image(stream.getvalue(), label, "width:100%;max-width:1000px"))
    cards = [
        _card(answer, index, thumbnails.get(int(answer.neighbours.photo_id[index])))
        for index in range(min(NEIGHBOURS, len(answer.neighbours)))
    ]
    if cards:
        count = number_of(len(answer.neighbours), "neighbour")
        said = count if len(cards) == len(answer.neighbours) else f"{len(cards)} of {count}"
        pieces.append(f'<div style="margin:6px 0 4px;font-size:12px">{said}</div>')
        row = "display:flex;flex-wrap:wrap;gap:8px;max-width:1000px"
        pieces.append(f'<div style="{row}">{"".join(cards)}</div>')
    return f"<div>{''.join(pieces)}</div>"


def _card(answer: Localization, index: int, thumbnail: bytes | None) -> str:
    found = answer.neighbours
    name = PurePosixPath(found.uri[index]).name
    picture = (
        f'<div style="{_PICTURE};background:#8884"></div>'
        if thumbnail is None
        else _image(thumbnail, name, _PICTURE)
    )
    facts = (
        f"{index + 1}. distance {found.distance[index]:.3f}",
        f"weight {answer.weights[index]:.3f}" if len(answer.weights) else "",
        f"{found.lat[index]:.4f}, {found.lon[index]:.4f}",
    )
    lines = (f"<b>{shown(name, _NAME)}</b>", *(shown(fact) for fact in facts if fact))
    return f'<figure style="{_CARD}">{picture}{"<br>".join(lines)}</figure>'


def _image(webp: bytes, label: str, style: str) -> str:
    data = base64.b64encode(webp).decode("ascii")
    return f'<img alt="{shown(label)}" style="{style}" src="data:image/webp;base64,{data}">'
