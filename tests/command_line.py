"""Runs the `geosearch` command in this process, as its entry point would.

What it prints with `--json` must fit the command's schema.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from geosearch.cli.app import main
from tests.json_schemas import check_documents


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands against one database."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url, self._capsys = url, capsys

    def __call__(self, *arguments: object) -> Ran:
        self._capsys.readouterr()
        argv = ["geosearch", *map(str, arguments)]
        environment = {"GEOSEARCH_DATABASE_URL": self._url, "COLUMNS": "80"}
        code: Any = 0
        with patch.object(sys, "argv", argv), patch.dict("os.environ", environment):
            try:
                main()
            except SystemExit as exit_:
                code = exit_.code or 0
        captured = self._capsys.readouterr()
        if "--json" in argv:
            check_documents(argv[1:], captured.out)
        return Ran(int(code), captured.out, captured.err)
