"""Files that hold one array: NumPy's .npy, and IDX, the format of MNIST."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nabla.engine.data.ingest.formats.byte_stream import ByteStream, read_exactly, spool_to_file
from nabla.engine.durable_files import digest_in_name
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import AnyArray

MAGIC = b"\x93NUMPY"
_MAX_COLUMNS = 1_000_000
_MAX_TEXT_BYTES = 4000
_BLOCK_BYTES = 2**23
# Bytes that are mapped at once.
_MAPPED_BYTES = 2**26

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_IDX_DIMENSIONS = 4


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and type of an array, from the header before it.

    Attributes:
        columns: None for a one-dimensional array.
        fortran_order: Whether the array is stored column by column.
    """

    rows: int
    columns: int | None
    dtype: np.dtype[np.generic]
    fortran_order: bool = False

    @property
    def bytes_per_row(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * (1 if self.columns is None else self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.rows * self.bytes_per_row


def read_npy_header(stream: ByteStream, field: str) -> ArrayHeader:
    """Read and validate the header of a .npy file. Raises InvalidInput."""
    shape, fortran_order, dtype = parse_npy_header(stream, field)
    return validate_header(shape, dtype, field, fortran_order=fortran_order and len(shape) == 2)


def parse_npy_header(stream: ByteStream, field: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, Fortran order and dtype as a header states them. Raises InvalidInput if it is not a .npy header."""
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]  # only its read is called
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        header = None if read is None else read(stream)  # type: ignore[arg-type]  # likewise
    except InvalidInput:  # the compressed file is damaged
        raise
    except Exception as error:  # NumPy raises errors of every kind for a hostile header
        raise InvalidInput(field, "This is not a .npy file: its header cannot be read.") from error
    if header is None:
        raise InvalidInput(field, f"Version {version} of the .npy format is unknown; accepted: 1.0 and 2.0.")
    return header


def validate_header(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], field: str, *, fortran_order: bool = False
) -> ArrayHeader:
    """Return the header of an array of rows of numbers, or of text. Raises InvalidInput for any other."""
    if any(dimension < 0 for dimension in shape):
        raise InvalidInput(field, "This is not a .npy file: its header has a negative dimension.")
    if dtype.kind not in "buifUS" or (dtype.kind in "buif" and dtype.itemsize > 8):
        raise InvalidInput(field, f"Arrays of type {dtype} are not accepted. Accepted: numbers, and text for labels.")
    if dtype.kind in "US" and not 0 < dtype.itemsize <= _MAX_TEXT_BYTES:
        raise InvalidInput(field, f"The texts have {dtype.itemsize} bytes; from 1 to {_MAX_TEXT_BYTES} are accepted.")
    if len(shape) not in (1, 2):
        raise InvalidInput(field, f"Expected 1 or 2 dimensions, got {len(shape)}; reshape to one row per example.")
    if 0 in shape:
        raise InvalidInput(field, "There is no data: at least 1 row with at least 1 number is needed.")
    columns = shape[1] if len(shape) == 2 else None
    if columns is not None and columns > _MAX_COLUMNS:
        raise InvalidInput(field, f"The array has {columns} columns; at most {_MAX_COLUMNS} are accepted.")
    return ArrayHeader(shape[0], columns, dtype, fortran_order)


def is_idx(start: bytes) -> bool:
    """Return whether a file begins like IDX."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in _IDX_TYPES and 1 <= start[3] <= _MAX_IDX_DIMENSIONS


def read_idx_header(stream: ByteStream, field: str) -> ArrayHeader:
    """Read and validate the header of an IDX file. Rows of more than one dimension, such as images, are flattened.

    Raises InvalidInput.
    """
    magic = read_exactly(stream, 4)
    if not is_idx(magic):
        raise InvalidInput(field, "This is not an IDX file: its header cannot be read.")
    dimensions = read_exactly(stream, 4 * magic[3])
    if len(dimensions) < 4 * magic[3]:
        raise InvalidInput(field, "This is not an IDX file: its header ends early.")
    rows, *others = struct.unpack(f">{magic[3]}I", dimensions)
    shape = (rows, math.prod(others)) if others else (rows,)
    return validate_header(shape, np.dtype(_IDX_TYPES[magic[2]]), field)


def read_blocks(stream: ByteStream, header: ArrayHeader, field: str, directory: Path) -> Iterator[AnyArray]:
    """Yield the array that follows a header in blocks of rows (rows, columns).

    An array in Fortran order is spooled to a file in `directory` first, since a row is spread over all of it. Raises
    InvalidInput if the array ends early.
    """
    rows_per_block = max(1, _BLOCK_BYTES // header.bytes_per_row)
    if header.fortran_order:
        with spool_to_file(stream, header.nbytes, directory) as path:
            if (size := path.stat().st_size) < header.nbytes:
                raise _truncated(size, header, field)
            shape = (header.rows, header.columns or 1)
            columns = np.memmap(path, header.dtype, "r", shape=shape, order="F")
            for start in range(0, header.rows, rows_per_block):
                yield np.ascontiguousarray(columns[start : start + rows_per_block])
        return
    for start in range(0, header.rows, rows_per_block):
        rows = min(rows_per_block, header.rows - start)
        content = read_exactly(stream, rows * header.bytes_per_row)
        if len(content) < rows * header.bytes_per_row:
            raise _truncated(start * header.bytes_per_row + len(content), header, field)
        yield np.frombuffer(content, header.dtype).reshape(rows, header.columns or 1)


def can_adopt(path: Path, header: ArrayHeader, header_bytes: int) -> bool:
    """Return whether a file is as it would be stored, so that it can be linked instead of copied.

    It holds numbers in row-major order and native byte order and nothing after them, and has its digest in its name.
    """
    return (
        not header.fortran_order
        and header.dtype.isnative
        and header.dtype.kind in "buif"
        and header.dtype != np.float16
        and path.stat().st_size == header_bytes + header.nbytes
        and digest_in_name(path.name) is not None
    )


def map_blocks(path: Path, field: str) -> Iterator[AnyArray]:
    """Yield the array of a file that `can_adopt` in blocks of rows (rows, columns).

    The file is mapped anew every 64 MiB, so that pages already seen do not count as memory of this process.
    """
    with path.open("rb") as file:
        header = read_npy_header(file, field)
        data_start = file.tell()
    mapped_rows, block_rows = (max(1, size // header.bytes_per_row) for size in (_MAPPED_BYTES, _BLOCK_BYTES))
    for start in range(0, header.rows, mapped_rows):
        shape = (min(mapped_rows, header.rows - start), header.columns or 1)
        window = np.memmap(path, header.dtype, "r", data_start + start * header.bytes_per_row, shape)
        yield from (window[first : first + block_rows] for first in range(0, len(window), block_rows))


def _truncated(size: int, header: ArrayHeader, field: str) -> InvalidInput:
    return InvalidInput(field, f"The header announces {header.nbytes} bytes, but only {size} follow.")
