"""Options that several commands share: the model, the method, the filter."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.retrieval.filters import Filter, parse_area, parse_numbers, parse_time

ModelOption = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="packaged/efficientnet-lite0, torchvision/NAME[@WEIGHTS][+avg|max|gem] or "
        "file:CHECKPOINT.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]

KOption = Annotated[int, typer.Option("--k", help="Neighbours to retrieve; all of them vote.")]
MethodOption = Annotated[str, typer.Option(help="density, nearest or im2gps.")]
BandwidthOption = Annotated[
    float | None,
    typer.Option("--bandwidth-km", help="Bandwidth of the density; default by method."),
]
WeightingOption = Annotated[
    str | None, typer.Option(help="Neighbour weights: power:N, softmax:T or uniform.")
]

BboxOption = Annotated[
    str | None,
    typer.Option(
        "--bbox", metavar="W,S,E,N", help="Only photos in this box; W > E crosses the ±180° line."
    ),
]
NearOption = Annotated[
    str | None, typer.Option("--near", metavar="LAT,LON,KM", help="Only photos within KM of here.")
]
WithinOption = Annotated[
    str | None,
    typer.Option(
        "--within", metavar="FILE|WKT", help="Only photos in this polygon (GeoJSON, WKT)."
    ),
]
AfterOption = Annotated[
    str | None, typer.Option("--after", metavar="DATE", help="Only photos taken at or after DATE.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="DATE", help="Only photos taken before DATE.")
]
CollectionOption = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated."),
]
ExcludeAuthorOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-author", metavar="ID", help="Not by this author; may be repeated."),
]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Compare all matching photos; do not use the index.")
]


def make_filter(
    bbox: str | None,
    near: str | None,
    within: str | None,
    after: str | None,
    before: str | None,
    collection: list[str] | None,
    exclude_author: list[str] | None,
) -> Filter:
    """The filter these options ask for.

    Raises
    ------
    InputError
        An option cannot be read.
    """
    box = parse_numbers("--bbox", bbox, "W,S,E,N") if bbox else None
    circle = parse_numbers("--near", near, "LAT,LON,KM") if near else None
    return Filter(
        bbox=None if box is None else (box[0], box[1], box[2], box[3]),
        near=None if circle is None else (circle[0], circle[1], circle[2]),
        within=parse_area(within) if within else None,
        after=parse_time("--after", after) if after else None,
        before=parse_time("--before", before) if before else None,
        collections=tuple(collection or ()),
        exclude_authors=tuple(exclude_author or ()),
    )
