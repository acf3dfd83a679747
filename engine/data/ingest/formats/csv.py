"""CSV and its variants with other delimiters, parsed by Arrow in blocks, in several threads.

A quotation mark opens a quoted cell only at the beginning of a cell; delimiters and line ends then belong to the cell
until it is closed. Any other quotation mark is a plain character, as in 5" pipe. Arrow and Python's csv module agree.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.types

from nabla.engine.data.ingest.formats.byte_stream import (
    MAX_LINE_BYTES,
    ByteStream,
    LineBlock,
    end_of_last_line,
    read_line_blocks,
)
from nabla.engine.data.ingest.formats.decompression import transcode_to_utf8
from nabla.engine.data.ingest.formats.types import (
    ColumnTypes,
    ColumnTypesChanged,
    check_names,
    check_width,
    common_type,
    is_date,
)
from nabla.engine.data.ingest.prefetch import MAX_THREADS, map_ordered
from nabla.engine.errors import InvalidInput

_NEWLINE, _QUOTE = b"\n", b'"'
_DELIMITERS = b",;\t|"
_NON_EMPTY = re.compile(rb"[^\r\n]")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NULL_TEXTS = pa.array(sorted({"", *pa.csv.ConvertOptions().null_values}), pa.string())
# Columns that are parsed at once: Arrow needs some 10 kB for each.
_COLUMN_GROUP = 5000
# Bytes that are searched for quotation marks at once, so that they stay in the CPU cache.
_SCAN_BYTES = 2**16
# The beginning of Arrow's messages: a number of the row within the block.
_ARROW_ROW = re.compile(r"Row #\d+: ")
# A last row that Python's csv module returns on its own only if all cells before it are closed.
_SENTINEL = "end"
# No cell is longer than the longest row. This limit of the csv module is global.
csv.field_size_limit(MAX_LINE_BYTES + len(_SENTINEL))


def read_csv_batches(
    stream: ByteStream,
    field: str,
    *,
    delimiter: str | None,
    header: bool | None,
    types: ColumnTypes,
    text_columns: frozenset[str],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table.

    Args:
        stream: The text, in UTF-8 or UTF-16.
        field: Field to name in errors.
        delimiter: None detects it from the first line.
        header: Whether the first line names the columns; None detects it.
        types: Types of columns, as far as they are known; the others are inferred from the first block.
        text_columns: Columns that are read as text even if all values are numbers.

    Raises:
        InvalidInput: The text is not a table.
        ColumnTypesChanged: A later block has other types.
    """
    dialect = _Dialect(delimiter)
    blocks = read_line_blocks(transcode_to_utf8(stream, field), field, dialect.find_last_row_end)
    first = next(blocks, None)
    if first is None:
        raise InvalidInput(field, "There is no data: the file is empty.")
    parser = _BlockParser(first, field, dialect.detect_delimiter(first.content), header, types, text_columns)
    row_blocks = (block for block in chain((parser.first_rows,), blocks) if _NON_EMPTY.search(block.content))
    if (first_rows := next(row_blocks, None)) is None:
        return
    parser.infer_types(first_rows)
    with closing(map_ordered(parser.parse, chain((first_rows,), row_blocks), MAX_THREADS)) as parsed:
        for batches in parsed:
            yield from batches


class _Dialect:
    """The delimiter that was requested, or that is detected from the first content."""

    def __init__(self, delimiter: str | None) -> None:
        self._delimiter = delimiter

    def detect_delimiter(self, content: bytes) -> str:
        """Return the delimiter; `content` is the beginning of the text, the first time."""
        if self._delimiter is None:
            self._delimiter = detect_delimiter(split_first_line(content)[0])
        return self._delimiter

    def find_last_row_end(self, content: bytes) -> int:
        return find_last_row_end(content, self.detect_delimiter(content))


class _BlockParser:
    """Parses blocks of rows, independently of each other, into the columns that the first block has."""

    def __init__(
        self,
        first: LineBlock,
        field: str,
        delimiter: str,
        header: bool | None,
        types: ColumnTypes,
        text_columns: frozenset[str],
    ) -> None:
        """Read the names of the columns from the first line; `first_rows` is the rest of the block."""
        self._field = field
        self._delimiter = delimiter
        self._check_text(first)
        line, rest = split_first_line(first.content)
        cells = self._parse_first_line(line, first)
        if not any(cells):
            raise InvalidInput(field, "There is no data: the first line names the columns.")
        has_header = header if header is not None else not any(_NUMBER.fullmatch(cell) for cell in cells)
        self._names = cells if has_header else [f"column_{number}" for number in range(1, len(cells) + 1)]
        check_names(self._names, field)
        self._types: dict[str, pa.DataType] = {**dict.fromkeys(text_columns, pa.string()), **types}
        content = rest if has_header else line + rest
        skipped = len(first.content) - len(content)
        self.first_rows = LineBlock(content, skipped, 1 + first.content.count(_NEWLINE, 0, skipped), first.is_last)

    def infer_types(self, block: LineBlock) -> None:
        """Infer the types that are not known yet from a block. Raises InvalidInput."""
        self._check(block)
        try:
            types = self._detect_types(block.content, self._types)
        except pa.ArrowInvalid as error:
            raise self._explain(block, error) from error
        for name, type_ in types.items():
            if pyarrow.types.is_binary(type_):
                raise self._not_utf8(block)
            self._types.setdefault(name, _column_type(type_))

    def parse(self, block: LineBlock) -> list[pa.RecordBatch]:
        """Return the rows of a block. Raises InvalidInput, ColumnTypesChanged."""
        self._check(block)
        try:
            table = self._read(block.content, self._types)
        except pa.ArrowInvalid as error:
            try:
                table = self._read_numbers_as_text(block.content)
            except pa.ArrowInvalid:
                raise self._explain(block, error) from error
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches

    def _read(self, content: bytes, types: ColumnTypes) -> pa.Table:
        groups = [self._names[start : start + _COLUMN_GROUP] for start in range(0, len(self._names), _COLUMN_GROUP)]
        tables = [self._read_columns(content, types, names) for names in groups]
        if len(tables) == 1:
            return tables[0]
        return pa.table([column for table in tables for column in table.columns], self._names)

    def _read_columns(self, content: bytes, types: ColumnTypes, names: list[str]) -> pa.Table:
        """Parse some columns in this thread alone; other threads parse other blocks."""
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(column_names=self._names, block_size=len(content) + 1, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=_QUOTE in content),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names,
                column_types={name: types[name] for name in names if name in types},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _read_numbers_as_text(self, content: bytes) -> pa.Table:
        """Parse a block with blank cells among its numbers. Raises ArrowInvalid if there is other text among them.

        For Arrow an empty cell is a missing value, but not one of spaces or of empty quotes, nor NA beside a space.
        """
        numeric = {name for name, type_ in self._types.items() if type_ == pa.float64()}
        table = self._read(content, {**self._types, **dict.fromkeys(numeric, pa.string())})
        columns = [
            _parse_numbers(column) if name in numeric else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        return pa.table(columns, table.column_names)

    def _detect_types(self, content: bytes, types: ColumnTypes) -> dict[str, pa.DataType]:
        """Return the types of all columns, given some of them. Raises ArrowInvalid."""
        table = self._read(content, types)
        return {
            name: pa.float64()
            if name not in types and pyarrow.types.is_string(column.type) and _is_numeric(column)
            else column.type
            for name, column in zip(table.column_names, table.columns, strict=True)
        }

    def _parse_first_line(self, line: bytes, first: LineBlock) -> list[str]:
        check_width(_count_cells(line, self._delimiter), self._field)
        try:
            row = next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=self._delimiter), [])
        except UnicodeDecodeError:
            raise self._not_utf8(first) from None
        except csv.Error as error:
            raise InvalidInput(self._field, f"The first line does not name columns: {error}.") from error
        return [cell.strip() for cell in row]

    def _check(self, block: LineBlock) -> None:
        self._check_text(block)
        self._check_last_row(block)

    def _check_text(self, block: LineBlock) -> None:
        if (index := block.content.find(b"\0")) >= 0:
            line = block.line + block.content.count(_NEWLINE, 0, index)
            raise InvalidInput(
                self._field, f"Line {line} holds a NUL byte (byte {block.byte + index}), so it is not text in UTF-8."
            )

    def _check_last_row(self, block: LineBlock) -> None:
        """Reject an unclosed quotation mark, which would make one cell of all rows after it."""
        if block.is_last and (line := find_unclosed_row(block.content, self._delimiter)) is not None:
            raise InvalidInput(
                self._field,
                f"The row in line {block.line + line - 1} holds a quotation mark that opens a cell and is not closed.",
            )

    def _explain(self, block: LineBlock, error: pa.ArrowInvalid) -> Exception:
        """Return the error for a block that cannot be parsed with the present types."""
        try:
            text = block.content.decode()
        except UnicodeDecodeError:
            return self._not_utf8(block)
        if (ragged := self._find_ragged_row(text, block.line)) is not None:
            return ragged
        text_types = {name: type_ for name, type_ in self._types.items() if type_ == pa.string()}
        try:
            detected = self._detect_types(block.content, text_types)
        except pa.ArrowInvalid:
            return self._unreadable(block, error)
        wider = {
            name: common_type(type_, _column_type(detected[name]))
            for name, type_ in self._types.items()
            if name in detected
        }
        changed = {name: type_ for name, type_ in wider.items() if type_ != self._types[name]}
        return ColumnTypesChanged(changed) if changed else self._unreadable(block, error)

    def _find_ragged_row(self, text: str, first_line: int) -> InvalidInput | None:
        """Return the error for the first row that does not have a cell for each column.

        Arrow's `invalid_row_handler` counts rows, but errors name lines; these differ with blank lines and with line
        breaks in cells (`test_tables.test_rejected_tables`).
        """
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        line = first_line
        try:
            for row in rows:
                if row and len(row) != len(self._names):
                    return InvalidInput(
                        self._field, f"Line {line} has {len(row)} cells; the table has {len(self._names)} columns."
                    )
                line = first_line + rows.line_num
        except csv.Error:
            return None
        return None

    def _unreadable(self, block: LineBlock, error: pa.ArrowInvalid) -> InvalidInput:
        reason = _ARROW_ROW.sub("", str(error).splitlines()[0])[:200]
        return InvalidInput(self._field, f"From line {block.line} on the file is not a table: {reason}.")

    def _not_utf8(self, block: LineBlock) -> InvalidInput:
        byte = block.byte
        try:
            block.content.decode()
        except UnicodeDecodeError as error:
            byte += error.start
        return InvalidInput(
            self._field, f"The file is not UTF-8 text (byte {byte}); UTF-16 needs a byte order mark at its beginning."
        )


def _column_type(type_: pa.DataType) -> pa.DataType:
    """Return the type to read a column as that Arrow infers `type_` for; one without any value is numeric."""
    types = pyarrow.types
    if types.is_integer(type_) or types.is_floating(type_) or types.is_null(type_):
        return pa.float64()
    return type_ if types.is_boolean(type_) or is_date(type_) else pa.string()


def _parse_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as numbers; blank cells and the spellings of null are missing. Raises ArrowInvalid."""
    trimmed = pa.compute.utf8_trim_whitespace(texts)
    is_null = pa.compute.is_in(trimmed, _NULL_TEXTS)
    return pa.compute.if_else(is_null, pa.scalar(None, trimmed.type), trimmed).cast(pa.float64())


def _is_numeric(texts: pa.ChunkedArray) -> bool:
    """Return whether there are numbers, and otherwise only blank cells."""
    try:
        numbers = _parse_numbers(texts)
    except pa.ArrowInvalid:
        return False
    return bool(numbers.null_count < len(numbers))


def split_first_line(text: bytes) -> tuple[bytes, bytes]:
    """Return the first line that is not empty, whose quoted cells may span several, and the rest of the text."""
    text = text.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    newline = _NEWLINE if _NEWLINE in text else b"\r"
    for match in re.finditer(rb"%s|%s" % (_quoted_cells(_DELIMITERS).pattern, newline), text):
        if match[0] == newline:
            return text[: match.end()], text[match.end() :]
    return text, b""


def detect_delimiter(line: bytes) -> str:
    """Return the delimiter that occurs most often outside the quoted cells of a line."""
    unquoted = _quoted_cells(_DELIMITERS).sub(b"", line)
    return max(_DELIMITERS.decode(), key=lambda delimiter: unquoted.count(delimiter.encode()))


def _count_cells(line: bytes, delimiter: str) -> int:
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
