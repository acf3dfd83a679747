"""NumPy's .npy: one array."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nabla.engine.data.examples import Array
from nabla.engine.data.ingest.formats.byte_stream import Readable, exactly, set_down
from nabla.engine.durable_files import digest_in
from nabla.engine.errors import InvalidInput

MAGIC = b"\x93NUMPY"
MOST_COLUMNS = 1_000_000
# Bytes of a block, and of a text.
_BLOCK, _LONGEST_TEXT = 2**23, 4000
# Bytes that are mapped at once.
_MAPPED = 2**26


@dataclass(frozen=True)
class Announced:
    """What a header says of the array that follows it: `rows` of `columns` (None for a plain list) of `dtype`."""

    rows: int
    columns: int | None
    dtype: np.dtype[np.generic]
    by_column: bool = False

    @property
    def bytes_per_row(self) -> int:
        return self.dtype.itemsize * (1 if self.columns is None else self.columns)

    @property
    def length(self) -> int:
        return self.rows * self.bytes_per_row


def read_npy_header(stream: Readable, field: str) -> Announced:
    """Raises InvalidInput."""
    shape, by_column, dtype = said_of_array(stream, field)
    return check_shape(shape, dtype, field, by_column=by_column and len(shape) == 2)


def said_of_array(stream: Readable, field: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """What a header says as it stands: the shape, whether it is stored column by column, and the type. Raises
    InvalidInput if it is none."""
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]  # only its read is called
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        said = None if read is None else read(stream)  # type: ignore[arg-type]  # likewise
    except InvalidInput:  # what is packed is damaged
        raise
    except Exception as problem:  # of a hostile header NumPy makes errors of every kind
        raise InvalidInput(field, "This is not a .npy file: its header cannot be read.") from problem
    if said is None:
        raise InvalidInput(field, f"Version {version} of the .npy format is not known; 1.0 and 2.0 are.")
    return said


def check_shape(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], field: str, *, by_column: bool = False
) -> Announced:
    """Raises InvalidInput unless these are rows of numbers, or of text."""
    if any(dimension < 0 for dimension in shape):
        raise InvalidInput(field, "This is not a .npy file: its header has a dimension below 0.")
    if dtype.kind not in "buifUS" or (dtype.kind in "buif" and dtype.itemsize > 8):
        raise InvalidInput(field, f"Arrays of type {dtype} are not accepted; numbers are, and text for labels.")
    if dtype.kind in "US" and not 0 < dtype.itemsize <= _LONGEST_TEXT:
        raise InvalidInput(field, f"The texts have {dtype.itemsize} bytes; from 1 to {_LONGEST_TEXT} are accepted.")
    if len(shape) not in (1, 2):
        raise InvalidInput(field, f"Expected 1 or 2 dimensions, got {len(shape)}; reshape to one row per example.")
    if 0 in shape:
        raise InvalidInput(field, "There is no data: at least 1 row with at least 1 number is needed.")
    columns = shape[1] if len(shape) == 2 else None
    if columns is not None and columns > MOST_COLUMNS:
        raise InvalidInput(field, f"The array has {columns} columns; at most {MOST_COLUMNS} are accepted.")
    return Announced(shape[0], columns, dtype, by_column)


def mapped(path: Path, field: str) -> Iterator[Array]:
    """The array in a file that is nothing else, in blocks of rows; mapped anew after a while, so that what was looked
    at does not count as memory of this process."""
    with path.open("rb") as file:
        announced = read_npy_header(file, field)
        begin = file.tell()
    at_once, step = (max(1, size // announced.bytes_per_row) for size in (_MAPPED, _BLOCK))
    for start in range(0, announced.rows, at_once):
        shape = (min(at_once, announced.rows - start), announced.columns or 1)
        part = np.memmap(path, announced.dtype, "r", begin + start * announced.bytes_per_row, shape)
        yield from (part[first : first + step] for first in range(0, len(part), step))


def may_stay(path: Path, announced: Announced, header: int) -> bool:
    """Whether the file at `path`, whose header has so many bytes, is as it would be written: numbers in rows, in this
    machine's order, and nothing behind them; and its name has its digest."""
    return (
        not announced.by_column
        and announced.dtype.isnative
        and announced.dtype.kind in "buif"
        and announced.dtype != np.float16
        and path.stat().st_size == header + announced.length
        and digest_in(path.name) is not None
    )


def rows(stream: Readable, announced: Announced, field: str, folder: Path) -> Iterator[Array]:
    """The array that follows a header, in blocks of rows. Raises InvalidInput if it ends early.

    One that is stored column by column is set down in `folder` first, since its rows are all over it.
    """
    at_once = max(1, _BLOCK // announced.bytes_per_row)
    if announced.by_column:
        with set_down(stream, announced.length, folder) as path:
            if (size := path.stat().st_size) < announced.length:
                raise _ends_early(size, announced, field)
            shape = (announced.rows, announced.columns or 1)
            columns = np.memmap(path, announced.dtype, "r", shape=shape, order="F")
            for start in range(0, announced.rows, at_once):
                yield np.ascontiguousarray(columns[start : start + at_once])
        return
    for start in range(0, announced.rows, at_once):
        amount = min(at_once, announced.rows - start)
        part = exactly(stream, amount * announced.bytes_per_row)
        if len(part) < amount * announced.bytes_per_row:
            raise _ends_early(start * announced.bytes_per_row + len(part), announced, field)
        yield np.frombuffer(part, announced.dtype).reshape(amount, announced.columns or 1)


def _ends_early(size: int, announced: Announced, field: str) -> InvalidInput:
    return InvalidInput(field, f"The header announces {announced.length} bytes but only {size} follow.")


_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 4


def is_idx(start: bytes) -> bool:
    """Whether a file may be IDX that begins like this."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in _TYPES and 1 <= start[3] <= _MOST_DIMENSIONS


def read_idx_header(stream: Readable, field: str) -> Announced:
    """Raises InvalidInput. What has more than one number per row, such as an image, becomes one flat row."""
    magic = exactly(stream, 4)
    if not is_idx(magic):
        raise InvalidInput(field, "This is not an IDX file: its header cannot be read.")
    announced = exactly(stream, 4 * magic[3])
    if len(announced) < 4 * magic[3]:
        raise InvalidInput(field, "This is not an IDX file: its header ends early.")
    rows, *others = struct.unpack(f">{magic[3]}I", announced)
    shape = (rows, math.prod(others)) if others else (rows,)
    return check_shape(shape, np.dtype(_TYPES[magic[2]]), field)
