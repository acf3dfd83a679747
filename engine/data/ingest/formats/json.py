"""JSON: a list of objects or columns of values, which become NDJSON, or arrays."""

import codecs
import io
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from nabla.engine.data.examples import matrix_from_rows
from nabla.engine.data.ingest.column_names import check_names
from nabla.engine.data.ingest.formats.byte_stream import ByteStream, read_exactly
from nabla.engine.data.ingest.formats.decompression import open_source, transcode_to_utf8
from nabla.engine.data.ingest_options import ProgressTracker, SourceFile
from nabla.engine.data.text_formats import not_utf8
from nabla.engine.errors import InvalidInput, TooLarge, quote
from nabla.engine.typing import AnyArray

MAX_JSON_BYTES = 2**26

_STRING_OR_NAN = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<![A-Za-z0-9_])NaN(?![A-Za-z0-9_])')
_FIELDS = {"inputs", "targets", "labels", "weights"}


class _AnyObject(msgspec.Struct, gc=False):
    """A JSON object, whose members are skipped."""


# Limits the depth of nesting, which Arrow does not: it parses a value recursively until the stack overflows.
OBJECT = msgspec.json.Decoder(_AnyObject)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MATRIX, _VECTOR = msgspec.json.Decoder(list[list[float]]), msgspec.json.Decoder(list[float])
_LABELS = msgspec.json.Decoder(list[bool | int | str])


def read_json(
    source: SourceFile, tracker: ProgressTracker, encoding: str | None
) -> ByteStream | dict[str, AnyArray | list[Any]]:
    """Return the rows of a table as NDJSON, or arrays by field; labels are a list. Raises InvalidInput, TooLarge."""
    field = source.field
    with open_source(source, tracker) as stream:
        text = read_exactly(transcode_to_utf8(stream, field, encoding), MAX_JSON_BYTES + 1)
    text = text.removeprefix(codecs.BOM_UTF8)
    if len(text) > MAX_JSON_BYTES:
        raise TooLarge(
            field, f"JSON is accepted up to {MAX_JSON_BYTES} bytes; NDJSON, an object per line, may have any size."
        )
    try:
        if not text.isascii():
            text.decode()
        text = nan_to_null(text)
        if text.lstrip()[:1] == b"[":
            return _to_ndjson(_LIST.decode(text))
        members = _MEMBERS.decode(text)
        if "inputs" in members and members.keys() <= _FIELDS:
            return {name: _decode_array(raw, name) for name, raw in members.items()}
        return _columns_to_ndjson(members, field)
    except UnicodeDecodeError as error:
        raise not_utf8(field, error.start) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        if _begins_with_object(text):
            return io.BytesIO(text)
        raise InvalidInput(
            field,
            "Expected JSON: a list of objects, an object of columns that are lists, or an object with inputs and "
            f"targets or labels ({error}).",
        ) from error


def _begins_with_object(text: bytes) -> bool:
    """Return whether the first of several lines is an object, as in NDJSON."""
    first, _, rest = text.lstrip().partition(b"\n")
    try:
        OBJECT.decode(first)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return bool(rest.strip())


def nan_to_null(text: bytes) -> bytes:
    """Return JSON with null in place of NaN, which Python writes although JSON has no such number."""
    if b"NaN" not in text:
        return text
    return _STRING_OR_NAN.sub(lambda match: b"null" if match[0] == b"NaN" else match[0], text)


def _to_ndjson(rows: Iterable[msgspec.Raw | bytes]) -> ByteStream:
    # A line break within a JSON value can only be white space: in strings it is escaped.
    return io.BytesIO(b"\n".join(bytes(row).replace(b"\n", b" ").replace(b"\r", b" ") for row in rows))


def _columns_to_ndjson(members: dict[str, msgspec.Raw], field: str) -> ByteStream:
    check_names(list(members), field)
    columns = {name: _LIST.decode(raw) for name, raw in members.items()}
    first, *others = columns
    for name in others:
        if len(columns[name]) != len(columns[first]):
            raise InvalidInput(
                field,
                f"The column {quote(name)} has {len(columns[name])} values, {quote(first)} has {len(columns[first])}; "
                "all columns must have the same number.",
            )
    keys = [msgspec.json.encode(name) + b":" for name in columns]
    return _to_ndjson(
        b"{" + b",".join(key + bytes(value) for key, value in zip(keys, row, strict=True)) + b"}"
        for row in zip(*columns.values(), strict=True)
    )


def _decode_array(raw: msgspec.Raw, name: str) -> AnyArray | list[Any]:
    try:
        if name == "labels":
            return list(_LABELS.decode(raw))
        if bytes(memoryview(raw)[:64]).translate(None, b" \t\r\n")[:2] == b"[[":
            return matrix_from_rows(_MATRIX.decode(raw), name)
        return np.array(_VECTOR.decode(raw), np.float64)
    except msgspec.ValidationError as error:
        expected = "whole numbers, booleans or text" if name == "labels" else "numbers, or of rows of numbers"
        raise InvalidInput(name, f"Expected a list of {expected} ({error}).") from error
