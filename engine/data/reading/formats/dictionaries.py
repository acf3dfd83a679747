"""Batches without dictionaries and views: every value written out."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from engine.data.reading.formats.schema import stored
from engine.data.reading.numbers import as_numpy
from engine.errors import TooLarge

_BYTES_AT_ONCE = 2**24


def plain(batch: pa.RecordBatch, field: str) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that do not grow beyond bounds: a file may have one long text stand for many.

    Columns that are not stored stay as they are. Raises TooLarge if a single row is too long.
    """
    packed = [place for place, type in enumerate(batch.schema.types) if _is_packed(type)]
    if not packed or not len(batch):
        yield batch
        return
    if len(batch) * sum(_longest(batch.column(place)) for place in packed) <= _BYTES_AT_ONCE:
        yield _written_out(batch)
        return
    lengths = sum((_lengths(batch.column(place)) for place in packed), np.zeros(len(batch), np.int64))
    ends = lengths.cumsum()
    start = 0
    while start < len(batch):
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + _BYTES_AT_ONCE, side="right"))
        if end <= start:
            raise TooLarge(
                field, f"A row has {int(lengths[start])} bytes of text; at most {_BYTES_AT_ONCE} are accepted."
            )
        yield _written_out(batch.slice(start, end - start))
        start = end


def _is_packed(type: pa.DataType) -> bool:
    return stored(type) is not None and bool(kinds.is_dictionary(type) or kinds.is_string_view(type))


def _longest(column: pa.Array) -> int:
    """No value has more bytes, once it is written out."""
    return int(_own_lengths(column.dictionary if kinds.is_dictionary(column.type) else column).max(initial=0))


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of each value, once it is written out."""
    if not kinds.is_dictionary(column.type):
        return _own_lengths(column)
    taken = pa.array(_own_lengths(column.dictionary)).take(column.indices)
    return _whole(taken)


def _own_lengths(values: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of each value, of a column that is no dictionary."""
    if kinds.is_string_view(values.type):
        # The length is the first number of each view.
        views = np.frombuffer(values.buffers()[1], np.int32).reshape(-1, 4)
        return np.maximum(views[values.offset : values.offset + len(values), 0].astype(np.int64), 0)
    if kinds.is_string(values.type) or kinds.is_large_string(values.type):
        return _whole(pa.compute.binary_length(values))
    return np.full(len(values), 8, np.int64)


def _whole(lengths: pa.Array) -> npt.NDArray[np.int64]:
    """What is not there has no length."""
    numbers: npt.NDArray[np.int64] = as_numpy(lengths.fill_null(0) if lengths.null_count else lengths)
    return numbers.astype(np.int64, copy=False)


def _written_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_value_by_value(column) for column in batch.columns], names=batch.schema.names)


def _value_by_value(column: pa.Array) -> pa.Array:
    if not _is_packed(column.type):
        return column
    if not kinds.is_dictionary(column.type):
        return column.cast(pa.string())
    if kinds.is_string_view(column.type.value_type):
        return _taken(column.dictionary, column.indices).cast(pa.string())
    return column.dictionary_decode()


def _taken(values: pa.Array, indices: pa.Array) -> pa.Array:
    """The views at `indices`, which Arrow does not take itself. All `values` written out might be without bounds: they
    may share their text."""
    if not len(values):
        return pa.nulls(len(indices), pa.string_view())
    places = pa.compute.fill_null(indices, 0).to_numpy(zero_copy_only=False)
    _, first, *text = values.buffers()
    views = np.frombuffer(first, "V16")[values.offset : values.offset + len(values)][places]
    valid = np.asarray(indices.is_valid()) & np.asarray(values.is_valid())[places]
    return pa.Array.from_buffers(
        values.type, len(indices), [pa.array(valid).buffers()[1], pa.py_buffer(views.tobytes()), *text]
    )
