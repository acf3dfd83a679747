"""NDJSON: a table with an object per line."""

import codecs
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json
import pyarrow.types

from nabla.engine.data.ingest.column_names import check_names
from nabla.engine.data.ingest.formats.byte_stream import ByteStream, LineBlock, read_line_blocks
from nabla.engine.data.ingest.formats.decompression import transcode_to_utf8
from nabla.engine.data.ingest.formats.json import OBJECT, nan_to_null
from nabla.engine.data.ingest.formats.types import ColumnTypes, ColumnTypesChanged, ReadHints, common_type, is_date
from nabla.engine.data.ingest.prefetch import prefetch
from nabla.engine.data.schema import format_category
from nabla.engine.errors import InvalidInput, quote

# Arrow parses a block in chunks of this size; a value that is longer than a chunk is an error.
_CHUNK_BYTES = 2**20
_VALUE_KINDS = {bool: "boolean", int: "number", float: "number", str: "text"}


def read_ndjson_batches(stream: ByteStream, field: str, hints: ReadHints) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table.

    Args:
        stream: The text.
        field: Field to name in errors.
        hints: What is known of the table; types that are not are inferred from the first block.

    Values of different kinds in one column, such as 1 and "a", are text, as in CSV.

    Raises:
        InvalidInput: A line is not an object, or the objects do not make a table.
        ColumnTypesChanged: A later block has other types or more columns.
    """
    known: dict[str, pa.DataType] = dict(hints.types)
    is_empty = True
    text = transcode_to_utf8(stream, field, hints.encoding)
    with closing(prefetch(read_line_blocks(text, field))) as blocks:
        for block in blocks:
            content = block.content.removeprefix(codecs.BOM_UTF8) if block.line == 1 else block.content
            content = nan_to_null(content)
            if not content.strip():
                continue
            parser = _BlockParser(LineBlock(content, block.byte, block.line), field)
            parser.check_objects()
            if is_empty:
                for column in parser.parse({}).schema:
                    known.setdefault(column.name, _inferred_type(column, field, column.name in hints.text_columns))
                check_names(list(known), field)
                is_empty = False
            yield from parser.parse_as(known).to_batches()
    if is_empty:
        raise InvalidInput(field, "There is no data: the file is empty.")


class _BlockParser:
    """Parses a block of lines, each of which is an object."""

    def __init__(self, block: LineBlock, field: str) -> None:
        self._content, self._first_line, self._field = block.content, block.line, field

    def check_objects(self) -> None:
        """Raise InvalidInput unless every line is an object in UTF-8 that is not nested too deeply."""
        try:
            if not self._content.isascii():
                self._content.decode()
            OBJECT.decode_lines(self._content)
        except UnicodeDecodeError as error:
            line = self._first_line + self._content.count(b"\n", 0, error.start)
            raise self._error(f"Line {line} is not UTF-8 text.") from error
        except (msgspec.MsgspecError, RecursionError) as error:
            for line, text in self._lines():
                try:
                    OBJECT.decode(text)
                except (msgspec.MsgspecError, RecursionError):
                    raise self._not_an_object(line) from error
            raise self._error(f"From line {self._first_line} on this is not NDJSON: one object per line.") from error

    def parse_as(self, types: ColumnTypes) -> pa.Table:
        """Return the rows as columns of these types. Raises InvalidInput; ColumnTypesChanged if others are needed."""
        try:
            table = self.parse(types)
        except pa.ArrowInvalid as error:
            wider = {
                column.name: common_type(types[column.name], _inferred_type(column, self._field, False))
                for column in self.parse({}).schema
                if column.name in types
            }
            changed = {name: type_ for name, type_ in wider.items() if type_ != types[name]}
            if changed:
                raise ColumnTypesChanged(changed) from error
            raise self._unreadable() from error
        if added := [column for column in table.schema if column.name not in types]:
            new_types = {column.name: _inferred_type(column, self._field, False) for column in added}
            raise ColumnTypesChanged({**types, **new_types})
        return table

    def parse(self, types: ColumnTypes) -> pa.Table:
        """Return the rows. Raises InvalidInput; ArrowInvalid if the given types do not fit."""
        try:
            return self._read(types, max(_CHUNK_BYTES, self._content.find(b"\n") + 1))
        except pa.ArrowInvalid as error:
            try:
                return self._read(types, len(self._content) + 1)  # a line may be longer than a chunk
            except pa.ArrowInvalid:
                if self._write_as_text(types):
                    return self.parse(types)
                if types:
                    raise
            raise self._unreadable() from error

    def _write_as_text(self, types: ColumnTypes) -> bool:
        """Rewrite the values of columns as text that have several kinds, or are to be text; return whether any do.

        Raises InvalidInput for a value that is a list or an object.
        """
        rows = list(self._decode_rows())
        kinds: dict[str, set[str]] = {}
        for _, row in rows:
            for name, value in row.items():
                if value is not None:
                    kinds.setdefault(name, set()).add(_VALUE_KINDS[type(value)])
        as_text = {
            name
            for name, found in kinds.items()
            if len(found) > 1 or (types.get(name) == pa.string() and found != {"text"})
        }
        if not as_text:
            return False
        for _, row in rows:
            row.update({name: format_category(row[name]) for name in as_text & row.keys() if row[name] is not None})
        lines = dict(rows)
        count = self._content.count(b"\n") + 1
        encode = msgspec.json.Encoder().encode
        self._content = b"\n".join(
            encode(lines[number]) if number in lines else b""
            for number in range(self._first_line, self._first_line + count)
        )
        return True

    def _decode_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows with their lines. Raises InvalidInput for a value that is a list or an object."""
        for line, text in self._lines():
            try:
                row = msgspec.json.decode(text)
            except (msgspec.MsgspecError, RecursionError):
                raise self._not_an_object(line) from None
            for name, value in row.items():
                if value is not None and type(value) not in _VALUE_KINDS:
                    raise self._error(
                        f"Line {line}, column {quote(name)}: expected a single value, got a list or an object."
                    )
            yield line, row

    def _read(self, types: ColumnTypes, chunk_bytes: int) -> pa.Table:
        schema = pa.schema(list(types.items())) if types else None
        return pa.json.read_json(
            pa.BufferReader(self._content),
            read_options=pa.json.ReadOptions(block_size=chunk_bytes),
            parse_options=pa.json.ParseOptions(explicit_schema=schema),
        )

    def _unreadable(self) -> InvalidInput:
        return self._error(
            f"From line {self._first_line} on the objects do not make a table: a name occurs twice in an object, or a "
            "number is too large."
        )

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        lines = enumerate(self._content.split(b"\n"), start=self._first_line)
        return ((number, text) for number, text in lines if text.strip())

    def _not_an_object(self, line: int) -> InvalidInput:
        return self._error(f"Line {line} is not a JSON object; expected one per line.")

    def _error(self, message: str) -> InvalidInput:
        return InvalidInput(self._field, message)


def _inferred_type(column: pa.Field, field: str, is_text_column: bool) -> pa.DataType:
    """Return the type to read a column as; one without any value is numeric."""
    types = pyarrow.types
    if types.is_nested(column.type):
        raise InvalidInput(field, f"The column {quote(column.name)} holds lists or objects; expected single values.")
    if types.is_null(column.type) and is_text_column:
        return pa.string()
    if types.is_null(column.type) or (types.is_integer(column.type) and not is_text_column):
        return pa.float64()
    if is_text_column and is_date(column.type):
        return pa.string()
    return column.type
