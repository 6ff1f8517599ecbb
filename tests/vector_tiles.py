"""Reads vector tiles (Mapbox Vector Tile 2.1), as far as tests need."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Value = int | bytes


@dataclass(frozen=True)
class Feature:
    """A feature: `points` are the vertices of all its parts, in units of the tile."""

    id: int | None
    properties: dict[str, Any]
    points: list[tuple[int, int]]


@dataclass(frozen=True)
class TileLayer:
    """A layer of a tile; its side has `extent` units."""

    name: str
    extent: int
    features: list[Feature]


def read_tile(tile: bytes) -> list[TileLayer]:
    """The layers of a tile."""
    return [_layer(bytes(value)) for key, value in _fields(tile) if key == 3]


def _layer(data: bytes) -> TileLayer:
    name, extent = "", 4096
    keys: list[str] = []
    values: list[Any] = []
    features: list[bytes] = []
    for key, value in _fields(data):
        if isinstance(value, int):
            extent = value if key == 5 else extent
        elif key == 1:
            name = value.decode()
        elif key == 2:
            features.append(value)
        elif key == 3:
            keys.append(value.decode())
        elif key == 4:
            values.append(_value(value))
    return TileLayer(name, extent, [_feature(each, keys, values) for each in features])


def _feature(data: bytes, keys: list[str], values: list[Any]) -> Feature:
    number: int | None = None
    tags: list[int] = []
    commands: list[int] = []
    for key, value in _fields(data):
        if isinstance(value, int):
            number = value if key == 1 else number
        elif key == 2:
            tags = list(_varints(value))
        elif key == 4:
            commands = list(_varints(value))
    properties = {keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)}
    return Feature(number, properties, _points(commands))


def _points(commands: list[int]) -> list[tuple[int, int]]:
    points = []
    x = y = position = 0
    while position < len(commands):
        command, count = commands[position] & 7, commands[position] >> 3
        position += 1
        if command == 7:  # close the ring
            continue
        for _ in range(count):
            x, y = x + _signed(commands[position]), y + _signed(commands[position + 1])
            points.append((x, y))
            position += 2
    return points


def _value(data: bytes) -> Any:
    ((key, value),) = _fields(data)
    if isinstance(value, bytes):
        formats = {2: "<f", 3: "<d"}
        return struct.unpack(formats[key], value)[0] if key in formats else value.decode()
    return _signed(value) if key == 6 else bool(value) if key == 7 else value


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a protocol buffer: numbers, and bytes of all else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            number, position = _varint(data, position)
            yield tag >> 3, number
            continue
        size, position = _varint(data, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
        yield tag >> 3, data[position : position + size]
        position += size


def _varints(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = _varint(data, position)
        yield number


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position
