"""Text of CSV and its variants: delimiter, header, and where rows end.

A quotation mark opens a quoted cell only at the beginning of a cell; delimiters and line ends then belong to the cell
until it is closed. Any other quotation mark is a plain character, as in 5" pipe. Arrow and Python's csv module agree.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nabla.engine.data.ingest.formats.byte_stream import MAX_LINE_BYTES, ByteStream, end_of_last_line

_NEWLINE, _QUOTE = b"\n", b'"'
_DELIMITERS = b",;\t|"
_SEPARATOR_LINE = re.compile(rb"(?:\xef\xbb\xbf)?sep=([,;\t|])\r?\n", re.IGNORECASE)
# Lines that tell the delimiter.
_SNIFFED_LINES = 20
# Rows after a title that make a table.
_MIN_TABLE_ROWS = 3
_YEARS = range(1900, 2101)
_MAX_DIGITS = 18
# Bytes that are searched for quotation marks at once, so that they stay in the CPU cache.
_SCAN_BYTES = 2**16
# A last row that Python's csv module returns on its own only if all cells before it are closed.
_SENTINEL = "end"
# No cell is longer than the longest row. This limit of the csv module is global.
csv.field_size_limit(MAX_LINE_BYTES + len(_SENTINEL))

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def detect_header(cells: Sequence[str], columns: Sequence[Sequence[str]], named_columns: frozenset[str]) -> bool:
    """Return whether the cells of the first line name the columns.

    They do if one is the name of a column that is known to exist, none is a number, or one is text above numbers; or if
    they are the numbers of columns from 0, above fractions, or their numbers are at least two consecutive years.

    Args:
        cells: The cells of the first line.
        columns: Cells of some rows below, by column.
        named_columns: Columns that are known to exist.
    """
    if named_columns & set(cells):
        return True
    if not any(map(NUMBER.fullmatch, cells)):
        return True
    for cell, column in zip(cells, columns, strict=False):
        values = [value for value in column if value]
        if not NUMBER.fullmatch(cell) and values and all(map(NUMBER.fullmatch, values)):
            return True
    numbered = [index for index, cell in enumerate(cells) if NUMBER.fullmatch(cell)]
    if len(numbered) < 2 or not all(_is_whole_number(cells[index]) for index in numbered):
        return False
    numbers = [int(cells[index]) for index in numbered]
    if not all(after == before + 1 for before, after in pairwise(numbers)):
        return False
    below = [value for index, column in enumerate(columns) if index in numbered for value in column if value]
    if numbers[0] in _YEARS:
        return not all(_is_whole_number(value) and int(value) in _YEARS for value in below)
    return numbers[0] == 0 and len(numbered) == len(cells) and any("." in value for value in below)


def has_padded_number(content: bytes, delimiter: str) -> bool:
    """Return whether a cell begins with a superfluous 0, as the code 007 does."""
    values = np.frombuffer(_NEWLINE + content, np.uint8)
    if len(values) < 3:
        return False
    may_precede = np.zeros(256, bool)
    may_precede[[ord(delimiter), *b'\n\r" ']] = True
    is_zero = np.flatnonzero(values[1:-1] == ord("0")) + 1
    is_zero = is_zero[may_precede[values[is_zero - 1]]]
    return bool(((values[is_zero + 1] >= ord("0")) & (values[is_zero + 1] <= ord("9"))).any())


def are_row_numbers(column: Sequence[str]) -> bool:
    """Return whether the cells are consecutive whole numbers from 0 or 1."""
    if not column or not all(map(_is_whole_number, column)):
        return False
    first = int(column[0])
    return first in (0, 1) and [*map(int, column)] == [*range(first, first + len(column))]


def _is_whole_number(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= _MAX_DIGITS


def split_first_line(text: bytes) -> tuple[bytes, bytes]:
    """Return the first line that is not empty, whose quoted cells may span several, and the rest of the text."""
    text = text.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    newline = _NEWLINE if _NEWLINE in text else b"\r"
    for match in re.finditer(rb"%s|%s" % (_quoted_cells(_DELIMITERS).pattern, newline), text):
        if match[0] == newline:
            return text[: match.end()], text[match.end() :]
    return text, b""


def detect_delimiter(text: bytes) -> str:
    """Return the delimiter that splits the first lines of a text into the same number of cells, else the most frequent.

    Other characters may occur as often in the first line alone, as in the names "height, cm;weight, kg".
    """
    lines: list[bytes] = []
    while text.strip(b"\r\n") and len(lines) < _SNIFFED_LINES:
        line, text = split_first_line(text)
        if text or not lines:  # the last line may be cut
            lines.append(_quoted_cells(_DELIMITERS).sub(b"", line))

    def score(delimiter: str) -> tuple[bool, int]:
        counts = [line.count(delimiter.encode()) for line in lines]
        return len({*counts}) == 1 and counts[0] > 0, counts[0]

    return max(_DELIMITERS.decode(), key=score) if lines else ","


def detect_skipped_lines(start: bytes) -> int:
    """Return how many lines precede the table at the beginning of a file, such as those of a title.

    They are comments, or have fewer cells than most of the first rows, or at most one cell that is not empty, as
    spreadsheets write titles. A row with one cell less above one with numbers is that of the names.
    """
    rows = _split_rows(start.removeprefix(codecs.BOM_UTF8))
    comments = next((number for number, row in enumerate(rows) if not row.startswith(b"#")), 0)
    table = [_quoted_cells(_DELIMITERS).sub(b"", row) for row in rows[comments:]]
    candidates = []
    for delimiter in _DELIMITERS.decode():
        counts = [row.count(delimiter.encode()) for row in table]
        usual, rows_with_usual = Counter(counts).most_common(1)[0] if counts else (0, 0)
        if usual and 2 * rows_with_usual > sum(1 for row in table if row.strip()):
            first = counts.index(usual)
            if first and counts[first - 1] == usual - 1 and _has_number(table[first], delimiter):
                first -= 1
            candidates.append((first, -usual, delimiter))
    if candidates:
        first, _, delimiter = min(candidates)
        first += _count_title_rows(rows[comments + first :], delimiter)
    else:
        first = 0
    skipped = comments + first if len(table) - first >= _MIN_TABLE_ROWS else comments
    return sum(row.count(_NEWLINE) for row in rows[:skipped])


def _has_number(row: bytes, delimiter: str) -> bool:
    return any(map(NUMBER.fullmatch, row.decode("latin-1").strip("\r\n").split(delimiter)))


def _split_rows(text: bytes) -> list[bytes]:
    """Return the first rows of a text, each with its line breaks, and without the last one, which may be cut."""
    rows: list[bytes] = []
    for match in re.finditer(rb"%s|\n" % _quoted_cells(_DELIMITERS).pattern, text):
        if match[0] == _NEWLINE:
            rows.append(text[sum(map(len, rows)) : match.end()])
            if len(rows) == _SNIFFED_LINES:
                break
    return rows


def _count_title_rows(rows: Sequence[bytes], delimiter: str) -> int:
    """Return how many rows with at most one cell that is not empty precede a row of names; 0 without such a row."""
    for number, row in enumerate(rows):
        cells = next(csv.reader(io.StringIO(row.decode("latin-1"), newline=""), delimiter=delimiter), [])
        filled = [cell for cell in cells if cell.strip()]
        if len(filled) > 1:
            are_names = len(filled) == len(cells) and not any(map(NUMBER.fullmatch, cells))
            return number if are_names else 0
    return 0


class LineFilter:
    """A text in which the first lines and comments are empty, so that the numbers of the lines stay the same."""

    def __init__(self, stream: ByteStream, skip_rows: int, comment: str | None) -> None:
        self._stream = stream
        self._skip_rows = skip_rows
        self._comment = None if comment is None else comment.encode()
        self._lines = self._rest = b""
        self._is_in_cell = False

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes of the filtered text; none at the end."""
        while not self._lines:
            chunk = self._stream.read(size)
            text = self._rest + chunk
            end = end_of_last_line(text) if chunk and len(text) <= MAX_LINE_BYTES else len(text)
            self._lines, self._rest = self._filter(text[:end]), text[end:]
            if not chunk:
                break
        content, self._lines = self._lines[:size], self._lines[size:]
        return content

    def _filter(self, text: bytes) -> bytes:
        if not self._skip_rows and (self._comment is None or self._comment not in text):
            self._is_in_cell ^= bool(text.count(_QUOTE) % 2)
            return text
        return b"".join(map(self._filter_line, text.splitlines(keepends=True)))

    def _filter_line(self, line: bytes) -> bytes:
        if self._skip_rows:
            self._skip_rows -= 1
            return _NEWLINE
        if self._comment is not None and not self._is_in_cell and line.startswith(self._comment):
            return _NEWLINE
        self._is_in_cell ^= bool(line.count(_QUOTE) % 2)
        return line


def split_separator_line(text: bytes) -> tuple[str | None, bytes]:
    """Return the delimiter that a first line such as `sep=;` states, as Excel writes it, and the text after it."""
    match = _SEPARATOR_LINE.match(text)
    return (None, text) if match is None else (match[1].decode("latin-1"), text[match.end() :])


def count_cells(line: bytes, delimiter: str) -> int:
    """Return the number of cells of a line."""
    return 1 + _quoted_cells(delimiter.encode()).sub(b"", line).count(delimiter.encode())


@cache
def _quoted_cells(delimiters: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'(?<![^%s\r\n])"(?:[^"]|"")*+"?' % re.escape(delimiters))


def find_last_row_end(content: bytes, delimiter: str) -> int:
    """Return the offset after the last newline outside a quoted cell; 0 if there is none.

    The content begins where a row does. It is searched in windows for quotation marks, every second of which opens a
    cell; if one of them does not stand where a cell begins, all rows are parsed instead.
    """
    if _QUOTE not in content:
        return end_of_last_line(content)
    begin = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    values = np.frombuffer(content, np.uint8)
    windows = range(begin, len(content), _SCAN_BYTES)
    may_precede_cell = np.zeros(256, bool)
    may_precede_cell[[ord(delimiter), *b'\n\r"']] = True  # a quotation mark: an escaped one within the cell
    is_open = [0]  # whether a cell is open at the beginning of each window
    for start in windows:
        quotes = _find_byte(values, _QUOTE, start)
        opening = quotes[is_open[-1] :: 2]
        if not may_precede_cell[values[opening[opening > begin] - 1]].all():
            return _find_last_row_end_by_parsing(content, begin, delimiter)
        is_open.append((is_open[-1] + len(quotes)) % 2)
    for start, is_open_at_start in zip(reversed(windows), is_open[-2::-1], strict=True):
        newlines = _find_byte(values, _NEWLINE, start)
        quotes_before = is_open_at_start + np.searchsorted(_find_byte(values, _QUOTE, start), newlines)
        if (row_ends := newlines[quotes_before % 2 == 0]).size:
            return int(row_ends[-1]) + 1
    return 0


def _find_byte(values: npt.NDArray[np.uint8], byte: bytes, start: int) -> npt.NDArray[np.intp]:
    """Return the offsets of a byte in the window that begins at `start`."""
    return start + np.flatnonzero(values[start : start + _SCAN_BYTES] == ord(byte))


def _find_last_row_end_by_parsing(content: bytes, begin: int, delimiter: str) -> int:
    offset = begin
    ends_line = True

    def lines() -> Iterator[str]:
        nonlocal offset, ends_line
        for line in io.StringIO(content[begin : content.rfind(_NEWLINE) + 1].decode("latin-1"), newline=""):
            offset += len(line)
            ends_line = line.endswith("\n")
            yield line
        yield _SENTINEL

    previous_end = end = 0
    for _ in csv.reader(lines(), delimiter=delimiter):
        if ends_line:
            previous_end, end = end, offset
    return previous_end  # the last row is the sentinel, or an unclosed cell that swallowed it


def find_unclosed_row(content: bytes, delimiter: str) -> int | None:
    """Return the number of the line, from 1, in which the last row begins if it has an unclosed cell; else None."""
    if not content.endswith(_NEWLINE):
        content += _NEWLINE
    end = find_last_row_end(content, delimiter)
    return None if end == len(content) else 1 + content.count(_NEWLINE, 0, end)
