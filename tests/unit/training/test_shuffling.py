"""Rows in blocks: all of them, in an order of the seed's and the epoch's own, in few places at a time."""

import numpy as np
import pytest

from nabla.engine.training.shuffling import BLOCKS_OF_WINDOW, block_for, shuffle
from tests.unit.training.sample_datasets import corners, spec, trained

ROWS = np.arange(3, 2 * 10_003, 2)


def order(seed: int, epoch: int, block: int | None, rows: np.ndarray = ROWS) -> np.ndarray:
    found = np.empty_like(rows)
    shuffle(found, rows, seed, epoch, block)
    return found


@pytest.mark.parametrize("block", [None, 1, 7, 64, 5000, 10**9])
def test_every_row_comes_once_in_an_order_of_its_own(block: int | None) -> None:
    orders = [order(seed, epoch, block) for seed in (1, 2) for epoch in (0, 1, 7)]
    for found in orders:
        assert np.array_equal(np.sort(found), ROWS)
    assert len({found.tobytes() for found in orders}) == len(orders)
    assert np.array_equal(order(1, 7, block), orders[2])


@pytest.mark.parametrize("block", [3, 10, 64])
def test_a_window_lies_in_few_places(block: int) -> None:
    found = order(4, 2, block)
    window = block * BLOCKS_OF_WINDOW
    for first in range(0, len(found) - window, window):
        places = np.unique((found[first : first + window] - 3) // 2 // block)
        assert len(places) <= BLOCKS_OF_WINDOW + 1  # one of the blocks is shorter
        inside = found[first : first + window]
        assert not np.array_equal(inside, np.sort(inside))
    # Neighbours in the file are far from each other in a window.
    assert np.median(np.abs(np.diff(found[:window]))) > 2 * block


def test_how_many_rows_are_in_a_block() -> None:
    assert block_for(1000, 8, 8000) is None
    block = block_for(10**6, 1000, 10**8)
    assert block is not None
    assert block * BLOCKS_OF_WINDOW * 1000 <= 10**8 / 4
    assert block_for(1000, 10**6, 10) == 1


def test_blocks_train_as_well() -> None:
    settings = {"epochs": 12, "batch_size": 8}
    _, plain = trained(corners(600), spec(**settings))
    _, blocks = trained(corners(600), spec(**settings, shuffle_block=2))
    assert blocks[-1].cost != plain[-1].cost
    assert blocks[-1].accuracy is not None
    assert blocks[-1].accuracy > 0.95
