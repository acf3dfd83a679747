"""Arrow IPC files and streams, and Parquet: every batch validated, and expanded to plain columns of bounded size."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet
import pyarrow.types

from nabla.engine.data.ingest.column_names import check_names
from nabla.engine.data.ingest.formats.decompression import reject_unreadable
from nabla.engine.data.ingest.formats.detection import ARROW_MAGIC
from nabla.engine.data.ingest.formats.types import (
    Categoricals,
    find_categoricals,
    is_text,
    mark_categories,
    storage_type,
    to_numpy,
)
from nabla.engine.data.ingest_options import ProgressTracker
from nabla.engine.durable_files import digest_in_name
from nabla.engine.errors import InvalidInput, TooLarge

_DAMAGED_ARROW = "The Arrow file is damaged, or uses an unsupported feature."
_DAMAGED_PARQUET = "The Parquet file is damaged, or uses an unsupported feature."

# Maximum bytes of text in an expanded batch.
_MAX_TEXT_BYTES = 2**24
# Bytes that are mapped at once, if no batch is larger.
_MAPPED_BYTES = 2**26
# Maximum bytes that the object of a mapped batch allocates.
_BATCH_OVERHEAD_BYTES = 2**12
# Maximum bytes and rows of a batch of Parquet.
_PARQUET_BATCH_BYTES, _PARQUET_BATCH_ROWS = 2**24, 2**17
# The sizes in the footer of a hostile file are arbitrary.
_FOOTER_LIMITS = {"thrift_string_size_limit": 2**26, "thrift_container_size_limit": 2**22}


def read_arrow_batches(path: Path, field: str, tracker: ProgressTracker) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an IPC file or stream; every offset is validated. Raises InvalidInput, TooLarge."""
    with reject_unreadable(field, _DAMAGED_ARROW, pa.ArrowException):
        with path.open("rb") as file:
            is_file = file.read(len(ARROW_MAGIC)) == ARROW_MAGIC
        items = _read_file(path, tracker) if is_file else _read_stream(path, field, tracker)
        schema = next(items)
        check_names(schema.names, field)  # raises UnicodeDecodeError for names that are not UTF-8
    yield from _validate_batches(items, field, _DAMAGED_ARROW, tracker, find_categoricals(schema))


def read_parquet_batches(path: Path, field: str, tracker: ProgressTracker) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file. Raises InvalidInput, TooLarge."""
    with reject_unreadable(field, _DAMAGED_PARQUET, pa.ArrowException):
        file = _open_parquet(path, [])
        schema = file.schema_arrow
        check_names(schema.names, field)
        text = [column.name for column in schema if is_text(column.type)]
        if text:  # a short file may repeat a long text many times; as a dictionary it stays short
            file = _open_parquet(path, text)
    batches = _read_parquet(path, file, tracker)
    yield from _validate_batches(batches, field, _DAMAGED_PARQUET, tracker, find_categoricals(schema))


def iter_mapped_batches(path: Path, columns: Sequence[int] = ()) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an IPC file with all columns, or with some.

    A batch may be as large as the file, so it is mapped rather than read; and the file is mapped anew every 64 MiB, so
    that pages already seen do not count as memory of this process.
    """
    options = pa.ipc.IpcReadOptions(included_fields=[*columns])
    index, count = 0, 1
    while index < count:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source, options=options) as reader:
            count = reader.num_record_batches
            first = index
            while index < count and (index - first) * source.size() < _MAPPED_BYTES * count:
                yield reader.get_batch(index)
                index += 1


def read_adoptable_schema(path: Path, field: str) -> pa.Schema | None:
    """Return the schema of a file that is as it would be stored, so that it can be linked instead of copied; else None.

    Its columns have types that are stored, its batches are not compressed, so that mapping them takes no memory, and
    its digest is in its name. Raises InvalidInput.
    """
    with path.open("rb") as file:
        if digest_in_name(path.name) is None or file.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
            return None
    with (
        reject_unreadable(field, _DAMAGED_ARROW, pa.ArrowException),
        pa.memory_map(str(path)) as source,
        pa.ipc.open_file(source) as reader,
    ):
        check_names(reader.schema.names, field)  # raises UnicodeDecodeError for names that are not UTF-8
        if any(storage_type(column.type) != column.type for column in reader.schema):
            return None
        allocated = pa.total_allocated_bytes()
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            if pa.total_allocated_bytes() > allocated + _BATCH_OVERHEAD_BYTES:
                return None
            del batch
        return reader.schema


def _read_file(path: Path, tracker: ProgressTracker) -> Iterator[Any]:
    """Yield the schema, then the batches."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        yield reader.schema
        bytes_per_batch = source.size() // max(1, reader.num_record_batches)
    for batch in iter_mapped_batches(path):
        yield batch
        tracker.bytes_read += bytes_per_batch


def _read_stream(path: Path, field: str, tracker: ProgressTracker) -> Iterator[Any]:
    """Yield the schema, then the batches."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield reader.schema
        position = 0
        for batch in reader:
            yield batch
            tracker.bytes_read += source.tell() - position
            position = source.tell()
        if source.tell() < source.size():  # Arrow ignores the rest, so rows would be lost silently
            raise InvalidInput(field, "More data follows the end of the Arrow stream; send one stream with all rows.")


def _open_parquet(path: Path, dictionary_columns: list[str]) -> Any:
    return pa.parquet.ParquetFile(
        path,
        read_dictionary=dictionary_columns,
        memory_map=False,
        buffer_size=2**20,
        pre_buffer=False,
        schema_depth_limit=100,
        **_FOOTER_LIMITS,
    )


def _read_parquet(path: Path, file: Any, tracker: ProgressTracker) -> Iterator[pa.RecordBatch]:
    size, total_rows = path.stat().st_size, max(1, file.metadata.num_rows)
    batch_size = max(1, min(_PARQUET_BATCH_ROWS, _PARQUET_BATCH_BYTES // (8 * len(file.schema_arrow))))
    rows = 0
    for batch in file.iter_batches(batch_size=batch_size, use_threads=True):
        before, rows = rows, rows + len(batch)
        tracker.bytes_read += max(0, size * rows // total_rows - size * before // total_rows)
        yield batch


def _validate_batches(
    batches: Iterator[pa.RecordBatch], field: str, message: str, tracker: ProgressTracker, categoricals: Categoricals
) -> Iterator[pa.RecordBatch]:
    while True:
        with reject_unreadable(field, message, pa.ArrowException):
            batch = next(batches, None)
            if batch is not None:
                batch.validate(full=True)
        if batch is None:
            return
        batch = mark_categories(batch, categoricals, _direct_value_bytes)
        for expanded in _expand_batch(batch, field):
            tracker.add_decompressed(expanded.nbytes, field)
            yield expanded


def _expand_batch(batch: pa.RecordBatch, field: str) -> Iterator[pa.RecordBatch]:
    """Yield a batch with dictionaries and string views written out, in slices whose text is bounded.

    In a hostile file one long text may stand for many values. Columns that cannot be stored are left as they are.
    Raises TooLarge if a single row is too long.
    """
    indices = [index for index, type_ in enumerate(batch.schema.types) if _is_indirect(type_)]
    if not indices or not len(batch):
        yield batch
        return
    if len(batch) * sum(_max_value_bytes(batch.column(index)) for index in indices) <= _MAX_TEXT_BYTES:
        yield _expand_columns(batch)
        return
    row_bytes = sum((_value_bytes(batch.column(index)) for index in indices), np.zeros(len(batch), np.int64))
    ends = row_bytes.cumsum()
    start = 0
    while start < len(batch):
        bytes_before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, bytes_before + _MAX_TEXT_BYTES, side="right"))
        if end <= start:
            raise TooLarge(
                field, f"A row has {int(row_bytes[start])} bytes of text; at most {_MAX_TEXT_BYTES} are accepted."
            )
        yield _expand_columns(batch.slice(start, end - start))
        start = end


def _is_indirect(type_: pa.DataType) -> bool:
    """Return whether several values of a type may share their bytes."""
    is_indirect = pyarrow.types.is_dictionary(type_) or pyarrow.types.is_string_view(type_)
    return storage_type(type_) is not None and bool(is_indirect)


def _max_value_bytes(column: pa.Array) -> int:
    """Return an upper bound of the bytes of an expanded value."""
    values = column.dictionary if pyarrow.types.is_dictionary(column.type) else column
    return int(_direct_value_bytes(values).max(initial=0))


def _value_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return the bytes of each value once it is expanded."""
    if not pyarrow.types.is_dictionary(column.type):
        return _direct_value_bytes(column)
    return _lengths_to_numpy(pa.array(_direct_value_bytes(column.dictionary)).take(column.indices))


def _direct_value_bytes(values: pa.Array) -> npt.NDArray[np.int64]:
    """Return the bytes of each value of a column that is not a dictionary."""
    if pyarrow.types.is_string_view(values.type):
        # The first of the four int32 of a view is the length.
        views = np.frombuffer(values.buffers()[1], np.int32).reshape(-1, 4)
        return np.maximum(views[values.offset : values.offset + len(values), 0].astype(np.int64), 0)
    if is_text(values.type):
        return _lengths_to_numpy(pa.compute.binary_length(values))
    return np.full(len(values), 8, np.int64)


def _lengths_to_numpy(lengths: pa.Array) -> npt.NDArray[np.int64]:
    """Return lengths as int64; missing values have length 0."""
    numbers: npt.NDArray[np.int64] = to_numpy(lengths.fill_null(0) if lengths.null_count else lengths)
    return numbers.astype(np.int64, copy=False)


def _expand_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [_expand_column(column) for column in batch.columns]
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _expand_column(column: pa.Array) -> pa.Array:
    if not _is_indirect(column.type):
        return column
    if not pyarrow.types.is_dictionary(column.type):
        return column.cast(pa.string())
    if pyarrow.types.is_string_view(column.type.value_type):
        return _take_views(column.dictionary, column.indices).cast(pa.string())
    return column.dictionary_decode()


def _take_views(values: pa.Array, indices: pa.Array) -> pa.Array:
    """Return the string views at `indices`, which `Array.take` does not support.

    Casting all `values` to strings first is unbounded, since they may share their text.
    """
    if not len(values):
        return pa.nulls(len(indices), pa.string_view())
    positions = pa.compute.fill_null(indices, 0).to_numpy(zero_copy_only=False)
    _, view_buffer, *text_buffers = values.buffers()
    views = np.frombuffer(view_buffer, "V16")[values.offset : values.offset + len(values)][positions]
    valid = np.asarray(indices.is_valid()) & np.asarray(values.is_valid())[positions]
    return pa.Array.from_buffers(
        values.type, len(indices), [pa.array(valid).buffers()[1], pa.py_buffer(views.tobytes()), *text_buffers]
    )
