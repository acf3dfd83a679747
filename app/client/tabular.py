"""Tables of pandas, Polars and PyArrow, in and out. None of these is imported before there is one."""

import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from nabla.app.client.request_encoding import ARROW_STREAM, NPY, as_text
from nabla.app.schemas.predictions import PredictionView


class Frame(Protocol):
    """A table that tells of itself by the Arrow PyCapsule protocol: the frames of pandas and Polars, tables and readers
    of PyArrow, and others. The index of a pandas frame is not sent; `reset_index()` makes columns of it."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def is_frame(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__")


def stream(frame: Frame) -> Iterator[bytes]:
    """One Arrow stream, in the parts that it is sent in."""
    from nabla.app.client import arrow_stream

    return arrow_stream.stream(frame)


def frame_like(frame: Frame, content: bytes) -> Any:
    """An Arrow stream, as a table of the library that the given one is of; else as one of PyArrow."""
    import pyarrow as pa

    table = pa.ipc.open_stream(content).read_all()
    match type(frame).__module__.partition(".")[0]:
        case "pandas":
            found = table.to_pandas()
            found.index = cast("Any", frame).index  # so that it can be put beside its rows, whatever was left out
            return found
        case "polars":
            import polars

            return polars.from_arrow(table)
        case _:
            return table


if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@contextmanager
def array_file(array: "Path | npt.ArrayLike", name: str) -> Iterator[BinaryIO]:
    """At its beginning: the file at a path; or one of the array, which is there for that time, so that the array is not
    in memory twice. Raises ValueError, with the `name`, for what is neither numbers nor text."""
    if isinstance(array, Path):
        with array.open("rb") as file:
            yield file
        return
    import numpy as np

    with tempfile.TemporaryFile() as written:
        np.save(written, _plain(np.asarray(array), name), allow_pickle=False)
        written.seek(0)
        yield written


def _plain(array: "npt.NDArray[Any]", name: str) -> "npt.NDArray[Any]":
    """Texts of pandas are objects for NumPy."""
    if array.dtype.kind != "O":
        return array
    if not all(isinstance(value, str) for value in array.flat):
        raise ValueError(f"{name}: Numbers or texts are expected in an array, and no missing values or other objects.")
    return array.astype(str)


def is_array(value: Any) -> bool:
    """Asks nothing of NumPy, which may not be installed."""
    return hasattr(value, "__array_interface__")


def as_npy(array: "npt.NDArray[Any]") -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(content: bytes) -> "npt.NDArray[np.floating[Any]]":
    import numpy as np

    found: npt.NDArray[np.floating[Any]] = np.load(io.BytesIO(content), allow_pickle=False)
    return found


def request_for(rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent: lists and objects as JSON, an array as .npy, a table as an Arrow stream."""
    given = {name: value for name, value in options.items() if value is not None}
    if is_frame(rows):
        return _binary(b"".join(stream(rows)), ARROW_STREAM, given)
    if is_array(rows):
        return _binary(as_npy(rows), NPY, given)
    rows = list(rows)
    field = "rows" if rows and isinstance(rows[0], Mapping) else "inputs"
    return {"json": {field: rows, **given}}


def _binary(content: bytes, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": kind, "Accept": kind}
    return {"content": content, "headers": headers, "params": as_text(options)}


def answer_for(rows: Any, content: bytes) -> Any:
    """As the rows were."""
    if is_frame(rows):
        return frame_like(rows, content)
    if is_array(rows):
        return from_npy(content)
    return PredictionView.model_validate_json(content)
