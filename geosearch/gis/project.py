"""A project of QGIS, written as QGIS 3.22 writes them; later versions read it too."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from geosearch.gis.data_source import layer_uri
from geosearch.gis.map_layers import BACKGROUND, Group, MapLayer
from geosearch.layers.styles import read_style

#: West, south, east, north in degrees.
Bounds = tuple[float, float, float, float]
WORLD: Bounds = (-180.0, -90.0, 180.0, 90.0)

#: Equal Earth: the whole Earth in one view, areas comparable, scales in metres.
_MAP_CRS = "EPSG:8857"
_DATA_CRS = "EPSG:4326"
_TILES_CRS = "EPSG:3857"
#: QGIS takes a code only beside a definition.
_DEFINITIONS = {
    _MAP_CRS: "+proj=eqearth +lon_0=0 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs",
    _DATA_CRS: "+proj=longlat +datum=WGS84 +no_defs",
    _TILES_CRS: "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m "
    "+nadgrids=@null +wktext +no_defs",
}
#: Colour of the sea.
_BACKGROUND = (232, 237, 241)
_GEOMETRY_NAMES = {"Point": "Point", "MultiLineString": "Line", "MultiPolygon": "Polygon"}
_FARTHEST_OF_ALL = 1_000_000_000
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

_TILES = "type=xyz&url=https://tile.openstreetmap.org/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmin=0&zmax=19"


@dataclass(frozen=True)
class Project:
    """Groups of layers, the topmost first, of the database that `connection` names to QGIS.

    `bounds` are those of layers by id, the world where unknown; `view` is what is seen first.
    """

    title: str
    connection: str
    groups: tuple[Group, ...]
    bounds: dict[str, Bounds]
    view: Bounds = WORLD

    def archive(self) -> bytes:
        """The project as a .qgz file. The same project gives the same bytes."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            entry = zipfile.ZipInfo("geosearch.qgs")
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, self.document())
        return file.getvalue()

    def document(self) -> str:
        """The project as a .qgs file, XML."""
        root = Element("qgis", projectname=self.title, version="3.22.0")
        _text(root, "title", self.title)
        # Views are taken at their word: QGIS would read them all to check their keys and bounds.
        SubElement(root, "trust", active="1")
        _crs(SubElement(root, "projectCrs"), _MAP_CRS)
        self._tree(SubElement(root, "layer-tree-group"))
        layers = SubElement(root, "projectlayers")
        order = SubElement(root, "layerorder")
        for layer in self._layers():
            self._layer(layers, layer)
            SubElement(order, "layer", id=_id(layer))
        _tiles(layers)
        SubElement(order, "layer", id=_TILES_ID)
        self._settings(root)
        ElementTree.indent(root)
        return _DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"

    def _layers(self) -> Iterable[MapLayer]:
        return (layer for group in self.groups for layer in group.layers)

    def _tree(self, root: Element) -> None:
        for group in self.groups:
            folder = SubElement(
                root,
                "layer-tree-group",
                name=group.title,
                checked=_checked(group.shown),
                expanded="1" if group.shown else "0",
            )
            if group.title == BACKGROUND:
                _leaf(folder, _TILES_ID, "OpenStreetMap", "wms", _TILES, shown=False)
            for layer in group.layers:
                _leaf(folder, _id(layer), layer.title, "postgres", self._uri(layer), layer.shown)

    def _uri(self, layer: MapLayer) -> str:
        return layer_uri(self.connection, layer.source, layer.where)

    def _layer(self, parent: Element, layer: MapLayer) -> None:
        limited = layer.closest is not None or layer.farthest is not None
        kind = layer.source.geometry_type
        item = SubElement(
            parent,
            "maplayer",
            type="vector",
            geometry=_GEOMETRY_NAMES[kind],
            wkbType=kind,
            hasScaleBasedVisibilityFlag="1" if limited else "0",
            minScale=str(layer.farthest or _FARTHEST_OF_ALL),
            maxScale=str(layer.closest or 0),
            simplifyDrawingHints="0" if kind == "Point" else "1",
            simplifyDrawingTol="1",
            readOnly="0" if layer.source.editable else "1",
        )
        _rectangle(SubElement(item, "extent"), self.bounds.get(layer.id, WORLD))
        _text(item, "id", _id(layer))
        _text(item, "datasource", self._uri(layer))
        _text(item, "layername", layer.title)
        _crs(SubElement(item, "srs"), _DATA_CRS)
        _text(item, "provider", "postgres").set("encoding", "UTF-8")
        style = ElementTree.fromstring(read_style(layer.source.name))
        labels = layer.labels and style.get("labelsEnabled") == "1"
        item.set("labelsEnabled", "1" if labels else "0")
        item.extend(style)

    def _settings(self, root: Element) -> None:
        view = SubElement(SubElement(root, "ProjectViewSettings"), "DefaultViewExtent")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), self.view, strict=True):
            view.set(name, str(value))
        _crs(view, _DATA_CRS)
        properties = SubElement(root, "properties")
        projections = SubElement(properties, "SpatialRefSys")
        _text(projections, "ProjectionsEnabled", "1").set("type", "int")
        gui = SubElement(properties, "Gui")
        for name, value in zip(("Red", "Green", "Blue"), _BACKGROUND, strict=True):
            _text(gui, f"CanvasColor{name}Part", str(value)).set("type", "int")


_TILES_ID = "geosearch_openstreetmap"


def _id(layer: MapLayer) -> str:
    return f"geosearch_{layer.id}"


def _tiles(parent: Element) -> None:
    item = SubElement(parent, "maplayer", type="raster", hasScaleBasedVisibilityFlag="0")
    _text(item, "id", _TILES_ID)
    _text(item, "datasource", _TILES)
    _text(item, "layername", "OpenStreetMap")
    _crs(SubElement(item, "srs"), _TILES_CRS)
    _text(item, "provider", "wms")
    metadata = SubElement(item, "resourceMetadata")
    _text(metadata, "rights", "© OpenStreetMap contributors")


def _leaf(parent: Element, key: str, title: str, provider: str, source: str, shown: bool) -> None:
    SubElement(
        parent,
        "layer-tree-layer",
        id=key,
        name=title,
        providerKey=provider,
        source=source,
        checked=_checked(shown),
        expanded="0",
    )


def _checked(shown: bool) -> str:
    return "Qt::Checked" if shown else "Qt::Unchecked"


def _crs(parent: Element, code: str) -> None:
    item = SubElement(parent, "spatialrefsys")
    _text(item, "proj4", _DEFINITIONS[code])
    _text(item, "authid", code)


def _rectangle(parent: Element, bounds: Bounds) -> None:
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        _text(parent, name, str(value))


def _text(parent: Element, name: str, text: str) -> Element:
    item = SubElement(parent, name)
    item.text = text
    return item
