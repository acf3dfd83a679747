"""Tables of pandas, Polars and other libraries as Arrow streams, and back."""

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

from nabla.app.client.errors import InvalidArgument
from nabla.app.client.json_encoding import plain_cell
from nabla.engine.data.schema import format_category

if TYPE_CHECKING:
    import pyarrow as pa

# Larger record batches are sliced before they are encoded.
_BATCH_BYTES = 2**23


class Frame(Protocol):
    """A table that supports the Arrow PyCapsule protocol.

    Among others these are the data frames of pandas and Polars, and the tables and record batch readers of PyArrow.
    The index of a pandas frame is not sent; `reset_index()` turns it into columns.
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table as an Arrow C stream."""


def is_frame(value: Any) -> bool:
    """Return whether a value is a table."""
    return hasattr(value, "__arrow_c_stream__")


def encode_arrow_stream(frame: Frame) -> Iterator[bytes]:
    """Encode a table as an Arrow stream, one record batch of bounded size at a time.

    Raises:
        InvalidArgument: A column has values that Arrow does not support.
        ModuleNotFoundError: PyArrow is not installed.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Frames are sent as Arrow tables: pip install pyarrow", name=error.name) from error

    schema, batches = _open_reader(frame)
    buffer = _ChunkBuffer()
    with pa.ipc.new_stream(buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield buffer.drain()
    yield buffer.drain()


def decode_arrow_stream(content: bytes, like: Frame) -> Any:
    """Decode an Arrow stream into a table of the same library, or of PyArrow for other libraries."""
    import pyarrow as pa

    table = pa.ipc.open_stream(content).read_all()
    match type(like).__module__.partition(".")[0]:
        case "pandas":
            frame = table.to_pandas()
            frame.index = cast("Any", like).index  # so that the frames can be joined
            return frame
        case "polars":
            import polars

            return polars.from_arrow(table)
        case _:
            return table


def _open_reader(frame: Frame) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    """Return the schema of a table without its pandas index, and its rows in batches of bounded size."""
    import pyarrow as pa
    import pyarrow.types as types

    reader = _read_frame(frame)
    index_columns = _pandas_index_columns(reader.schema)
    # By position: duplicate column names are rejected by the service, with a proper error.
    columns = [(position, field) for position, field in enumerate(reader.schema) if field.name not in index_columns]
    # The metadata states which columns are categoricals of pandas.
    schema = pa.schema(
        [field.with_type(pa.large_string()) if types.is_string_view(field.type) else field for _, field in columns],
        reader.schema.metadata,
    )

    def batches() -> "Iterator[pa.RecordBatch]":
        for batch in reader:
            rows = max(1, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes))
            for start in range(0, batch.num_rows, rows):
                part = batch.slice(start, rows)
                arrays = [_compact(part.column(position)) for position, _ in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return schema, batches()


def _read_frame(frame: Frame) -> "pa.RecordBatchReader":
    import pyarrow as pa

    if getattr(frame, "ndim", 2) == 1:  # a series of pandas
        frame = cast("Any", frame).to_frame()
    try:
        try:
            return pa.RecordBatchReader.from_stream(frame)
        except (pa.ArrowException, TypeError, ValueError):
            if type(frame).__module__.partition(".")[0] != "pandas":
                raise
            return pa.RecordBatchReader.from_stream(_convert_pandas_columns(frame))
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(part) for part in error.args)
        raise InvalidArgument(f"The table cannot be sent: {reason}") from error


def _convert_pandas_columns(frame: Any) -> Any:
    """Return a pandas frame with sparse columns dense, and with columns of mixed types as numbers or text."""
    frame = frame.copy(deep=False)
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        if hasattr(column, "sparse"):
            frame.isetitem(position, column.sparse.to_dense())
        elif column.dtype == object:
            frame.isetitem(position, _convert_objects([plain_cell(value) for value in column], like=column))
    return frame


def _convert_objects(cells: list[Any], like: Any) -> Any:
    """Return a pandas column of numbers if all cells are, otherwise of text; other objects are left as they are."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float}:
        cells = [None if cell is None else float(cell) for cell in cells]
    elif kinds <= {int, float, bool, str}:
        cells = [cell if cell is None else format_category(cell) for cell in cells]
    return type(like)(cells, index=like.index, dtype=object)


def _pandas_index_columns(schema: "pa.Schema") -> set[str]:
    """Return the columns with the index of a pandas frame; a range index has none."""
    metadata = json.loads((schema.metadata or {}).get(b"pandas", "{}"))
    return {column for column in metadata.get("index_columns", ()) if isinstance(column, str)}


def _compact(column: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.types as types

    # A slice of a string view, the text type of Polars, is encoded with the text of all rows.
    return column.cast(pa.large_string()) if types.is_string_view(column.type) else column


class _ChunkBuffer(io.RawIOBase):
    """Writable file whose content is taken out in chunks."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
