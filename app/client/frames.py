"""Tables of pandas, Polars and PyArrow, in and out. None of these is imported before there is one."""

from collections.abc import Iterator
from typing import Any, Protocol, cast


class Frame(Protocol):
    """A table that tells of itself by the Arrow PyCapsule protocol: the frames of pandas and Polars, tables and readers
    of PyArrow, and others. The index of a pandas frame is not sent; `reset_index()` makes columns of it."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def is_frame(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__")


def stream(frame: Frame) -> Iterator[bytes]:
    """One Arrow stream, in the parts that it is sent in."""
    from app.client import arrow

    return arrow.stream(frame)


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
