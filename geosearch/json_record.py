"""Dataclasses as JSON: what commands print, files hold and tables keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar


class Record:
    """Base of dataclasses that are JSON objects of their fields, in order.

    Keywords of the class say what a field is called there, "" leaves it out, and a property may be
    named too: `class Share(Record, hits="", share="share")`.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _json_names: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **names: str) -> None:
        cls._json_names = names

    def to_json(self) -> dict[str, Any]:
        """As JSON: an object of the fields."""
        names = {field.name: field.name for field in fields(self)} | self._json_names
        return {name: plain(getattr(self, field)) for field, name in names.items() if name}


def plain(value: Any) -> Any:
    """Values as JSON has them: records as objects, arrays as lists, infinite numbers as null."""
    if isinstance(value, float):
        return None if math.isinf(value) else float(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value
