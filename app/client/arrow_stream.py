"""Tables as Arrow streams, a part at a time. Importing this imports PyArrow: see frames."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from nabla.app.client.tabular import Frame

# What is made into bytes at a time.
_BYTES_AT_ONCE = 2**23


def stream(frame: Frame) -> Iterator[bytes]:
    """One Arrow stream, in the parts that it is sent in."""
    schema, batches = _opened(frame)
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


def _opened(frame: Frame) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """What is sent of a table, in batches of bounded size."""
    reader = pa.RecordBatchReader.from_stream(frame)
    index = _index(reader.schema)
    # By place: names may be there twice, which is for the service to refuse.
    kept = [(place, field) for place, field in enumerate(reader.schema) if field.name not in index]
    fields = [field for _, field in kept]
    schema = pa.schema([field.with_type(pa.large_string()) if _is_view(field.type) else field for field in fields])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            rows = max(1, batch.num_rows * _BYTES_AT_ONCE // max(1, batch.nbytes))
            for first in range(0, batch.num_rows, rows):
                part = batch.slice(first, rows)
                columns = [_alone(part.column(place)) for place, _ in kept]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return schema, batches()


def _index(schema: pa.Schema) -> set[str]:
    """The columns that are the index of a pandas frame; one that only counts is none."""
    about = json.loads((schema.metadata or {}).get(b"pandas", "{}"))
    return {column for column in about.get("index_columns", ()) if isinstance(column, str)}


def _is_view(type: pa.DataType) -> bool:
    return bool(kinds.is_string_view(type))


def _alone(column: pa.Array) -> pa.Array:
    """Views, as Polars has them, would take the text of all rows along with each part of them."""
    return column.cast(pa.large_string()) if _is_view(column.type) else column


class _Sink(io.RawIOBase):
    """What a writer has written, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, part: Any, /) -> int:
        self._parts.append(bytes(part))
        self._written += len(self._parts[-1])
        return len(self._parts[-1])

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
