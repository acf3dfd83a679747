"""CSV, and what is like it with another delimiter."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.types as kinds

from nabla.engine.data.ingest.formats.byte_stream import Readable, exactly
from nabla.engine.data.ingest.formats.decompression import as_utf8
from nabla.engine.data.ingest.formats.types import Types, TypesChanged, check_names, check_width, common, is_date
from nabla.engine.data.ingest.prefetch import THREADS, abreast
from nabla.engine.errors import InvalidInput

# Bytes. Small blocks stay in the processor's cache while they are parsed; measured with `benchmarks.ingest`.
BLOCK, LONGEST = 2**22, 2**24
_WINDOW = 2**16
_NEWLINE = b"\n"


@dataclass(frozen=True)
class Block:
    """Whole lines. `byte`, `line`: where they begin, bytes counted from 0 and lines from 1. `last`: none come after."""

    content: bytes
    byte: int
    line: int
    last: bool = False


def last_newline(content: bytes) -> int:
    """The place behind it; 0 if there is none."""
    return content.rfind(_NEWLINE) + 1


def blocks(stream: Readable, field: str, last_end: Callable[[bytes], int] = last_newline) -> Iterator[Block]:
    """Parts of about 4 MiB, each of whole lines. `last_end`: the place behind the last one in a text.

    Raises InvalidInput if a line is longer than 16 MiB.
    """
    left, wanted = b"", BLOCK
    byte, line = 0, 1
    while part := exactly(stream, wanted - len(left)):
        left += part
        if len(left) < wanted:
            break
        if end := last_end(left):
            block = Block(left[:end], byte, line)
            yield block
            byte += end
            line += count(block.content, _NEWLINE)
            left, wanted = left[end:], BLOCK
        elif wanted < LONGEST:
            wanted = LONGEST
        else:
            quoted = ", or holds a quotation mark that is not closed" if last_newline(left) else ""
            raise InvalidInput(field, f"Line {line} is longer than the {LONGEST} bytes that are accepted{quoted}.")
    if left:
        yield Block(left, byte, line, last=True)


def count(content: bytes, byte: bytes) -> int:
    """How often a byte is in it. Faster than `bytes.count`, and other threads of Python go on meanwhile."""
    found: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8)
    parts = (found[start : start + _WINDOW] for start in range(0, len(found), _WINDOW))  # they stay in the cache
    return sum(int(np.count_nonzero(part == ord(byte))) for part in parts)


Bytes = npt.NDArray[np.uint8]

_QUOTE = b'"'
_DELIMITERS = b",;\t|"
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


_NOTHING = pa.array(sorted({"", *pa.csv.ConvertOptions().null_values}), pa.string())


def as_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Missing where there is nothing, or what stands for nothing. Raises ArrowInvalid if there is another text."""
    trimmed = pa.compute.utf8_trim_whitespace(texts)
    nothing = pa.compute.is_in(trimmed, _NOTHING)
    return pa.compute.if_else(nothing, pa.scalar(None, trimmed.type), trimmed).cast(pa.float64())


def are_numbers(texts: pa.ChunkedArray) -> bool:
    """Whether there are numbers, and nothing else but blank cells."""
    try:
        numbers = as_numbers(texts)
    except pa.ArrowInvalid:
        return False
    return bool(numbers.null_count < len(numbers))


_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_FILLED = re.compile(rb"[^\r\n]")
# Arrow counts them from the beginning of what it was given.
_ROW = re.compile(r"Row #\d+: ")
# Columns that are read at once.
_STRIP = 5000


def batches(
    stream: Readable,
    field: str,
    *,
    delimiter: str | None,
    header: bool | None,
    types: Types,
    text: frozenset[str],
) -> Iterator[pa.RecordBatch]:
    """The rows of a table; columns in `text` are not taken for numbers. `delimiter`: None finds out.

    Raises InvalidInput, TypesChanged.
    """
    between = _Delimiter(delimiter)
    read = blocks(as_utf8(stream, field), field, lambda content: last_end(content, between.of(content)))
    first = next(read, None)
    if first is None:
        raise InvalidInput(field, "There is no data: the file is empty.")
    table = _Table(first, field, between.of(first.content), header, types, text)
    rows = (block for block in chain((table.rest,), read) if _FILLED.search(block.content))
    if (begin := next(rows, None)) is None:
        return
    table.infer(begin)
    with closing(abreast(table.parse, chain((begin,), rows), THREADS)) as parsed:
        for part in parsed:
            yield from part


class _Delimiter:
    """What stands between cells: as it was `given`, or as the first line of the first content makes likely."""

    def __init__(self, given: str | None) -> None:
        self._known = given

    def of(self, content: bytes) -> str:
        if self._known is None:
            self._known = delimiter_of(first_line(content)[0])
        return self._known


class _Table:
    """What the first block says of a table; with that its blocks are parsed, each alone."""

    def __init__(
        self,
        first: Block,
        field: str,
        delimiter: str,
        header: bool | None,
        types: Types,
        text: frozenset[str],
    ) -> None:
        self._field = field
        self._delimiter = delimiter
        self._check_text(first)
        line, below = first_line(first.content)
        cells = self._cells(line, first)
        if not any(cells):
            raise InvalidInput(field, "There is no data: the first line names the columns.")
        named = header if header is not None else not any(_NUMBER.fullmatch(cell) for cell in cells)
        self._names = cells if named else [f"column_{place}" for place in range(1, len(cells) + 1)]
        check_names(self._names, field)
        self._types: dict[str, pa.DataType] = {**dict.fromkeys(text, pa.string()), **types}
        content = below if named else line + below
        above = len(first.content) - len(content)
        self.rest = Block(content, above, 1 + first.content.count(b"\n", 0, above), first.last)

    def infer(self, block: Block) -> None:
        """What columns are whose type is not known, by the first rows. Raises InvalidInput."""
        self._check(block)
        try:
            found = self._looks(block.content, self._types)
        except pa.ArrowInvalid as problem:
            raise self._reason(block, problem) from problem
        for name, type in found.items():
            if kinds.is_binary(type):
                raise self._not_utf8(block)
            self._types.setdefault(name, _kept(type))

    def parse(self, block: Block) -> list[pa.RecordBatch]:
        """The rows of a block. Raises InvalidInput, TypesChanged."""
        self._check(block)
        try:
            table = self._read(block.content, self._types)
        except pa.ArrowInvalid as problem:
            try:
                table = self._read_with_blanks(block.content)
            except pa.ArrowInvalid:
                raise self._reason(block, problem) from problem
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches

    def _looks(self, content: bytes, known: Types) -> dict[str, pa.DataType]:
        """What columns are, by what is in them. Raises ArrowInvalid."""
        table = self._read(content, known)
        return {
            name: pa.float64()
            if name not in known and kinds.is_string(column.type) and are_numbers(column)
            else column.type
            for name, column in zip(table.column_names, table.columns, strict=True)
        }

    def _read_with_blanks(self, content: bytes) -> pa.Table:
        """Numbers read as text first. Raises ArrowInvalid if there is other text among them."""
        numbers = {name for name, type in self._types.items() if type == pa.float64()}
        table = self._read(content, {**self._types, **dict.fromkeys(numbers, pa.string())})
        columns = [
            as_numbers(column) if name in numbers else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        return pa.table(columns, table.column_names)

    def _cells(self, line: bytes, first: Block) -> list[str]:
        check_width(cells_in(line, self._delimiter), self._field)
        try:
            row = next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=self._delimiter), [])
        except UnicodeDecodeError:
            raise self._not_utf8(first) from None
        except csv.Error as problem:
            raise InvalidInput(self._field, f"The first line does not name columns: {problem}.") from problem
        return [cell.strip() for cell in row]

    def _check(self, block: Block) -> None:
        self._check_text(block)
        self._check_closed(block)

    def _check_text(self, block: Block) -> None:
        if (place := block.content.find(b"\0")) >= 0:
            line = block.line + block.content.count(b"\n", 0, place)
            raise InvalidInput(
                self._field, f"Line {line} holds a NUL byte (byte {block.byte + place}); this is not text in UTF-8."
            )

    def _check_closed(self, block: Block) -> None:
        """A quotation mark that opens a cell and is not closed would make one cell of all rows below it."""
        if block.last and (line := line_of_open_cell(block.content, self._delimiter)) is not None:
            raise InvalidInput(
                self._field,
                f"The row in line {block.line + line - 1} holds a quotation mark that opens a cell and is not closed.",
            )

    def _read(self, content: bytes, types: Types) -> pa.Table:
        """Arrow needs some 10 kB for every column that it reads, so that wide tables are read in strips."""
        strips = [self._names[start : start + _STRIP] for start in range(0, len(self._names), _STRIP)]
        tables = [self._read_strip(content, types, strip) for strip in strips]
        if len(tables) == 1:
            return tables[0]
        return pa.table([column for table in tables for column in table.columns], self._names)

    def _read_strip(self, content: bytes, types: Types, strip: list[str]) -> pa.Table:
        """In one piece, by this thread alone: others have blocks of their own."""
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(column_names=self._names, block_size=len(content) + 1, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=b'"' in content),
            convert_options=pa.csv.ConvertOptions(
                include_columns=strip,
                column_types={name: types[name] for name in strip if name in types},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _reason(self, block: Block, problem: pa.ArrowInvalid) -> Exception:
        """Why a block cannot be read as it was meant to be."""
        try:
            text = block.content.decode()
        except UnicodeDecodeError:
            return self._not_utf8(block)
        if (ragged := self._ragged(text, block.line)) is not None:
            return ragged
        texts = {name: type for name, type in self._types.items() if type == pa.string()}
        try:
            found = self._looks(block.content, texts)
        except pa.ArrowInvalid:
            return self._unreadable(block, problem)
        wider = {name: common(type, _kept(found[name])) for name, type in self._types.items() if name in found}
        changed = {name: type for name, type in wider.items() if type != self._types[name]}
        return TypesChanged(changed) if changed else self._unreadable(block, problem)

    def _ragged(self, text: str, first_line: int) -> InvalidInput | None:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        width = len(self._names)
        line = first_line
        try:
            for row in rows:
                if row and len(row) != width:
                    return InvalidInput(
                        self._field, f"Line {line} has {len(row)} cells; the table has {width} columns."
                    )
                line = first_line + rows.line_num
        except csv.Error:
            return None
        return None

    def _unreadable(self, block: Block, problem: pa.ArrowInvalid) -> InvalidInput:
        reason = _ROW.sub("", str(problem).splitlines()[0])[:200]
        return InvalidInput(self._field, f"From line {block.line} on the file is not a table: {reason}.")

    def _not_utf8(self, block: Block) -> InvalidInput:
        byte = block.byte
        try:
            block.content.decode()
        except UnicodeDecodeError as problem:
            byte += problem.start
        return InvalidInput(
            self._field, f"The file is not UTF-8 text (byte {byte}); UTF-16 begins with a byte order mark."
        )


def _kept(found: pa.DataType) -> pa.DataType:
    """What a column is read as that looks like `found`; one without any value is taken for numbers."""
    if kinds.is_integer(found) or kinds.is_floating(found) or kinds.is_null(found):
        return pa.float64()
    return found if kinds.is_boolean(found) or is_date(found) else pa.string()
