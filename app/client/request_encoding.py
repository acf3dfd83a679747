"""Encoding of options, files, tables and arrays in requests, and decoding of predictions into the form of the rows.

Pandas, Polars, PyArrow and NumPy are imported only when one of their objects is passed, so that none of them is a
requirement of the client.
"""

import base64
import io
import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast
from urllib.parse import unquote

from nabla.app.client.errors import UnusualRowsWarning
from nabla.app.schemas.predictions import PredictionView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

ARROW_STREAM = "application/vnd.apache.arrow.stream"
OCTET_STREAM = "application/octet-stream"
NPY = "application/x-npy"

# Names that the service accepts: none that start like an id.
_NAME = re.compile(r"(?!(?:net|ds|job|bp)_)[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd")
# Formats without magic bytes: the service cannot detect them in a body, which has no file name.
_TEXT_FORMATS = {".tsv": "tsv", ".tab": "tsv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv"}
# An item of the Nabla-Warnings header (RFC 9651).
_DISPLAY_STRING = re.compile(r'%"([^"]*)"')
# Larger record batches are sliced before they are encoded.
_BATCH_BYTES = 2**23


def encode_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Encode options as form fields or query parameters: text as it is, other values as JSON; None is left out."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in _drop_none(options).items()}


def resource_id(reference: Any) -> Any:
    """Return the id of a network, dataset or job; any other value as it is."""
    return getattr(reference, "id", reference)


def content_digest(sha256: bytes) -> str:
    """Return the value of a Content-Digest header (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def infer_from_filename(filename: str) -> dict[str, str]:
    """Return the dataset options that a file name implies: `name`, and `format` if the content does not reveal it."""
    path = PurePath(filename)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSION_SUFFIXES:
        suffixes.pop()
    options = {"name": path.stem} if _NAME.fullmatch(path.stem) else {}
    if suffixes and suffixes[-1] in _TEXT_FORMATS:
        options["format"] = _TEXT_FORMATS[suffixes[-1]]
    return options


class Frame(Protocol):
    """A table that supports the Arrow PyCapsule protocol.

    Among others these are the data frames of pandas and Polars, and the tables and record batch readers of PyArrow.
    The index of a pandas frame is not sent; `reset_index()` turns it into columns.
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table as an Arrow C stream."""


def encode_prediction_request(rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an HTTP request that predicts rows.

    Args:
        rows: A table, which is sent as an Arrow stream; an array, which is sent as .npy; or lists or mappings, which
            are sent as JSON.
        options: Other fields of the request; those that are None are left out.
    """
    present = _drop_none(options)
    if _is_frame(rows):
        return _binary_request(b"".join(encode_arrow_stream(rows)), ARROW_STREAM, present)
    if _is_array(rows):
        return _binary_request(_encode_npy(rows), NPY, present)
    rows = list(rows)
    field = "rows" if rows and isinstance(rows[0], Mapping) else "inputs"
    return {"json": {field: rows, **present}}


def decode_predictions(rows: Any, content: bytes) -> Any:
    """Decode the response to `encode_prediction_request(rows, …)` into the form of the rows."""
    if _is_frame(rows):
        return _decode_frame(content, like=rows)
    if _is_array(rows):
        return _decode_npy(content)
    return PredictionView.model_validate_json(content)


def warn_about_rows(header: str | None) -> None:
    """Issue a Python warning for each sentence in the Nabla-Warnings header of a response."""
    for match in _DISPLAY_STRING.finditer(header or ""):
        warnings.warn(unquote(match[1]), UnusualRowsWarning, stacklevel=3)


def encode_arrow_stream(frame: Frame) -> Iterator[bytes]:
    """Encode a table as an Arrow stream, one record batch of bounded size at a time."""
    import pyarrow as pa

    schema, batches = _open_reader(frame)
    buffer = _ChunkBuffer()
    with pa.ipc.new_stream(buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield buffer.drain()
    yield buffer.drain()


@contextmanager
def open_npy(array: "Path | npt.ArrayLike", field: str) -> Iterator[BinaryIO]:
    """Open an array as a file.

    An array goes through a temporary .npy file, so that its encoded form takes no memory beside it.

    Args:
        array: The path of a file, which is opened as it is; or an array.
        field: The name of the array in error messages.

    Raises:
        ValueError: The array contains neither numbers nor text.
    """
    if isinstance(array, Path):
        with array.open("rb") as file:
            yield file
        return
    import numpy as np

    with tempfile.TemporaryFile() as file:
        np.save(file, _without_objects(np.asarray(array), field), allow_pickle=False)
        file.seek(0)
        yield file


def _without_objects(array: "npt.NDArray[Any]", field: str) -> "npt.NDArray[Any]":
    """Convert an object array of text, which is how pandas exports text, to a text array."""
    if array.dtype.kind != "O":
        return array
    if not all(isinstance(value, str) for value in array.flat):
        raise ValueError(f"{field}: An array must contain numbers or text, without missing values or other objects.")
    return array.astype(str)


def _drop_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _is_frame(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__")


def _is_array(value: Any) -> bool:
    # Unlike isinstance, this works without NumPy.
    return hasattr(value, "__array_interface__")


def _binary_request(content: bytes, media_type: str, options: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": media_type, "Accept": media_type}
    return {"content": content, "headers": headers, "params": encode_options(options)}


def _decode_frame(content: bytes, like: Frame) -> Any:
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


def _encode_npy(array: "npt.NDArray[Any]") -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _decode_npy(content: bytes) -> "npt.NDArray[np.floating[Any]]":
    import numpy as np

    array: npt.NDArray[np.floating[Any]] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _open_reader(frame: Frame) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    """Return the schema of a table without its pandas index, and its rows in batches of bounded size."""
    import pyarrow as pa
    import pyarrow.types as types

    reader = pa.RecordBatchReader.from_stream(frame)
    index_columns = _pandas_index_columns(reader.schema)
    # By position: duplicate column names are rejected by the service, with a proper error.
    columns = [(position, field) for position, field in enumerate(reader.schema) if field.name not in index_columns]
    schema = pa.schema(
        [field.with_type(pa.large_string()) if types.is_string_view(field.type) else field for _, field in columns]
    )

    def batches() -> "Iterator[pa.RecordBatch]":
        for batch in reader:
            rows = max(1, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes))
            for start in range(0, batch.num_rows, rows):
                part = batch.slice(start, rows)
                arrays = [_compact(part.column(position)) for position, _ in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return schema, batches()


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
