"""CSV and its variants with other delimiters, parsed by Arrow in blocks, in several threads."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.types

from nabla.engine.data.ingest.column_names import check_names, check_width
from nabla.engine.data.ingest.formats.byte_stream import (
    ByteStream,
    LineBlock,
    read_line_blocks,
)
from nabla.engine.data.ingest.formats.csv_dialect import (
    LineFilter,
    are_row_numbers,
    count_cells,
    detect_delimiter,
    detect_header,
    find_last_row_end,
    find_unclosed_row,
    has_padded_number,
    split_first_line,
    split_separator_line,
)
from nabla.engine.data.ingest.formats.decompression import transcode_to_utf8
from nabla.engine.data.ingest.formats.types import (
    ColumnTypes,
    ColumnTypesChanged,
    ReadHints,
    common_type,
    is_date,
)
from nabla.engine.data.ingest.prefetch import MAX_THREADS, map_ordered
from nabla.engine.data.ingest_options import CsvFormat
from nabla.engine.data.text_formats import not_utf8
from nabla.engine.errors import InvalidInput

_NEWLINE, _QUOTE = b"\n", b'"'
_NON_EMPTY = re.compile(rb"[^\r\n]")
# Rows that tell whether the first line names the columns.
_SNIFFED_ROWS = 50
_SNIFFED_BYTES = 2**16
# The beginning of a block, in which codes such as 007 are looked for.
_EXAMINED_BYTES = 2**20
# A code that Arrow reads as a missing value.
_CODE_THAT_IS_MISSING = b"NA"
# Codes such as those of countries, among which NA is one too (Namibia).
_TWO_LETTER_CODE = r"^[A-Z]{2}$"
_NULL_TEXTS = pa.array(sorted({"", *pa.csv.ConvertOptions().null_values}), pa.string())
_NULL_TEXTS_OF_CODES = [text for text in pa.csv.ConvertOptions().null_values if text != "NA"]
# Columns that are parsed at once: Arrow needs some 10 kB for each.
_COLUMN_GROUP = 5000
# The beginning of Arrow's messages: a number of the row within the block.
_ARROW_ROW = re.compile(r"Row #\d+: ")


def detect_csv_format(
    stream: ByteStream, field: str, *, format: CsvFormat, hints: ReadHints, named_columns: frozenset[str]
) -> CsvFormat:
    """Return the format with what was to be detected. Arguments and errors are those of `read_csv_batches`."""
    parser, _ = _open_blocks(stream, field, format, hints, named_columns)
    return replace(format, delimiter=parser.delimiter, header=parser.has_header)


def read_csv_batches(
    stream: ByteStream, field: str, *, format: CsvFormat, hints: ReadHints, named_columns: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table.

    Args:
        stream: The text, in UTF-8 or UTF-16.
        field: Field to name in errors.
        format: How it is divided into cells.
        hints: What is known of the table; types that are not are inferred from the first block.
        named_columns: Columns that are known to exist.

    Raises:
        InvalidInput: The text is not a table.
        ColumnTypesChanged: A later block has other types.
    """
    parser, blocks = _open_blocks(stream, field, format, hints, named_columns)
    row_blocks = (block for block in chain((parser.first_rows,), blocks) if _NON_EMPTY.search(block.content))
    if (first_rows := next(row_blocks, None)) is None:
        return
    parser.infer_types(first_rows)
    with closing(map_ordered(parser.parse, chain((first_rows,), row_blocks), MAX_THREADS)) as parsed:
        for batches in parsed:
            yield from batches


def _open_blocks(
    stream: ByteStream, field: str, format: CsvFormat, hints: ReadHints, named_columns: frozenset[str]
) -> "tuple[_BlockParser, Iterator[LineBlock]]":
    """Return a parser that has seen the first block, and the blocks after it."""
    dialect = _Dialect(format.delimiter)
    text = transcode_to_utf8(stream, field, hints.encoding)
    if format.skip_rows or format.comment is not None:
        text = LineFilter(text, format.skip_rows, format.comment)
    blocks = read_line_blocks(text, field, dialect.find_last_row_end)
    first = next(blocks, None)
    if first is None:
        raise InvalidInput(field, "There is no data: the file is empty.")
    delimiter = dialect.detect_delimiter(first.content)
    return _BlockParser(first, field, delimiter, format.header, hints, named_columns), blocks


class _Dialect:
    """The delimiter that was requested, or that is detected from the first content."""

    def __init__(self, delimiter: str | None) -> None:
        self._delimiter = delimiter

    def detect_delimiter(self, content: bytes) -> str:
        """Return the delimiter; `content` is the beginning of the text, the first time."""
        if self._delimiter is None:
            stated, rest = split_separator_line(content)
            self._delimiter = stated or detect_delimiter(rest)
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
        hints: ReadHints,
        named_columns: frozenset[str],
    ) -> None:
        """Read the names of the columns from the first line; `first_rows` is the rest of the block."""
        self._field = field
        self.delimiter = delimiter
        self._check_text(first)
        _, content = split_separator_line(first.content)
        line, rest = split_first_line(content)
        cells = self._parse_first_line(line, first)
        if not any(cells):
            raise InvalidInput(field, "There is no data: the first line names the columns.")
        columns = self._sniff_columns(rest)
        self.has_header = detect_header(cells, columns, named_columns) if header is None else header
        self._names = cells if self.has_header else [f"column_{number}" for number in range(1, len(cells) + 1)]
        # pandas and R write row numbers as a first column without a name.
        self._row_number_columns: frozenset[str] = frozenset()
        if not self._names[0]:
            self._names = [_unused_name("column_1", self._names), *self._names[1:]]
            if len(cells) > 1 and columns and are_row_numbers(columns[0]):
                self._row_number_columns = frozenset(self._names[:1])
        check_names(self._names, field)
        self._decimal = hints.decimal
        known_types = {**dict.fromkeys(hints.text_columns, pa.string()), **hints.types}
        self._types = {name: known_types[name] for name in self._names if name in known_types}
        self._code_columns: frozenset[str] = frozenset()
        self._number_columns, self._known_code_columns = hints.number_columns, hints.code_columns
        content = rest if self.has_header else line + rest
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
        self._types |= dict.fromkeys(self._find_padded_columns(block.content), pa.string())
        self._code_columns = self._find_code_columns(block.content)

    def _find_padded_columns(self, content: bytes) -> list[str]:
        """Return the columns of digits of which some begin with a superfluous 0: codes such as 007."""
        names = [
            name for name in self._names if self._types.get(name) == pa.float64() and name not in self._number_columns
        ]
        if not names or not has_padded_number(content[:_EXAMINED_BYTES], self.delimiter):
            return []
        texts = self._read_columns(content, dict.fromkeys(names, pa.string()), names)
        return [
            name
            for name, column in zip(names, texts.columns, strict=True)
            if _are_padded(pa.compute.utf8_trim_whitespace(column.drop_null()))
        ]

    def _find_code_columns(self, content: bytes) -> frozenset[str]:
        """Return the text columns whose values are two-letter codes, so that NA among them is not a missing value."""
        texts = [name for name, type_ in self._types.items() if type_ == pa.string() and name in self._names]
        codes: list[str] = []
        if not texts or _CODE_THAT_IS_MISSING not in content:
            return frozenset()
        if self._known_code_columns is not None:
            return self._known_code_columns.intersection(texts)
        for name, column in zip(texts, self._read_columns(content, self._types, texts).columns, strict=True):
            values = column.drop_null()
            if column.null_count and len(values):
                are_codes = pa.compute.match_substring_regex(pa.compute.unique(values), _TWO_LETTER_CODE)
                if pa.compute.all(are_codes).as_py():
                    codes.append(name)
        return frozenset(codes)

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
        kept = [name for name in self._names if name not in self._row_number_columns]
        groups = [kept[start : start + _COLUMN_GROUP] for start in range(0, len(kept), _COLUMN_GROUP)]
        tables = [self._read_columns(content, types, names) for names in groups]
        if len(tables) == 1 and not self._code_columns:
            return tables[0]
        columns = dict(zip(kept, (column for table in tables for column in table.columns), strict=True))
        if self._code_columns:
            codes = [*self._code_columns]
            columns |= dict(
                zip(codes, self._read_columns(content, types, codes, _NULL_TEXTS_OF_CODES).columns, strict=True)
            )
        return pa.table(columns)

    def _read_columns(
        self, content: bytes, types: ColumnTypes, names: list[str], null_values: list[str] | None = None
    ) -> pa.Table:
        """Parse some columns in this thread alone; other threads parse other blocks."""
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(column_names=self._names, block_size=len(content) + 1, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=_QUOTE in content),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names,
                column_types={name: types[name] for name in names if name in types},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                decimal_point=self._decimal,
                null_values=null_values,
            ),
        )

    def _read_numbers_as_text(self, content: bytes) -> pa.Table:
        """Parse a block with blank cells among its numbers. Raises ArrowInvalid if there is other text among them.

        For Arrow an empty cell is a missing value, but not one of spaces or of empty quotes, nor NA beside a space.
        """
        numeric = {name for name, type_ in self._types.items() if type_ == pa.float64()}
        table = self._read(content, {**self._types, **dict.fromkeys(numeric, pa.string())})
        columns = [
            _parse_numbers(column, self._decimal) if name in numeric else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        return pa.table(columns, table.column_names)

    def _detect_types(self, content: bytes, types: ColumnTypes) -> dict[str, pa.DataType]:
        """Return the types of all columns, given some of them. Raises ArrowInvalid."""
        table = self._read(content, types)
        return {
            name: pa.float64()
            if name not in types and pyarrow.types.is_string(column.type) and _is_numeric(column, self._decimal)
            else column.type
            for name, column in zip(table.column_names, table.columns, strict=True)
        }

    def _parse_first_line(self, line: bytes, first: LineBlock) -> list[str]:
        check_width(count_cells(line, self.delimiter), self._field)
        try:
            row = next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=self.delimiter), [])
        except UnicodeDecodeError:
            raise self._not_utf8(first) from None
        except csv.Error as error:
            raise InvalidInput(self._field, f"The first line does not name columns: {error}.") from error
        return [unicodedata.normalize("NFC", cell).strip() for cell in row]

    def _sniff_columns(self, rest: bytes) -> list[tuple[str, ...]]:
        """Return the cells of the first rows after the first line, by column; none if the rows cannot be parsed."""
        start = rest[:_SNIFFED_BYTES]
        end = find_last_row_end(start, self.delimiter)
        text = (start[:end] or rest).decode("utf-8", "replace")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        try:
            rows = [row for row in islice(reader, _SNIFFED_ROWS) if row]
        except csv.Error:
            return []
        return [tuple(cell.strip() for cell in column) for column in zip(*rows, strict=False)]

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
        if block.is_last and (line := find_unclosed_row(block.content, self.delimiter)) is not None:
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
        if not changed:  # Arrow infers a number that it cannot read as one, such as 0x1F
            changed = {name: pa.string() for name in self._types if not self._is_readable(block.content, name)}
        return ColumnTypesChanged(changed) if changed else self._unreadable(block, error)

    def _is_readable(self, content: bytes, name: str) -> bool:
        try:
            self._read_columns(content, self._types, [name])
        except pa.ArrowInvalid:
            return False
        return True

    def _find_ragged_row(self, text: str, first_line: int) -> InvalidInput | None:
        """Return the error for the first row that does not have a cell for each column.

        Arrow's `invalid_row_handler` counts rows, but errors name lines; these differ with blank lines and with line
        breaks in cells (`test_tables.test_rejected_tables`).
        """
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        line = first_line
        try:
            for row in rows:
                if row and len(row) != len(self._names):
                    remedy = " If it is not a row of the table, remove it."
                    if len(row) > len(self._names):
                        remedy = " If lines precede the table, set skip_rows; every column needs a name."
                    return InvalidInput(
                        self._field,
                        f"Line {line} has {len(row)} cells; the table has {len(self._names)} columns.{remedy}",
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
        return not_utf8(self._field, byte)


def _are_padded(texts: pa.ChunkedArray) -> bool:
    is_padded = pa.compute.any(pa.compute.match_substring_regex(texts, r"^0\d+$"), min_count=0)
    return bool(is_padded.as_py() and pa.compute.all(pa.compute.match_substring_regex(texts, r"^\d+$")).as_py())


def _unused_name(name: str, names: Sequence[str]) -> str:
    while name in names:
        name += "_"
    return name


def _column_type(type_: pa.DataType) -> pa.DataType:
    """Return the type to read a column as that Arrow infers `type_` for; one without any value is numeric."""
    types = pyarrow.types
    if types.is_integer(type_) or types.is_floating(type_) or types.is_null(type_):
        return pa.float64()
    return type_ if types.is_boolean(type_) or is_date(type_) else pa.string()


def _parse_numbers(texts: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Return texts as numbers; blank cells and the spellings of null are missing. Raises ArrowInvalid."""
    trimmed = pa.compute.utf8_trim_whitespace(texts)
    is_null = pa.compute.is_in(trimmed, _NULL_TEXTS)
    numbers = pa.compute.if_else(is_null, pa.scalar(None, trimmed.type), trimmed)
    if decimal != ".":
        # A point must not become the decimal separator: 1.5 is then not a number.
        numbers = pa.compute.replace_substring(pa.compute.replace_substring(numbers, ".", "?"), decimal, ".")
    return numbers.cast(pa.float64())


def _is_numeric(texts: pa.ChunkedArray, decimal: str) -> bool:
    """Return whether there are numbers, and otherwise only blank cells."""
    try:
        numbers = _parse_numbers(texts, decimal)
    except pa.ArrowInvalid:
        return False
    return bool(numbers.null_count < len(numbers))
