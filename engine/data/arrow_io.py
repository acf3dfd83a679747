"""Tables as they are stored, an Arrow file, not packed, in batches of bounded size; and as others read them."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from nabla.engine.durable_files import Buffer, Sink

# Rows of a stored batch.
_ROWS = 2**16


def write_batches(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Raises StorageFailed."""
    file = _Gathering(sink)
    with pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer:
        _write_in_parts(writer, file, batches)
    file.pass_on()


def write_stream(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """The same as an Arrow stream. Raises StorageFailed."""
    file = _Gathering(sink)
    with pa.ipc.new_stream(pa.PythonFile(file, "w"), schema) as writer:
        _write_in_parts(writer, file, batches)
    file.pass_on()


def _write_in_parts(
    writer: pa.ipc.RecordBatchStreamWriter, file: "_Gathering", batches: Iterable[pa.RecordBatch]
) -> None:
    for batch in batches:
        for start in range(0, len(batch), _ROWS):
            writer.write_batch(batch.slice(start, _ROWS))
            file.pass_on()


def write_csv(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Numbers have as many digits as tell them from all others. Raises StorageFailed."""
    with pa.csv.CSVWriter(_file_over(sink), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_parquet(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """A row group for each batch. Texts are looked up in a dictionary; of numbers few are the same. Raises
    StorageFailed."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with pa.parquet.ParquetWriter(_file_over(sink), schema, use_dictionary=texts) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _file_over(sink: Sink) -> pa.PythonFile:
    """As Arrow's writers take one."""
    return pa.PythonFile(_File(sink), "w")


class _File:
    """A sink as Arrow wants it."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, part: Any) -> None:
        self._sink.write(memoryview(part))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Gathering(_File):
    """The many parts of a batch go to the sink together. Arrow's buffers stay as they are while they are held."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._parts: list[Buffer] = []

    def write(self, part: Any) -> None:
        self._parts.append(memoryview(part))

    def pass_on(self) -> None:
        self._sink.writelines(self._parts)
        self._parts.clear()
