"""CSV and TSV, line by line: each becomes a row of cells or a reason why not; none vanishes."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from functools import partial
from typing import IO

from geosearch.errors import InputError

#: How text is read where nothing says how; a mark of byte order at its start is dropped.
UTF_8 = "utf-8"

_LONGEST_LINE = 2**26  # a small packed file may hold a line that fills the memory
_DELIMITERS = ",;\t|"
_MOST_CHARACTERS = 2**20  # of a row that quotes hold together

#: The number of a line (of the file, from 1), and its cells or what is wrong with it.
Cells = Iterator[tuple[int, list[str] | str]]


def text_lines(stream: IO[bytes], name: str, encoding: str) -> Iterator[str]:
    """The lines of a text file, whichever of `\\\\n`, `\\\\r\\\\n` and `\\\\r` ends them.

    A byte that is no UTF-8 becomes a stray surrogate: a letter in a title is no reason to stop.

    Raises
    ------
    InputError
        There is no such encoding, or the file is UTF-16 and that was not said.
    """
    is_utf_8 = codecs.lookup(checked_encoding(encoding)).name == UTF_8
    lines = io.TextIOWrapper(
        stream,
        "utf-8-sig" if is_utf_8 else encoding,
        "surrogateescape" if is_utf_8 else "replace",
        newline=None,
    )
    for number, line in enumerate(iter(partial(lines.readline, _LONGEST_LINE), "")):
        if len(line) == _LONGEST_LINE:
            raise InputError(f"{name}: a line is longer than {_LONGEST_LINE:,} letters")
        if number == 0 and is_utf_8 and ("\0" in line or line[:2] in _MARKS_OF_UTF_16):
            raise InputError(
                f"{name} is not UTF-8", "If it is UTF-16, give `encoding` utf-16, or convert it."
            )
        yield line


_MARKS_OF_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")


def checked_encoding(encoding: str) -> str:
    """The name of an encoding of text.

    Raises
    ------
    InputError
        There is none of that name.
    """
    try:
        "".encode(encoding)
    except LookupError as error:
        raise InputError(f"there is no encoding {encoding!r}", "Try utf-8, cp1252, utf-16.") from (
            error
        )
    return encoding


def delimited_rows(text: Iterator[str], name: str) -> Cells:
    """The lines of a CSV or TSV file as cells, the first of them the header; blank ones left out.

    CSV is quoted strictly. Where a quote that opens a cell swallows lines that look like rows, or
    is never closed, its line is at fault, and reading goes on at the next. TSV (tabs, in a file
    that ends so) has no quotes, unless its header is quoted.
    """
    lines = _Lines(text)
    header = next(lines, "")
    hint = header.strip().strip('"')
    if hint[:4].lower() == "sep=":  # for spreadsheets
        delimiter = hint[4:] or "\t"
        header = next(lines, "")
        if len(delimiter) != 1:
            raise InputError(f"{name}: a delimiter is one character, not {delimiter!r}")
    else:
        delimiter = max(_DELIMITERS, key=header.count)
    lines.back(header)
    is_tsv = name.lower().endswith(".tsv") and delimiter == "\t" and not header.startswith('"')
    width = 0
    for number, cells in _plain(lines, delimiter) if is_tsv else _quoted(lines, delimiter):
        if isinstance(cells, str) or any(cell.strip() for cell in cells):
            width = width or len(cells)
            if isinstance(cells, list) and len(cells) != width:
                yield number, f"line {number}: {len(cells)} cells, {width} columns"
            else:
                yield number, cells


class _Lines:
    """Lines, of which some can be put back. `number` is that of the last."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: list[str] = []
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._source)
        self.number += 1
        return line

    def back(self, *lines: str) -> None:
        self._again.extend(reversed(lines))
        self.number -= len(lines)


def _plain(lines: _Lines, delimiter: str) -> Cells:
    for line in lines:
        yield lines.number, line.rstrip("\n").split(delimiter)


def _quoted(lines: _Lines, delimiter: str) -> Cells:
    width = 0
    while True:
        first, taken = lines.number + 1, list[str]()
        try:
            cells = next(csv.reader(_taken(lines, taken), delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            fault = str(error) if len(taken) == 1 else "the quote that opens here is not closed"
        else:
            width = width or len(cells)
            first_line, *others = (line.count(delimiter) >= width - 1 for line in taken)
            if not first_line or not any(others) or width == 1:
                yield first, cells
                continue
            fault = f"the quote that opens here takes in {sum(others)} lines that look like rows"
        lines.back(*taken[1:])
        yield first, f"line {first}: {fault}"


def _taken(lines: _Lines, taken: list[str]) -> Iterator[str]:
    """The lines, remembered in `taken`, as long as they may be one row."""
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line)
        if len(taken) > 1 and size > _MOST_CHARACTERS:
            raise csv.Error("too long")
        yield line
