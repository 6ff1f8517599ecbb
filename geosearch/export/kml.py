"""Layers as KML 2.2 (OGC 07-147r2), for Google Earth and the like."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely

from geosearch.layers.layer import Layer
from geosearch.layers.layer_rows import LayerRows
from geosearch.untrusted import for_xml

_NAMESPACE = "http://www.opengis.net/kml/2.2"
_TYPES = {"int32": "int", "int64": "int", "float": "float", "double": "double", "bool": "bool"}
#: Colours are aabbggrr. Regions are see-through, so that the smaller shows in the larger.
_STYLES = {
    "Point": "<IconStyle><color>ff54b4ff</color><scale>0.7</scale></IconStyle>"
    "<LabelStyle><scale>0.7</scale></LabelStyle>",
    "MultiLineString": "<LineStyle><color>b3e4d45e</color><width>1.5</width></LineStyle>",
    "MultiPolygon": "<LineStyle><color>ff54b4ff</color><width>1.5</width></LineStyle>"
    "<PolyStyle><color>4054b4ff</color></PolyStyle>",
}


def write_kml(path: Path, rows: LayerRows) -> None:
    """Write one layer: a placemark a row, with the fields as its data. Memory holds one batch."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(_head(rows))
        for batch in rows.batches:
            shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
            values = batch.select(rows.fields.names).to_pylist()
            for row, shape in zip(values, shapes, strict=True):
                stream.write(_placemark(rows.layer, row, shape))
        stream.write("</Document>\n</kml>\n")


def _head(rows: LayerRows) -> str:
    layer = rows.layer
    fields = "".join(
        f'<SimpleField name="{each.name}" type="{_TYPES.get(str(each.type), "string")}"/>'
        for each in rows.fields
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<kml xmlns="{_NAMESPACE}">\n<Document>\n<name>{layer.name}</name>\n'
        f'<Style id="row">{_STYLES[layer.geometry_type]}</Style>\n'
        f'<Schema id="fields" name="{layer.kind}">{fields}</Schema>\n'
    )


def _placemark(layer: Layer, row: dict[str, Any], shape: shapely.Geometry | None) -> str:
    name = row[layer.label] or f"{layer.kind} {row['id']}"
    values = "".join(
        f'<SimpleData name="{field}">{_text(value)}</SimpleData>'
        for field, value in row.items()
        if value is not None
    )
    return (
        f"<Placemark><name>{_text(name)}</name><styleUrl>#row</styleUrl>"
        f'<ExtendedData><SchemaData schemaUrl="#fields">{values}</SchemaData></ExtendedData>'
        f"{'' if shape is None else _geometry(shape)}</Placemark>\n"
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return for_xml(str(value))


def _geometry(shape: shapely.Geometry) -> str:
    if isinstance(shape, shapely.Point):
        return f"<Point>{_coordinates(shape)}</Point>"
    if isinstance(shape, shapely.LineString):
        return f"<LineString><tessellate>1</tessellate>{_coordinates(shape)}</LineString>"
    if isinstance(shape, shapely.Polygon):
        return f"<Polygon><tessellate>1</tessellate>{''.join(_rings(shape))}</Polygon>"
    return f"<MultiGeometry>{''.join(map(_geometry, shapely.get_parts(shape)))}</MultiGeometry>"


def _rings(polygon: shapely.Polygon) -> Iterator[str]:
    oriented = shapely.orient_polygons(polygon, exterior_cw=False)
    for side, rings in (("outer", [oriented.exterior]), ("inner", oriented.interiors)):
        for ring in rings:
            boundary = f"{side}BoundaryIs"
            yield f"<{boundary}><LinearRing>{_coordinates(ring)}</LinearRing></{boundary}>"


def _coordinates(shape: shapely.Geometry) -> str:
    pairs = " ".join(f"{x:.7f},{y:.7f}" for x, y in shape.coords)
    return f"<coordinates>{pairs}</coordinates>"
