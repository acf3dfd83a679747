"""Tables as they are stored: an Arrow file, not packed, in batches of bounded size."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from engine.durable import Sink

# Rows of a stored batch.
_ROWS = 2**16


def write_batches(sink: Sink, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Raises StorageFailed."""
    with pa.ipc.new_file(pa.PythonFile(_File(sink), "w"), schema) as writer:
        for batch in batches:
            for start in range(0, len(batch), _ROWS):
                writer.write_batch(batch.slice(start, _ROWS))


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
