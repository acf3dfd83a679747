"""Arrays written to .npy files that do not fit into memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.examples import Array

# Rows of a block at most, and numbers of it: 32 MiB.
_ROWS, _NUMBERS = 2**14, 2**22


def rows_at_once(columns: int) -> int:
    """How many rows of a stored array are worked on at a time: the fewer, the wider it is."""
    return max(1, min(_ROWS, _NUMBERS // columns))


def write_array(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...], blocks: Iterator[Array]) -> Path:
    """A .npy file of an array of which never more than a block is in memory. Raises StorageFailed."""

    def write(file: durable_files.Sink) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)

    return durable_files.write_file(path, write)
