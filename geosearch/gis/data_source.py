"""How QGIS names a view of the database: its data source URI, without passwords."""

from __future__ import annotations

from geosearch.database.connection import parse
from geosearch.layers.layer import Layer

#: What of a connection QGIS takes, in its order. Passwords it asks for, and keeps by itself.
_PARAMETERS = ("service", "dbname", "host", "port", "user", "sslmode")


def connection_uri(url: str) -> str:
    """QGIS's form of a libpq URL or `name=value` list, passwords left out.

    Raises
    ------
    InputError
        The URL is malformed.
    """
    given = parse(url)
    return " ".join(f"{name}={_quoted(given[name])}" for name in _PARAMETERS if name in given)


def layer_uri(connection: str, layer: Layer, where: str = "") -> str:
    """Data source of the rows of a layer that meet the condition `where`.

    The key is known to be unique, so that QGIS opens the layer without reading it. Where it asks
    for the number of rows, they are counted: of views the planner knows too little.
    """
    uri = (
        f"{connection} key='id' estimatedmetadata=false srid=4326 type={layer.geometry_type} "
        f'checkPrimaryKeyUnicity=\'0\' table="geosearch"."{layer.view}" (geom)'
    )
    return f"{uri} sql={where}" if where else uri


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
