"""Shuffling, of all rows at once and in blocks."""

import numpy as np
import pytest

from nabla.engine.training.shuffling import WINDOW_BLOCKS, choose_shuffle_block, shuffle_rows
from tests.unit.training.sample_datasets import corners, spec, train

ROWS = np.arange(3, 2 * 10_003, 2)


def shuffled(seed: int, epoch: int, block: int | None, rows: np.ndarray = ROWS) -> np.ndarray:
    order = np.empty_like(rows)
    shuffle_rows(order, rows, seed, epoch, block)
    return order


@pytest.mark.parametrize("block", [None, 1, 7, 64, 5000, 10**9])
def test_each_seed_and_epoch_has_its_own_permutation(block: int | None) -> None:
    orders = [shuffled(seed, epoch, block) for seed in (1, 2) for epoch in (0, 1, 7)]
    for order in orders:
        assert np.array_equal(np.sort(order), ROWS)
    assert len({order.tobytes() for order in orders}) == len(orders)
    assert np.array_equal(shuffled(1, 7, block), orders[2])


@pytest.mark.parametrize("block", [3, 10, 64])
def test_window_covers_few_blocks(block: int) -> None:
    order = shuffled(4, 2, block)
    window = block * WINDOW_BLOCKS
    for first in range(0, len(order) - window, window):
        blocks = np.unique((order[first : first + window] - 3) // 2 // block)
        assert len(blocks) <= WINDOW_BLOCKS + 1  # one of the blocks is shorter
        inside = order[first : first + window]
        assert not np.array_equal(inside, np.sort(inside))
    # Neighbours in the file are far from each other in a window.
    assert np.median(np.abs(np.diff(order[:window]))) > 2 * block


def test_block_size_respects_memory_limit() -> None:
    assert choose_shuffle_block(1000, 8, 8000) is None
    block = choose_shuffle_block(10**6, 1000, 10**8)
    assert block is not None
    assert block * WINDOW_BLOCKS * 1000 <= 10**8 / 4
    assert choose_shuffle_block(1000, 10**6, 10) == 1


def test_shuffling_in_blocks_trains_as_well() -> None:
    settings = {"epochs": 12, "batch_size": 8}
    _, plain = train(corners(600), spec(**settings))
    _, blocks = train(corners(600), spec(**settings, shuffle_block=2))
    assert blocks[-1].cost != plain[-1].cost
    assert blocks[-1].accuracy is not None
    assert blocks[-1].accuracy > 0.95
