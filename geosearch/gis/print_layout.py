"""The page of a project that is printed: title, map, legend, scale bar and attribution, on A4."""

from __future__ import annotations

import uuid
from xml.etree.ElementTree import Element, SubElement

#: Items of QGIS 3, by the numbers that it gives them.
_MAP, _LABEL, _LEGEND, _SCALE_BAR, _PAGE = 65639, 65641, 65642, 65646, 65638
#: Left, top, width and height of each on the page, millimetres.
_PLACES = {
    "page": (0, 0, 297, 210),
    "title": (8, 6, 281, 10),
    "map": (8, 18, 208, 174),
    "legend": (219, 18, 70, 160),
    "scale bar": (219, 182, 70, 12),
    "attribution": (8, 195, 281, 8),
}
_FONT = "Sans Serif,{},-1,5,50,0,0,0,0,0"


def add_layout(
    parent: Element,
    title: str,
    view: tuple[float, float, float, float],
    sea: dict[str, str],
    attribution: str,
) -> None:
    """The layout as a child of `parent`.

    `view` is west, south, east, north in the map's units, `sea` the red, green and blue below.
    """
    layout = SubElement(parent, "Layout", name=title, units="mm", printResolution="300")
    pages = SubElement(layout, "PageCollection")
    _item(pages, "page", _PAGE, background=True)
    _label(layout, "attribution", attribution, 8)
    bar = _item(
        layout,
        "scale bar",
        _SCALE_BAR,
        style="Single Box",
        mapUuid=_key("map"),
        unitType="km",
        unitLabel="km",
        numMapUnitsPerScaleBarUnit="1",
        numSegments="2",
        numSegmentsLeft="0",
        numUnitsPerSegment="100",
        segmentSizeMode="1",
        minBarWidth="25",
        maxBarWidth="60",
        height="2",
        labelBarSpace="1",
        boxContentSpace="1",
    )
    SubElement(bar, "text-style", fontFamily="Sans Serif", fontSize="8", fontSizeUnit="Point")
    legend = _item(
        layout,
        "legend",
        _LEGEND,
        map_uuid=_key("map"),
        legendFilterByMap="1",
        resizeToContents="1",
        symbolWidth="5",
        symbolHeight="3",
        boxSpace="1",
        columnSpace="2",
    )
    styles = SubElement(legend, "styles")
    for name, size in (("group", 10), ("subgroup", 9), ("symbolLabel", 8)):
        style = SubElement(styles, "style", name=name, alignment="1", marginTop="1.5")
        SubElement(style, "styleFont", description=_FONT.format(size))
    page = _item(layout, "map", _MAP, frame=True, background=True, drawCanvasItems="true")
    SubElement(page, "BackgroundColor", sea, alpha="255")
    sides = zip(("xmin", "ymin", "xmax", "ymax"), _fitted(view), strict=True)
    SubElement(page, "Extent", {name: str(value) for name, value in sides})
    _label(layout, "title", title, 16)


def _fitted(view: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The view widened to the shape of the map on the page."""
    west, south, east, north = view
    _, _, width, height = _PLACES["map"]
    half = max((east - west) / width, (north - south) / height) / 2
    x, y = (west + east) / 2, (south + north) / 2
    return x - half * width, y - half * height, x + half * width, y + half * height


def _label(parent: Element, name: str, text: str, size: int) -> None:
    item = _item(parent, name, _LABEL, labelText=text, htmlState="0", valign="128")
    SubElement(item, "LabelFont", description=_FONT.format(size))


def _item(
    parent: Element,
    name: str,
    kind: int,
    *,
    frame: bool = False,
    background: bool = False,
    **properties: str,
) -> Element:
    left, top, width, height = _PLACES[name]
    item = SubElement(parent, "LayoutItem", properties, id=name, type=str(kind), uuid=_key(name))
    item.set("templateUuid", _key(name))
    item.set("position", f"{left},{top},mm")
    item.set("positionOnPage", f"{left},{top},mm")
    item.set("size", f"{width},{height},mm")
    item.set("frame", str(frame).lower())
    item.set("background", str(background).lower())
    item.set("visibility", "1")
    item.set("opacity", "1")
    return item


def _key(name: str) -> str:
    """Always the same, so that the same project is the same file."""
    return f"{{{uuid.uuid5(uuid.NAMESPACE_URL, f'geosearch/{name}')}}}"
