"""The order of the rows in an epoch, which depends on the seed and the epoch alone.

Rows that do not all fit into memory are shuffled in blocks of neighbours, so that those of the next mini-batches lie in
few places of the file: the blocks are put into random order, and then the rows of each window of so many blocks. Every
window is read from the disk once, wherever its rows are in the epoch.
"""

import numpy as np

from engine.nn import random
from engine.nn.plan import Rows

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
        random.shuffle(order, seed, random.SHUFFLE, epoch)
        return
    firsts = np.arange(0, len(rows), block)
    random.shuffle(firsts, seed, random.BLOCKS, epoch)
    at = 0
    for first in firsts.tolist():
        neighbours = rows[first : first + block]
        order[at : at + len(neighbours)] = neighbours
        at += len(neighbours)
    window = block * BLOCKS_OF_WINDOW
    for number, first in enumerate(range(0, len(rows), window)):
        random.shuffle(order[first : first + window], seed, random.WINDOWS, epoch * _WINDOWS_OF_EPOCH + number)
