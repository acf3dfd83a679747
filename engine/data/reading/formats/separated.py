"""CSV, and what is like it with another delimiter."""

import codecs
import csv
import io
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv
import pyarrow.types as kinds

from engine.data.reading.ahead import ahead
from engine.data.reading.formats.lines import blocks
from engine.data.reading.formats.pieces import Readable, as_utf8
from engine.data.reading.formats.schema import Types, TypesChanged, check_names, check_width, common, is_date
from engine.errors import InvalidInput

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_QUOTED = re.compile(rb'"[^"]*"')
# Bytes that one thread parses at a time. Every column of every such part is an array, so that wide tables have few.
_PART, _WIDE = 2**20, 1000
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
    table: _Table | None = None
    for block in ahead(blocks(as_utf8(stream, field), field, quotes=True)):
        if table is None:
            table = _Table(block, field, delimiter, header, types, text)
            yield from table.parse(table.rest)
        else:
            yield from table.parse(block)
    if table is None:
        raise InvalidInput(field, "There is no data: the file is empty.")


class _Table:
    """What the first block says of a table, and its blocks, parsed one after the other."""

    def __init__(
        self,
        first: bytes,
        field: str,
        delimiter: str | None,
        header: bool | None,
        types: Types,
        text: frozenset[str],
    ) -> None:
        self._field = field
        self._check_text(first, 0, 1)
        begin = first.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
        line, below = _first_line(begin)
        self._delimiter = delimiter or _likely(line)
        cells = self._cells(line, first)
        if not any(cells):
            raise InvalidInput(field, "There is no data: the first line names the columns.")
        named = header if header is not None else not any(_NUMBER.fullmatch(cell) for cell in cells)
        self._names = cells if named else [f"column_{place}" for place in range(1, len(cells) + 1)]
        check_names(self._names, field)
        self.rest = below if named else begin
        self._types: dict[str, pa.DataType] = {**dict.fromkeys(text, pa.string()), **types}
        # Where the next block begins.
        self._byte = len(first) - len(self.rest)
        self._line = 1 + first.count(b"\n", 0, self._byte)
        self._inferred = False

    def parse(self, block: bytes) -> Iterator[pa.RecordBatch]:
        self._check_text(block, self._byte, self._line)
        if block.strip(b"\r\n"):
            self._check_closed(block)
            if not self._inferred:
                self._infer(block)
            try:
                table = self._read(block, self._types)
            except pa.ArrowInvalid as problem:
                raise self._reason(block, problem) from problem
            yield from table.to_batches()
        self._byte += len(block)
        self._line += block.count(b"\n")

    def _cells(self, line: bytes, first: bytes) -> list[str]:
        check_width(1 + _QUOTED.sub(b"", line).count(self._delimiter.encode()), self._field)
        try:
            row = next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=self._delimiter), [])
        except UnicodeDecodeError:
            raise self._not_utf8(first, 0) from None
        except csv.Error as problem:
            raise InvalidInput(self._field, f"The first line does not name columns: {problem}.") from problem
        return [cell.strip() for cell in row]

    def _check_text(self, block: bytes, byte: int, line: int) -> None:
        if (place := block.find(b"\0")) >= 0:
            line += block.count(b"\n", 0, place)
            raise InvalidInput(
                self._field, f"Line {line} holds a NUL byte (byte {byte + place}); this is not text in UTF-8."
            )

    def _check_closed(self, block: bytes) -> None:
        """A quotation mark that opens a cell and is not closed would make one cell of all rows below it."""
        if block.count(b'"') % 2 == 0:
            return
        try:
            for _ in csv.reader(io.StringIO(block.decode("utf-8", "replace"), newline=""), strict=True):
                pass
        except csv.Error as problem:
            if "unexpected end of data" in str(problem):
                raise InvalidInput(
                    self._field,
                    f"From line {self._line} on there is a quotation mark that opens a cell and is not closed.",
                ) from problem

    def _infer(self, block: bytes) -> None:
        """What columns are whose type is not known, by the first rows. Raises InvalidInput."""
        try:
            found = self._read(block, self._types).schema
        except pa.ArrowInvalid as problem:
            raise self._reason(block, problem) from problem
        for name, type in zip(found.names, found.types, strict=True):
            if kinds.is_binary(type):
                raise self._not_utf8(block, self._byte)
            self._types.setdefault(name, _kept(type))
        self._inferred = True

    def _read(self, block: bytes, types: Types, *, threads: bool = True) -> pa.Table:
        """Arrow needs some 10 kB for every column that it reads, so that wide tables are read in strips."""
        size = len(block) + 1 if len(self._names) > _WIDE else _PART
        strips = [self._names[start : start + _STRIP] for start in range(0, len(self._names), _STRIP)]
        try:
            tables = [self._read_strip(block, types, strip, size, threads) for strip in strips]
        except pa.ArrowInvalid as problem:
            if "straddling" not in str(problem):
                raise
            tables = [self._read_strip(block, types, strip, len(block) + 1, threads) for strip in strips]
        if len(tables) == 1:
            return tables[0]
        return pa.table([column for table in tables for column in table.columns], self._names)

    def _read_strip(self, block: bytes, types: Types, strip: list[str], size: int, threads: bool) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=pa.csv.ReadOptions(column_names=self._names, block_size=size, use_threads=threads),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=b'"' in block),
            convert_options=pa.csv.ConvertOptions(
                include_columns=strip,
                column_types={name: types[name] for name in strip if name in types},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _reason(self, block: bytes, problem: pa.ArrowInvalid) -> Exception:
        """Why a block cannot be read as it was meant to be."""
        try:
            text = block.decode()
        except UnicodeDecodeError:
            return self._not_utf8(block, self._byte)
        if (ragged := self._ragged(text)) is not None:
            return ragged
        try:
            found = self._read(block, {name: type for name, type in self._types.items() if type == pa.string()}).schema
        except pa.ArrowInvalid:
            return self._unreadable(problem)
        wider = {name: common(type, _kept(found.field(name).type)) for name, type in self._types.items()
                 if name in found.names}  # fmt: skip
        changed = {name: type for name, type in wider.items() if type != self._types[name]}
        return TypesChanged(changed) if changed else self._unreadable(problem)

    def _ragged(self, text: str) -> InvalidInput | None:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        width = len(self._names)
        line = self._line
        try:
            for row in rows:
                if row and len(row) != width:
                    return InvalidInput(
                        self._field, f"Line {line} has {len(row)} cells; the table has {width} columns."
                    )
                line = self._line + rows.line_num
        except csv.Error:
            return None
        return None

    def _unreadable(self, problem: pa.ArrowInvalid) -> InvalidInput:
        return InvalidInput(
            self._field, f"From line {self._line} on the file is not a table: {str(problem).splitlines()[0][:200]}."
        )

    def _not_utf8(self, block: bytes, byte: int) -> InvalidInput:
        try:
            block.decode()
        except UnicodeDecodeError as problem:
            byte += problem.start
        return InvalidInput(
            self._field, f"The file is not UTF-8 text (byte {byte}); UTF-16 begins with a byte order mark."
        )


def _first_line(text: bytes) -> tuple[bytes, bytes]:
    """The first line, which may go on in quotes, and what comes after it."""
    newline = b"\n" if b"\n" in text else b"\r"
    quotes, start = 0, 0
    while (end := text.find(newline, start)) >= 0:
        quotes += text.count(b'"', start, end)
        start = end + 1
        if quotes % 2 == 0:
            return text[:start], text[start:]
    return text, b""


def _likely(line: bytes) -> str:
    bare = _QUOTED.sub(b"", line)
    return max(_DELIMITERS, key=lambda delimiter: bare.count(delimiter.encode()))


def _kept(found: pa.DataType) -> pa.DataType:
    """What a column is read as that looks like `found`; one without any value is taken for numbers."""
    if kinds.is_integer(found) or kinds.is_floating(found) or kinds.is_null(found):
        return pa.float64()
    return found if kinds.is_boolean(found) or is_date(found) else pa.string()
