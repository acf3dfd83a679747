"""What of the data is needed next, told to the kernel, where not all of them stay in memory.

Left to itself it reads around each row that it is asked for, up to megabytes on some machines, and gives up for that
what is still needed.
"""

import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from engine.data.dataset import Matrix
from engine.nn.plan import Rows
from engine.training.order import BLOCKS_OF_WINDOW

# What lies between two rows is read along if it is no more than that, in bytes.
_GAP = 2**16


class Foresight:
    """Of the windows of an epoch that is shuffled in blocks of `block` rows: that which is trained on and the next."""

    def __init__(self, matrices: Sequence[Matrix], block: int) -> None:
        """Those of `matrices` count that are mapped from files."""
        self._mapped = [(matrix, mapping) for matrix in matrices if (mapping := _mapping(matrix)) is not None]
        self._window = block * BLOCKS_OF_WINDOW
        self._order = np.empty(0, np.int64)
        self._told = 0
        for _, mapping in self._mapped:
            mapping.madvise(mmap.MADV_RANDOM)

    def begin(self, order: Rows, row: int) -> None:
        """An epoch, of which so many rows are done."""
        self._order = order
        self._told = row // self._window

    def reach(self, row: int) -> None:
        """It will soon have come to this row of the epoch."""
        while self._told <= row // self._window + 1 and self._told * self._window < len(self._order):
            rows = np.sort(self._order[self._told * self._window : (self._told + 1) * self._window])
            for matrix, mapping in self._mapped:
                _tell(matrix, mapping, rows)
            self._told += 1


def _tell(matrix: Matrix, mapping: mmap.mmap, rows: Rows) -> None:
    begin = matrix.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    bytes_of_row = matrix.strides[0]
    for first, last in ranges(rows, max(1, _GAP // bytes_of_row)):
        start = begin + first * bytes_of_row
        page = start - start % mmap.PAGESIZE
        mapping.madvise(mmap.MADV_WILLNEED, page, begin + last * bytes_of_row - page)


def ranges(rows: Rows, gap: int) -> Iterator[tuple[int, int]]:
    """The first row, and the one behind the last, of each stretch of ascending `rows` that are at most `gap` apart."""
    ends = np.flatnonzero(np.diff(rows) > gap)
    firsts = rows[np.concatenate(([0], ends + 1))]
    lasts = rows[np.concatenate((ends, [len(rows) - 1]))]
    yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)


def _mapping(matrix: npt.NDArray[np.generic]) -> mmap.mmap | None:
    """The file that a matrix is mapped from, if it is from one."""
    held: object = matrix
    while isinstance(held, np.ndarray | memoryview):
        held = held.base if isinstance(held, np.ndarray) else held.obj
    return held if isinstance(held, mmap.mmap) else None
