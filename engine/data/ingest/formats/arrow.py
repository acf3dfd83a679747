"""Arrow's own format, as a file and as a stream."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet
import pyarrow.types as kinds

from nabla.engine.data.ingest.formats.decompression import refusing
from nabla.engine.data.ingest.formats.types import check_names, stored
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest.validation import as_numpy
from nabla.engine.durable_files import digest_in
from nabla.engine.errors import InvalidInput, TooLarge

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


FILE_MAGIC = b"ARROW1"
# Bytes that are mapped at once, if no batch is larger.
_MAPPED = 2**26
# Bytes that a mapped batch itself may take.
_OF_A_BATCH = 2**12
_DAMAGED_ARROW = "The Arrow file is damaged, or written in a way that is not accepted."


def read_arrow_batches(path: Path, field: str, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a table, every offset checked. Raises InvalidInput, TooLarge."""
    with refusing(field, _DAMAGED_ARROW):
        with path.open("rb") as file:
            is_file = file.read(len(FILE_MAGIC)) == FILE_MAGIC
        parts = _of_file(path, meter) if is_file else _of_stream(path, field, meter)
        check_names(next(parts).names, field)  # they need not be UTF-8
    while True:
        with refusing(field, _DAMAGED_ARROW):
            part = next(parts, None)
            if part is not None:
                part.validate(full=True)
        if part is None:
            return
        for batch in plain(part, field):
            meter.unpacked(batch.nbytes, field)
            yield batch


def _of_file(path: Path, meter: Meter) -> Iterator[Any]:
    """The schema, and the batches."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        yield reader.schema
        share = source.size() // max(1, reader.num_record_batches)
    for batch in mapped(path):
        yield batch
        meter.bytes_read += share


def mapped(path: Path, columns: Sequence[int] = ()) -> Iterator[pa.RecordBatch]:
    """The batches of a file, with these columns or with all. One may be as large as the file, so that it is mapped, and
    not read; and mapped anew after a while, so that what was looked at does not count as memory of this process."""
    options = pa.ipc.IpcReadOptions(included_fields=[*columns])
    place, count = 0, 1
    while place < count:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source, options=options) as reader:
            count = reader.num_record_batches
            begin = place
            while place < count and (place - begin) * source.size() < _MAPPED * count:
                yield reader.get_batch(place)
                place += 1


def staying(path: Path, field: str) -> pa.Schema | None:
    """The schema of the file at `path` if it is as it would be written, else None: its columns are of types that are
    stored, and what is mapped of it takes no memory, since it is not packed; and its name has its digest. Raises
    InvalidInput."""
    with path.open("rb") as file:
        if digest_in(path.name) is None or file.read(len(FILE_MAGIC)) != FILE_MAGIC:
            return None
    with refusing(field, _DAMAGED_ARROW), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        check_names(reader.schema.names, field)  # they need not be UTF-8
        if any(stored(column.type) != column.type for column in reader.schema):
            return None
        before = pa.total_allocated_bytes()
        for place in range(reader.num_record_batches):
            batch = reader.get_batch(place)
            if pa.total_allocated_bytes() > before + _OF_A_BATCH:
                return None
            del batch
        return reader.schema


def _of_stream(path: Path, field: str, meter: Meter) -> Iterator[Any]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield reader.schema
        before = 0
        for batch in reader:
            yield batch
            meter.bytes_read += source.tell() - before
            before = source.tell()
        if source.tell() < source.size():  # rows that nobody would miss
            raise InvalidInput(field, "More follows after the end of the Arrow stream; one stream holds all rows.")


_DAMAGED_PARQUET = "The Parquet file is damaged, or written in a way that is not accepted."
# Bytes of a batch, and rows at most.
_BATCH, _ROWS = 2**24, 2**17
# A footer may announce what it likes.
_FOOTER_LIMITS = {"thrift_string_size_limit": 2**26, "thrift_container_size_limit": 2**22}


def read_parquet_batches(path: Path, field: str, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a table. Raises InvalidInput, TooLarge."""
    size = path.stat().st_size
    with refusing(field, _DAMAGED_PARQUET):
        file = _open(path, [])
        schema = file.schema_arrow
        check_names(schema.names, field)
        text = [column.name for column in schema if kinds.is_string(column.type) or kinds.is_large_string(column.type)]
        if text:  # a short file may hold a long text many times over; this way it stays short
            file = _open(path, text)
        announced = max(1, file.metadata.num_rows)
        parts = file.iter_batches(batch_size=max(1, min(_ROWS, _BATCH // (8 * len(schema)))), use_threads=True)
    rows = 0
    while True:
        with refusing(field, _DAMAGED_PARQUET):
            part = next(parts, None)
            if part is not None:
                part.validate(full=True)
        if part is None:
            break
        rows += len(part)
        meter.bytes_read += max(0, size * rows // announced - size * (rows - len(part)) // announced)
        for batch in plain(part, field):
            meter.unpacked(batch.nbytes, field)
            yield batch


def _open(path: Path, text: list[str]) -> Any:
    return pa.parquet.ParquetFile(
        path,
        read_dictionary=text,
        memory_map=False,
        buffer_size=2**20,
        pre_buffer=False,
        schema_depth_limit=100,
        **_FOOTER_LIMITS,
    )
