"""Encoding of options, files, tables and arrays in requests, and decoding of predictions into the form of the rows.

Pandas, Polars, PyArrow and NumPy are imported only when one of their objects is passed, so that none of them is a
requirement of the client.
"""

import base64
import io
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from nabla.app.client.errors import InvalidArgument, UnusualRowsWarning
from nabla.app.client.frames import decode_arrow_stream, encode_arrow_stream, is_frame
from nabla.app.client.json_encoding import encode_value, plain_cell
from nabla.app.schemas.predictions import PredictionView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ARROW_STREAM = "application/vnd.apache.arrow.stream"
OCTET_STREAM = "application/octet-stream"
NPY = "application/x-npy"

# Names that the service accepts: none that start like an id.
_NAME = re.compile(r"(?!(?:net|ds|job|bp)_)[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
NETWORK_FORMATS = {".safetensors": "safetensors", ".npz": "npz", ".onnx": "onnx"}
"""File formats of a network by suffix."""
_COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd")
# Formats without magic bytes: the service cannot detect them in a body, which has no file name.
_TEXT_FORMATS = {".tsv": "tsv", ".tab": "tsv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv"}
# An item of the Nabla-Warnings header (RFC 9651).
_DISPLAY_STRING = re.compile(r'%"([^"]*)"')
_UPLOAD_TABLE = (
    "Upload a table instead, such as a pandas DataFrame: its columns may have missing values and different types."
)


def encode_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Encode options as form fields or query parameters: text as it is, other values as JSON; None is left out."""
    return {
        name: value if isinstance(value, str) else encode_value(name, value)
        for name, value in _drop_none(options).items()
    }


def infer_network_format(path: Path) -> str:
    """Return the format of a network's file by its suffix, safetensors without one.

    Raises:
        InvalidArgument: No format has the suffix.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in NETWORK_FORMATS:
        accepted = ", ".join(NETWORK_FORMATS)
        raise InvalidArgument(f"path: No format has the suffix {suffix}; accepted: {accepted}. Or set format.")
    return NETWORK_FORMATS.get(suffix, "safetensors")


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


def encode_prediction_request(rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an HTTP request that predicts rows.

    Args:
        rows: A table, which is sent as an Arrow stream; an array of numbers, which is sent as .npy; any other array,
            lists or mappings, which are sent as JSON; or one row as a mapping or a pandas Series.
        options: Other fields of the request; those that are None are left out.

    Raises:
        InvalidArgument: The argument does not consist of rows, or a value cannot be sent.
    """
    present = _drop_none(options)
    if is_frame(rows) and not _is_series(rows):
        return _binary_request(b"".join(encode_arrow_stream(rows)), ARROW_STREAM, present)
    if _is_numeric_array(rows):
        return _binary_request(_encode_npy(rows), NPY, present)
    values = _list_rows(rows)
    field = "rows" if values and isinstance(values[0], Mapping) else "inputs"
    return {"json": {field: values, **present}}


def decode_predictions(rows: Any, content: bytes) -> Any:
    """Decode the response to `encode_prediction_request(rows, …)` into the form of the rows."""
    if is_frame(rows) and not _is_series(rows):
        return decode_arrow_stream(content, like=rows)
    if _is_numeric_array(rows):
        return _decode_npy(content)
    view = PredictionView.model_validate_json(content)
    if not _is_array(rows):
        return view
    import numpy as np

    for warning in view.warnings:
        warnings.warn(warning, UnusualRowsWarning, stacklevel=4)
    return np.array(view.outputs if view.probabilities is None else view.probabilities)


def warn_about_rows(header: str | None) -> None:
    """Issue a Python warning for each sentence in the Nabla-Warnings header of a response."""
    for match in _DISPLAY_STRING.finditer(header or ""):
        warnings.warn(unquote(match[1]), UnusualRowsWarning, stacklevel=3)


@contextmanager
def open_npy(array: "Path | npt.ArrayLike", field: str) -> Iterator[BinaryIO]:
    """Open an array as a file.

    An array goes through a temporary .npy file, so that its encoded form takes no memory beside it.

    Args:
        array: The path of a file, which is opened as it is; or an array.
        field: The name of the array in error messages.

    Raises:
        InvalidArgument: The array contains neither numbers nor text, or has masked values.
    """
    if isinstance(array, Path):
        with array.open("rb") as file:
            yield file
        return
    import numpy as np

    with tempfile.TemporaryFile() as file:
        np.save(file, _without_objects(np.asanyarray(array), field), allow_pickle=False)
        file.seek(0)
        yield file


def _without_objects(array: "npt.NDArray[Any]", field: str) -> "npt.NDArray[Any]":
    """Convert an object array, which is how pandas exports text and mixed columns, to one of numbers or text."""
    import numpy as np

    if np.ma.is_masked(array):
        missing = int(np.ma.getmaskarray(array).sum())
        raise InvalidArgument(f"{field}: {missing} of the values are masked. {_UPLOAD_TABLE}")
    if array.dtype.kind != "O":
        return np.asarray(array)
    values = [plain_cell(value) for value in array.flat]
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str}):
        return np.array(values).reshape(array.shape)
    if kinds & {type(None)}:
        raise InvalidArgument(f"{field}: {values.count(None)} of the values are missing. {_UPLOAD_TABLE}")
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise InvalidArgument(
        f"{field}: An array must contain either numbers, text or booleans, and this one contains {found}. "
        f"{_UPLOAD_TABLE}"
    )


def _drop_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _is_array(value: Any) -> bool:
    # Unlike isinstance, this works without NumPy.
    return hasattr(value, "__array_interface__")


def _is_numeric_array(value: Any) -> bool:
    return _is_array(value) and value.dtype.kind in "biuf" and not hasattr(value, "mask")


def _is_series(value: Any) -> bool:
    """Return whether a value is a pandas Series."""
    return getattr(value, "ndim", None) == 1 and hasattr(value, "to_dict")


def _list_rows(rows: Any) -> list[Any]:
    """Return rows as mappings or sequences of cells. Raises InvalidArgument if they are not rows."""
    if isinstance(rows, Mapping) or _is_series(rows):
        return [_row_of(rows)]
    if _is_array(rows):
        names = rows.dtype.names
        cells = rows.tolist()
        return cells if names is None else [dict(zip(names, row, strict=True)) for row in cells]
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise InvalidArgument(
            f"rows: A {type(rows).__name__} is not accepted; accepted are a table, an array, a list of rows, and one "
            "row as a mapping or a Series."
        )
    return [_row_of(row) for row in rows]


def _row_of(row: Any) -> Any:
    """Return a row as a mapping if it is a Series with the names of columns, as values if without; else as it is."""
    if not _is_series(row):
        return row
    by_name = row.to_dict()
    return by_name if all(isinstance(name, str) for name in by_name) else [*by_name.values()]


def _binary_request(content: bytes, media_type: str, options: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": media_type, "Accept": media_type}
    return {"content": content, "headers": headers, "params": encode_options(options)}


def _encode_npy(array: "npt.NDArray[Any]") -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _decode_npy(content: bytes) -> "npt.NDArray[np.floating[Any]]":
    import numpy as np

    array: npt.NDArray[np.floating[Any]] = np.load(io.BytesIO(content), allow_pickle=False)
    return array
