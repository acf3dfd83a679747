"""The order of the rows in an epoch, which depends on the seed and the epoch alone.

Rows that do not all fit into memory are shuffled in blocks of neighbours, so that those of the next mini-batches lie in
few places of the file: the blocks are put into random order, and then the rows of each window of so many blocks. Every
window is read from the disk once, wherever its rows are in the epoch.
"""

import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nabla.engine.data.dataset import Matrix
from nabla.engine.nn import rng
from nabla.engine.nn.compiled_layout import Rows

BLOCKS_OF_WINDOW = 64
# Windows in memory at a time: what is trained on, what is read ahead, and what has not been given up yet.
_WINDOWS_HELD = 4
# Of an epoch, in the numbers that its windows are shuffled by.
_WINDOWS_OF_EPOCH = 2**32


def block_for(rows: int, bytes_of_row: int, bytes_held: int) -> int | None:
    """Rows of a block, so that what is worked on takes no more than `bytes_held`; None where all rows do."""
    if rows * bytes_of_row <= bytes_held:
        return None
    return max(1, bytes_held // (_WINDOWS_HELD * BLOCKS_OF_WINDOW * bytes_of_row))


def shuffle(order: Rows, rows: Rows, seed: int, epoch: int, block: int | None) -> None:
    """Put `rows` into `order` as they come in an epoch, counted from 0."""
    if block is None:
        order[:] = rows
        rng.shuffle(order, seed, rng.SHUFFLE, epoch)
        return
    firsts = np.arange(0, len(rows), block)
    rng.shuffle(firsts, seed, rng.BLOCKS, epoch)
    at = 0
    for first in firsts.tolist():
        neighbours = rows[first : first + block]
        order[at : at + len(neighbours)] = neighbours
        at += len(neighbours)
    window = block * BLOCKS_OF_WINDOW
    for number, first in enumerate(range(0, len(rows), window)):
        rng.shuffle(order[first : first + window], seed, rng.WINDOWS, epoch * _WINDOWS_OF_EPOCH + number)


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
