"""JSON: a list of objects, columns of values, or arrays of numbers."""

import codecs
import io
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from engine.data.examples import Array, from_rows
from engine.data.reading.formats.pieces import as_utf8
from engine.data.reading.formats.readable import Readable, exactly
from engine.data.reading.formats.schema import check_names, shown
from engine.errors import InvalidInput, TooLarge

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
