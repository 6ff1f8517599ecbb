"""A project of QGIS, written as QGIS 3.22 writes them; later versions read it too."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import shapely

from geosearch.borders.shipped import ATTRIBUTION
from geosearch.export.projections import EqualEarth
from geosearch.gis.data_source import layer_uri
from geosearch.gis.map_layers import BACKGROUND, THEMES, Group, MapLayer
from geosearch.gis.print_layout import add_layout
from geosearch.layers.layer import AUDIT, DUPLICATES, ERRORS, ESTIMATES, TRUTHS, UNLOCATED
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
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_GEOMETRY_NAMES = {"Point": "Point", "MultiLineString": "Line", "MultiPolygon": "Polygon"}
_FARTHEST_OF_ALL = 1_000_000_000
#: Layers whose rows QGIS counts in the list of layers: it reads them all for that.
_COUNTED = (ESTIMATES, ERRORS, TRUTHS, UNLOCATED, AUDIT, DUPLICATES)
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

_TILES = "type=xyz&url=https://tile.openstreetmap.org/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmin=0&zmax=19"


@dataclass(frozen=True)
class Bookmark:
    """A place to go to, in a group of such."""

    group: str
    name: str
    bounds: Bounds


@dataclass(frozen=True)
class Project:
    """Groups of layers, the topmost first, of the database that `connection` names to QGIS.

    `bounds` are those of layers by id, the world where unknown; `view` is what is seen first.
    `abstracts` say by id what layers hold and where it comes from; `aliases` name the columns of
    views to people. `filled` are the answers whose regions are filled, `period` the times of all
    photos and answers, from the first to the last.
    """

    title: str
    connection: str
    groups: tuple[Group, ...]
    bounds: dict[str, Bounds]
    view: Bounds = WORLD
    abstracts: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    bookmarks: tuple[Bookmark, ...] = ()
    filled: tuple[int, ...] = ()
    period: tuple[datetime, datetime] | None = None

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
        # Trust would have QGIS take the planner's guess for the number of rows.
        SubElement(root, "trust", active="0")
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
        self._themes(SubElement(root, "visibility-presets"))
        self._bookmarks(SubElement(root, "Bookmarks"))
        if self.period is not None:
            _time(root, *self.period)
        sea = dict(zip(("red", "green", "blue"), map(str, _BACKGROUND), strict=True))
        view = _on_the_map(self.view)
        add_layout(SubElement(root, "Layouts"), self.title, view, sea, ATTRIBUTION)
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
                leaf = _leaf(
                    folder, _id(layer), layer.title, "postgres", self._uri(layer), layer.shown
                )
                if layer.source in _COUNTED:
                    options = SubElement(SubElement(leaf, "customproperties"), "Option", type="Map")
                    SubElement(options, "Option", name="showFeatureCount", type="int", value="1")

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
        abstract = self.abstracts.get(layer.id, layer.source.about)
        _text(item, "abstract", abstract)
        _text(SubElement(item, "resourceMetadata"), "abstract", abstract)
        _crs(SubElement(item, "srs"), _DATA_CRS)
        named = SubElement(item, "aliases")
        for index, names in enumerate(self.aliases.get(layer.source.view, {}).items()):
            SubElement(named, "alias", index=str(index), field=names[0], name=names[1])
        _text(item, "provider", "postgres").set("encoding", "UTF-8")
        style = ElementTree.fromstring(read_style(layer.source.name))
        labels = layer.labels and style.get("labelsEnabled") == "1"
        item.set("labelsEnabled", "1" if labels else "0")
        item.extend(style)

    def _settings(self, root: Element) -> None:
        views = SubElement(root, "ProjectViewSettings")
        # The whole is given, because QGIS would read all layers for it.
        for name, bounds in (("DefaultViewExtent", self.view), ("PresetFullExtent", WORLD)):
            view = SubElement(views, name)
            for side, degrees in zip(_SIDES, bounds, strict=True):
                view.set(side, str(degrees))
            _crs(view, _DATA_CRS)
        properties = SubElement(root, "properties")
        variables = SubElement(properties, "Variables")
        for name, text in (
            ("variableNames", "geosearch_answers"),
            ("variableValues", ",".join(map(str, self.filled))),
        ):
            _text(SubElement(variables, name, type="QStringList"), "value", text)
        projections = SubElement(properties, "SpatialRefSys")
        _text(projections, "ProjectionsEnabled", "1").set("type", "int")
        gui = SubElement(properties, "Gui")
        for name, value in zip(("Red", "Green", "Blue"), _BACKGROUND, strict=True):
            _text(gui, f"CanvasColor{name}Part", str(value)).set("type", "int")

    def _themes(self, parent: Element) -> None:
        shown = {layer.id: (group.title, layer) for group in self.groups for layer in group.layers}
        below = [
            key for key, (group, layer) in shown.items() if group == BACKGROUND and layer.shown
        ]
        for name, wanted in THEMES.items():
            seen = [key for key in wanted if key in shown]
            if not seen:
                continue
            theme = SubElement(
                parent, "visibility-preset", {"name": name, "has-checked-group-info": "1"}
            )
            for key in (*seen, *below):
                layer = _id(shown[key][1])
                SubElement(theme, "layer", id=layer, visible="1", style="default", expanded="0")
            checked = SubElement(theme, "checked-group-nodes")
            for group in dict.fromkeys(shown[key][0] for key in (*seen, *below)):
                SubElement(checked, "checked-group-node", id=group)

    def _bookmarks(self, parent: Element) -> None:
        for number, each in enumerate(self.bookmarks):
            item = SubElement(
                parent,
                "Bookmark",
                id=f"geosearch_{number}",
                group=each.group,
                name=each.name,
                extent=shapely.box(*each.bounds).wkt,
            )
            _crs(item, _DATA_CRS)


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


def _leaf(
    parent: Element, key: str, title: str, provider: str, source: str, shown: bool
) -> Element:
    return SubElement(
        parent,
        "layer-tree-layer",
        id=key,
        name=title,
        providerKey=provider,
        source=source,
        checked=_checked(shown),
        expanded="0",
    )


def _time(root: Element, first: datetime, last: datetime) -> None:
    """What the temporal controller plays: about a hundred steps, of days or of hours."""
    hours = max(1.0, (last - first).total_seconds() / 3600)
    unit, step = ("h", hours / 100) if hours < 2400 else ("d", hours / 2400)
    settings = SubElement(
        root,
        "ProjectTimeSettings",
        frameRate="5",
        timeStep=str(max(1, round(step))),
        timeStepUnit=unit,
        cumulativeTemporalRange="1",
    )
    period = SubElement(settings, "TemporalRange")
    for name, moment in (("start", first), ("end", last)):
        _text(period, name, moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _on_the_map(bounds: Bounds) -> Bounds:
    """Bounds in metres of the map that hold those in degrees."""
    west, south, east, north = bounds
    lat, lon = np.meshgrid(np.linspace(south, north, 21), np.linspace(west, east, 21))
    x, y = EqualEarth().forward(lat.ravel(), lon.ravel())
    return tuple(1000.0 * float(each) for each in (x.min(), y.min(), x.max(), y.max()))  # type: ignore[return-value]


def _checked(shown: bool) -> str:
    return "Qt::Checked" if shown else "Qt::Unchecked"


def _crs(parent: Element, code: str) -> None:
    item = SubElement(parent, "spatialrefsys")
    _text(item, "proj4", _DEFINITIONS[code])
    _text(item, "authid", code)


def _rectangle(parent: Element, bounds: Bounds) -> None:
    for name, value in zip(_SIDES, bounds, strict=True):
        _text(parent, name, str(value))


def _text(parent: Element, name: str, text: str) -> Element:
    item = SubElement(parent, name)
    item.text = text
    return item
