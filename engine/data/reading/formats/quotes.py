"""Quotation marks among cells. One that begins a cell opens it, so that line ends and delimiters belong to the cell
until it is closed; any other is a character like the rest, as in 5" pipe. Arrow and Python's csv take them so."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from engine.data.reading.formats.lines import LONGEST, last_newline

Bytes = npt.NDArray[np.uint8]

_QUOTE, _NEWLINE = b'"', b"\n"
_DELIMITERS = b",;\t|"
_WINDOW = 2**16
# A row that is one by itself only if all cells before it are closed.
_END = "end"
# No cell is longer than a line may be; Python's own limit is for all readers alike.
csv.field_size_limit(LONGEST + len(_END))


def first_line(text: bytes) -> tuple[bytes, bytes]:
    """The first line that is not empty, which may go on in quotes, and what comes after it."""
    text = text.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    newline = _NEWLINE if _NEWLINE in text else b"\r"
    for found in re.finditer(rb"%s|%s" % (_cells_in_quotes(_DELIMITERS).pattern, newline), text):
        if found[0] == newline:
            return text[: found.end()], text[found.end() :]
    return text, b""


def delimiter_of(line: bytes) -> str:
    """That which is likely for a table that begins with this line."""
    bare = _cells_in_quotes(_DELIMITERS).sub(b"", line)
    return max(_DELIMITERS.decode(), key=lambda delimiter: bare.count(delimiter.encode()))


def cells_in(line: bytes, delimiter: str) -> int:
    """How many there are, before they are read."""
    return 1 + _cells_in_quotes(delimiter.encode()).sub(b"", line).count(delimiter.encode())


def last_end(content: bytes, delimiter: str) -> int:
    """The place behind the last newline that does not belong to a cell; 0 if there is none. The content begins where a
    line does."""
    if _QUOTE not in content:
        return last_newline(content)
    begin = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    found: Bytes = np.frombuffer(content, np.uint8)
    windows = range(begin, len(content), _WINDOW)
    may_open = np.zeros(256, bool)
    may_open[[ord(delimiter), *b'\n\r"']] = True  # what a mark that opens a cell comes after
    inside = [0]  # whether a cell is open where each window begins
    for start in windows:
        marks = _places(found, _QUOTE, start)
        opening = marks[inside[-1] :: 2]
        if not may_open[found[opening[opening > begin] - 1]].all():
            return _last_end_row_by_row(content, begin, delimiter)
        inside.append((inside[-1] + len(marks)) % 2)
    for start, is_open in zip(reversed(windows), inside[-2::-1], strict=True):
        newlines = _places(found, _NEWLINE, start)
        marks_before = is_open + np.searchsorted(_places(found, _QUOTE, start), newlines)
        if (ends := newlines[marks_before % 2 == 0]).size:
            return int(ends[-1]) + 1
    return 0


def _places(found: Bytes, byte: bytes, start: int) -> npt.NDArray[np.intp]:
    """Where it is in the window that begins at `start`."""
    return start + np.flatnonzero(found[start : start + _WINDOW] == ord(byte))


def line_of_open_cell(content: bytes, delimiter: str) -> int | None:
    """The number, from 1, of the line in which the last row begins, if a cell of it is not closed."""
    if not content.endswith(_NEWLINE):
        content += _NEWLINE
    end = last_end(content, delimiter)
    return None if end == len(content) else 1 + content.count(_NEWLINE, 0, end)


def _last_end_row_by_row(content: bytes, begin: int, delimiter: str) -> int:
    """Where not every second quotation mark opens a cell."""
    place = begin
    newline = True

    def lines() -> Iterator[str]:
        nonlocal place, newline
        for line in io.StringIO(content[begin : content.rfind(_NEWLINE) + 1].decode("latin-1"), newline=""):
            place += len(line)
            newline = line.endswith("\n")
            yield line
        yield _END

    ends = [0, 0]
    for _ in csv.reader(lines(), delimiter=delimiter):
        if newline:
            ends = [ends[1], place]
    return ends[0]


@cache
def _cells_in_quotes(delimiters: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'(?<![^%s\r\n])"(?:[^"]|"")*+"?' % re.escape(delimiters))
