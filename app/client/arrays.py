"""Arrays of NumPy as .npy bodies. NumPy is imported when there is one."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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
