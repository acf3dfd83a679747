"""Order of the training rows in an epoch, which depends on the seed and the epoch alone.

Datasets that exceed memory are shuffled in blocks of neighbouring rows: the blocks are put into random order, and then
the rows within each window of WINDOW_BLOCKS blocks. The rows of the next mini-batches are then in few regions of the
file, and every window is read from disk once per epoch.
"""

import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nabla.engine.nn import rng
from nabla.engine.typing import FloatArray, RowIndices

WINDOW_BLOCKS = 64
# Windows in memory at a time: the current one, the next one, and earlier ones that the kernel has not yet evicted.
_WINDOWS_IN_MEMORY = 4
# Upper bound on the windows of an epoch, which numbers their random streams.
_MAX_WINDOWS = 2**32
# Maximum gap, in bytes, between rows that are read as one range.
_MAX_GAP_BYTES = 2**16


def choose_shuffle_block(rows: int, row_bytes: int, memory_bytes: int) -> int | None:
    """Return the rows of a block with which the working set takes at most `memory_bytes`; None if all rows fit."""
    if rows * row_bytes <= memory_bytes:
        return None
    return max(1, memory_bytes // (_WINDOWS_IN_MEMORY * WINDOW_BLOCKS * row_bytes))


def shuffle_rows(order: RowIndices, rows: RowIndices, seed: int, epoch: int, block: int | None) -> None:
    """Fill `order` with the rows in their order in an epoch.

    Args:
        order: (rows) Overwritten.
        rows: The training rows, ascending.
        seed: Seed of the job.
        epoch: The epoch, counted from 0.
        block: Rows of a block; None shuffles all rows at once.
    """
    if block is None:
        order[:] = rows
        rng.shuffle(order, seed, rng.SHUFFLE, epoch)
        return
    block_starts = np.arange(0, len(rows), block)
    rng.shuffle(block_starts, seed, rng.BLOCKS, epoch)
    position = 0
    for start in block_starts.tolist():
        neighbours = rows[start : start + block]
        order[position : position + len(neighbours)] = neighbours
        position += len(neighbours)
    window = block * WINDOW_BLOCKS
    for number, start in enumerate(range(0, len(rows), window)):
        rng.shuffle(order[start : start + window], seed, rng.WINDOWS, epoch * _MAX_WINDOWS + number)


class Prefetcher:
    """Advises the kernel to read the current and the next window of an epoch (madvise MADV_WILLNEED).

    Only matrices that are memory-mapped from files are prefetched. They are marked as MADV_RANDOM: by default the
    kernel reads ahead around each row, up to megabytes on some machines, and evicts pages that are still needed.

    Args:
        matrices: Matrices (rows, columns) of the dataset.
        block: Rows of a block of the shuffled order.
    """

    def __init__(self, matrices: Sequence[FloatArray], block: int) -> None:
        self._mapped = [(matrix, mapping) for matrix in matrices if (mapping := _find_mapping(matrix)) is not None]
        self._window = block * WINDOW_BLOCKS
        self._order: RowIndices = np.empty(0, np.int64)
        self._next_window = 0
        for _, mapping in self._mapped:
            mapping.madvise(mmap.MADV_RANDOM)

    def begin_epoch(self, order: RowIndices, row: int) -> None:
        """Start or resume an epoch with this order, of which `row` rows are done."""
        self._order = order
        self._next_window = row // self._window

    def advise(self, row: int) -> None:
        """Prefetch the window that contains this position of the epoch, and the one after it."""
        while self._next_window <= row // self._window + 1 and self._next_window * self._window < len(self._order):
            start = self._next_window * self._window
            rows = np.sort(self._order[start : start + self._window])
            for matrix, mapping in self._mapped:
                _advise_rows(matrix, mapping, rows)
            self._next_window += 1


def _advise_rows(matrix: FloatArray, mapping: mmap.mmap, rows: RowIndices) -> None:
    offset = matrix.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    row_bytes = matrix.strides[0]
    for first, end in merge_into_ranges(rows, max(1, _MAX_GAP_BYTES // row_bytes)):
        start = offset + first * row_bytes
        page_start = start - start % mmap.PAGESIZE
        mapping.madvise(mmap.MADV_WILLNEED, page_start, offset + end * row_bytes - page_start)


def merge_into_ranges(rows: RowIndices, max_gap: int) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of ranges that cover ascending rows, which are at most `max_gap` apart within a range."""
    breaks = np.flatnonzero(np.diff(rows) > max_gap)
    firsts = rows[np.concatenate(([0], breaks + 1))]
    lasts = rows[np.concatenate((breaks, [len(rows) - 1]))]
    yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)


def _find_mapping(matrix: npt.NDArray[np.generic]) -> mmap.mmap | None:
    """Return the mapped file that a matrix is a view of; None if it is in memory."""
    owner: object = matrix
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner if isinstance(owner, mmap.mmap) else None
