"""JSON: a list of objects, columns of values, or arrays of numbers."""

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.types as kinds

from nabla.engine.data.examples import Array, from_rows
from nabla.engine.data.ingest.formats.byte_stream import Readable, exactly
from nabla.engine.data.ingest.formats.csv import blocks
from nabla.engine.data.ingest.formats.decompression import as_utf8
from nabla.engine.data.ingest.formats.types import Types, TypesChanged, check_names, common, is_date, shown
from nabla.engine.data.ingest.prefetch import ahead
from nabla.engine.errors import InvalidInput, TooLarge

LARGEST = 2**26

_ARRAYS = {"inputs", "targets", "labels", "weights"}
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TABLE, _COLUMN = msgspec.json.Decoder(list[list[float]]), msgspec.json.Decoder(list[float])
_LABELS = msgspec.json.Decoder(list[bool | int | str])


def read(stream: Readable, field: str) -> Readable | dict[str, Array | list[Any]]:
    """Rows as NDJSON has them, or arrays by their names. Raises InvalidInput, TooLarge."""
    text = exactly(as_utf8(stream, field), LARGEST + 1).removeprefix(codecs.BOM_UTF8)
    if len(text) > LARGEST:
        raise TooLarge(field, f"JSON is read up to {LARGEST} bytes; NDJSON, an object per line, may be of any size.")
    try:
        if not text.isascii():
            text.decode()
        if text.lstrip()[:1] == b"[":
            return _lines(_ROWS.decode(text))
        members = _MEMBERS.decode(text)
        if "inputs" in members and members.keys() <= _ARRAYS:
            return {name: _array(raw, name) for name, raw in members.items()}
        return _columns(members, field)
    except UnicodeDecodeError as problem:
        raise InvalidInput(field, f"The file is not UTF-8 text (byte {problem.start}).") from problem
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise InvalidInput(
            field,
            "Expected JSON: a list of objects, an object of columns that are lists, or an object with inputs and "
            f"targets or labels ({problem}).",
        ) from problem


def _lines(rows: Iterable[msgspec.Raw | bytes]) -> Readable:
    # What ends a line inside of a value can only be white space.
    return io.BytesIO(b"\n".join(bytes(row).replace(b"\n", b" ").replace(b"\r", b" ") for row in rows))


def _columns(members: dict[str, msgspec.Raw], field: str) -> Readable:
    check_names(list(members), field)
    columns = {name: _ROWS.decode(raw) for name, raw in members.items()}
    rows = {len(column) for column in columns.values()}
    if len(rows) > 1:
        first, *others = columns
        other = next(name for name in others if len(columns[name]) != len(columns[first]))
        raise InvalidInput(
            field,
            f"The column {shown(other)} has {len(columns[other])} values, {shown(first)} has {len(columns[first])}; "
            "all columns have the same number.",
        )
    names = [msgspec.json.encode(name) + b":" for name in columns]
    return _lines(
        b"{" + b",".join(name + bytes(value) for name, value in zip(names, row, strict=True)) + b"}"
        for row in zip(*columns.values(), strict=True)
    )


def _array(raw: msgspec.Raw, name: str) -> Array | list[Any]:
    try:
        if name == "labels":
            return list(_LABELS.decode(raw))
        if bytes(memoryview(raw)[:64]).translate(None, b" \t\r\n")[:2] == b"[[":
            return from_rows(_TABLE.decode(raw), name)
        return np.array(_COLUMN.decode(raw), np.float64)
    except msgspec.ValidationError as problem:
        what = "whole numbers, truth values or text" if name == "labels" else "numbers, or of rows of numbers"
        raise InvalidInput(name, f"Expected a list of {what} ({problem}).") from problem


_PART = 2**20


class _Any(msgspec.Struct, gc=False):
    """Any object; what is in it is skipped."""


# Arrow trusts the stack with however deep a value is nested; this does not.
_OBJECTS = msgspec.json.Decoder(_Any)


def read_ndjson_batches(stream: Readable, field: str, types: Types, text: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a table; columns in `text` are not taken for dates. Raises InvalidInput, TypesChanged."""
    known: dict[str, pa.DataType] = dict(types)
    empty = True
    for read in ahead(blocks(as_utf8(stream, field), field)):
        line = read.line
        block = read.content.removeprefix(codecs.BOM_UTF8) if line == 1 else read.content
        if block.strip():
            _check(block, field, line)
            if empty:
                for column in _parse(block, field, line, {}).schema:
                    known.setdefault(column.name, _kept(column, field, column.name in text))
                check_names(list(known), field)
                empty = False
            yield from _parse_as(known, block, field, line).to_batches()
    if empty:
        raise InvalidInput(field, "There is no data: the file is empty.")


def _check(block: bytes, field: str, line: int) -> None:
    """Raises InvalidInput unless every line is an object, in UTF-8, and not nested beyond all measure."""
    try:
        if not block.isascii():
            block.decode()
        _OBJECTS.decode_lines(block)
    except UnicodeDecodeError as problem:
        line += block.count(b"\n", 0, problem.start)
        raise InvalidInput(field, f"Line {line} is not UTF-8 text.") from problem
    except (msgspec.MsgspecError, RecursionError) as problem:
        for number, text in enumerate(block.split(b"\n"), start=line):
            if text.strip() and not _is_object(text):
                raise InvalidInput(field, f"Line {number} is not a JSON object; expected one per line.") from problem
        raise InvalidInput(field, f"From line {line} on this is not NDJSON: one object per line.") from problem


def _is_object(line: bytes) -> bool:
    try:
        _OBJECTS.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _parse_as(known: Types, block: bytes, field: str, line: int) -> pa.Table:
    try:
        table = _parse(block, field, line, known)
    except pa.ArrowInvalid as problem:
        found = _parse(block, field, line, {}).schema
        wider = {
            column.name: common(known[column.name], _kept(column, field, False))
            for column in found
            if column.name in known
        }
        changed = {name: type for name, type in wider.items() if type != known[name]}
        if changed:
            raise TypesChanged(changed) from problem
        raise _mixed(block, field, line) from problem
    if more := [column for column in table.schema if column.name not in known]:
        raise TypesChanged({**known, **{column.name: _kept(column, field, False) for column in more}})
    return table


def _parse(block: bytes, field: str, line: int, known: Types) -> pa.Table:
    """Raises InvalidInput; ArrowInvalid if `known` does not fit."""
    size = max(_PART, block.find(b"\n") + 1)
    try:
        return _read(block, known, size)
    except pa.ArrowInvalid as problem:
        try:
            return _read(block, known, len(block) + 1)
        except pa.ArrowInvalid:
            if known:
                raise
        raise _mixed(block, field, line) from problem


def _read(block: bytes, known: Types, size: int) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(block),
        read_options=pa.json.ReadOptions(block_size=size),
        parse_options=pa.json.ParseOptions(explicit_schema=pa.schema(list(known.items())) if known else None),
    )


def _kept(column: pa.Field, field: str, text: bool) -> pa.DataType:
    """What a column is read as; one without any value is taken for numbers."""
    if kinds.is_nested(column.type):
        raise InvalidInput(field, f"The column {shown(column.name)} holds lists or objects; expected single values.")
    if kinds.is_null(column.type) or (kinds.is_integer(column.type) and not text):
        return pa.float64()
    if text and is_date(column.type):
        return pa.string()
    return column.type


_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "text"}


def _mixed(block: bytes, field: str, line: int) -> InvalidInput:
    """The first value that is of another kind than those before it."""
    before: dict[str, str] = {}
    for number, text in enumerate(block.split(b"\n"), start=line):
        if not text.strip():
            continue
        try:
            row = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return InvalidInput(field, f"Line {number} is not a JSON object; expected one per line.")
        for name, value in row.items():
            kind = _KINDS.get(type(value))
            if kind is None and value is not None:
                return InvalidInput(
                    field, f"Line {number}, column {shown(name)}: expected a single value, got a list or an object."
                )
            if kind is not None and before.setdefault(name, kind) != kind:
                return InvalidInput(
                    field, f"Line {number}, column {shown(name)}: got {kind}, where rows before have {before[name]}."
                )
    return InvalidInput(
        field, f"From line {line} on the objects do not make a table: a name twice, or too large a number."
    )
