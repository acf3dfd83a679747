"""Tables on disk: stored tables, whose columns are read in blocks, and Arrow, CSV and Parquet files to write."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from nabla.engine import durable_files
from nabla.engine.data.dataset import ColumnValues, rows_per_block
from nabla.engine.data.schema import Column, StoredType
from nabla.engine.data.table_features import epoch_days
from nabla.engine.durable_files import Buffer, Sink
from nabla.engine.errors import Damaged
from nabla.engine.typing import AnyArray, Float64Array, RowIndices

_BATCH_ROWS = 2**16

# Maximum bytes of a block, whose rows may be few and whose texts long.
_BLOCK_BYTES = 2**25


def write_arrow_file(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an uncompressed Arrow IPC file, whose batches can be memory-mapped.

    Raises:
        StorageFailed: The sink cannot be written.
    """
    _write_ipc(pa.ipc.new_file, sink, schema, batches)


def write_arrow_stream(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow IPC stream.

    Raises:
        StorageFailed: The sink cannot be written.
    """
    _write_ipc(pa.ipc.new_stream, sink, schema, batches)


def write_csv(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a CSV file; numbers have as many digits as it takes to restore them exactly.

    Raises:
        StorageFailed: The sink cannot be written.
    """
    with pa.csv.CSVWriter(pa.PythonFile(_SinkFile(sink), "w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_parquet(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a Parquet file with a row group for each batch.

    Only text columns are dictionary-encoded: few predicted numbers repeat.

    Raises:
        StorageFailed: The sink cannot be written.
    """
    text_columns = [field.name for field in schema if pa.types.is_string(field.type)]
    with pa.parquet.ParquetWriter(pa.PythonFile(_SinkFile(sink), "w"), schema, use_dictionary=text_columns) as writer:
        for batch in batches:
            writer.write_batch(batch)


class _SinkFile:
    """A sink as the file object that Arrow expects."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: Any) -> None:
        self._sink.write(memoryview(data))

    def flush(self) -> None:
        """Do nothing: the owner of the sink syncs it."""

    def close(self) -> None:
        """Do nothing: the owner of the sink closes it."""


class _BatchedSinkFile(_SinkFile):
    """Collects the many small buffers of a batch and writes them at once.

    Arrow does not change a buffer while something refers to it, so no copies are needed.
    """

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._pending: list[Buffer] = []

    def write(self, data: Any) -> None:
        self._pending.append(memoryview(data))

    def write_pending(self) -> None:
        self._sink.writelines(self._pending)
        self._pending.clear()


def _write_ipc(
    open_writer: Callable[[pa.PythonFile, pa.Schema], pa.ipc.RecordBatchStreamWriter],
    sink: Sink,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> None:
    file = _BatchedSinkFile(sink)
    with open_writer(pa.PythonFile(file, "w"), schema) as writer:
        for batch in batches:
            for start in range(0, len(batch), _BATCH_ROWS):
                writer.write_batch(batch.slice(start, _BATCH_ROWS))
                file.write_pending()
    file.write_pending()


class StoredTable:
    """A table whose columns are read in blocks of bounded size."""

    def __init__(self, file: pa.ipc.RecordBatchFileReader) -> None:
        self.names: list[str] = file.schema.names
        self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]

    def iter_blocks(self, first: int, last: int) -> Iterator[list[ColumnValues]]:
        """Yield the rows from `first` up to, not including, `last`, column by column."""
        batch_start = 0
        for batch in self._batches:
            low, high = max(first - batch_start, 0), min(last - batch_start, len(batch))
            if low < high:
                for block in split_batch(batch.slice(low, high - low)):
                    yield [_ArrowValues(values) for values in block.columns]
            batch_start += len(batch)


class _ArrowValues(ColumnValues):
    """Values of a column of a table."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values
        self.type = _stored_type(values.type)

    def __len__(self) -> int:
        return len(self._values)

    def to_list(self) -> list[Any]:
        values: list[Any] = self._values.to_pylist()
        return values

    def to_float64(self) -> Float64Array:
        is_time = _is_time(self._values.type)
        numbers = epoch_days(self._values) if is_time else self._values.cast(pa.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False))

    def present_numbers(self) -> AnyArray:
        present = self._values.drop_null()
        if _is_time(present.type):
            present = present.cast(pa.int32() if pa.types.is_date32(present.type) else pa.int64())
        array: AnyArray = present.to_numpy(zero_copy_only=False)
        return array[~np.isnan(array)] if pa.types.is_floating(present.type) else array

    def count_texts(self) -> Iterator[tuple[str, int]]:
        counted = pc.value_counts(self._values.drop_null())
        return zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)

    def count_missing_texts(self) -> int:
        return int(self._values.null_count)

    def text_buffers(self) -> Iterator[bytes | memoryview]:
        lengths = pc.fill_null(pc.binary_length(self._values).cast(pa.int64()), -1)  # -1 distinguishes nulls from ""
        yield lengths.to_numpy(zero_copy_only=False).data
        filled = self._values.fill_null("").cast(pa.large_string())
        offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
        if offsets[-1] > offsets[0]:
            yield memoryview(filled.buffers()[2])[offsets[0] : offsets[-1]]

    def distinct_pairs(self, other: ColumnValues) -> Iterator[tuple[Any, Any]]:
        assert isinstance(other, _ArrowValues)
        columns = {"value": self._values, "other": other._values}
        pairs = pa.table(columns).group_by([*columns]).aggregate([])
        return zip(*(pairs[name].to_pylist() for name in columns), strict=True)


def _stored_type(arrow_type: pa.DataType) -> StoredType:
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return "text"
    if _is_time(arrow_type):
        return "date"
    return "boolean" if pa.types.is_boolean(arrow_type) else "number"


def _is_time(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_date(arrow_type) or pa.types.is_timestamp(arrow_type))


@contextmanager
def open_table(path: Path) -> Iterator[StoredTable]:
    """Map a table. Raises Damaged."""
    try:
        source = pa.memory_map(str(path))
        table = StoredTable(pa.ipc.open_file(source))
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"The stored file {path.name} cannot be read.") from error
    with source:
        yield table


def split_batch(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch in batches of bounded size.

    A file that was stored as it was uploaded may consist of a single batch.
    """
    if len(batch) > 1 and (len(batch) > rows_per_block(batch.num_columns) or batch.nbytes > _BLOCK_BYTES):
        half = len(batch) // 2
        yield from split_batch(batch.slice(0, half))
        yield from split_batch(batch.slice(half))
    else:
        yield batch


def store_rows(
    file: Path,
    rows: RowIndices,
    directory: Path,
    features: tuple[Column, ...],
    count_written: Callable[[int], None],
) -> tuple[Column, ...]:
    """Store the given rows of a table.

    Args:
        file: The table.
        rows: The rows, ascending.
        directory: Where they are stored.
        features: The columns that are features.
        count_written: Called with the number of rows of each block written.

    Returns:
        The columns, with their missing values counted again.

    Raises:
        Damaged: The table cannot be read.
        StorageFailed: The file cannot be written.
    """
    missing = dict.fromkeys((column.name for column in features), 0)
    try:
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)

            def iter_batches() -> Iterator[pa.RecordBatch]:
                first = 0
                stored_batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
                for batch in chain.from_iterable(map(split_batch, stored_batches)):
                    low, high = np.searchsorted(rows, (first, first + len(batch)))
                    if low < high:
                        selected = batch.take(pa.array(rows[low:high] - first))
                        for name in missing:
                            missing[name] += pc.sum(pc.is_null(selected.column(name), nan_is_null=True)).as_py()
                        yield selected
                        count_written(len(selected))
                    first += len(batch)

            durable_files.write_file(
                directory / "table.arrow", lambda sink: write_arrow_file(sink, reader.schema, iter_batches())
            )
    except (pa.ArrowException, LookupError) as error:
        raise Damaged(f"The stored file {file.name} cannot be read.") from error
    return tuple(replace(column, missing=missing[column.name]) for column in features)
