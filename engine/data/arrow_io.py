"""Writing of tables as Arrow IPC files and streams, CSV and Parquet, in batches of bounded size."""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from nabla.engine.durable_files import Buffer, Sink

_BATCH_ROWS = 2**16


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
