"""Counter-based random numbers: reproducible, independent by stream, and uniform."""

import numpy as np

from nabla.engine.nn import rng

EXPECTED_NUMBERS = [0.565617704188, 0.871692727852, 0.682682033601]
EXPECTED_ROWS = [3, 5, 0, 6, 4, 1, 2, 7]


def test_shuffle_is_a_permutation_that_depends_on_seed_stream_and_index() -> None:
    def shuffle(seed: int, stream: int, index: int) -> list[int]:
        rows = np.arange(1000)
        rng.shuffle(rows, seed, stream, index)
        return [int(row) for row in rows]

    first = shuffle(7, rng.SHUFFLE, 1)
    assert sorted(first) == list(range(1000))
    assert first == shuffle(7, rng.SHUFFLE, 1)
    others = [shuffle(8, rng.SHUFFLE, 1), shuffle(7, rng.SPLIT, 1), shuffle(7, rng.SHUFFLE, 2)]
    for other in others:
        assert sum(a == b for a, b in zip(first, other, strict=True)) < 20


def test_shuffle_is_uniform() -> None:
    """Chi-squared test of the position of the first of 8 rows in 8,000 shuffles.

    With 7 degrees of freedom, p < 0.001 at 24.3.
    """
    counts = np.zeros(8)
    for epoch in range(8000):
        rows = np.arange(8)
        rng.shuffle(rows, 1, rng.SHUFFLE, epoch)
        counts[np.flatnonzero(rows == 0)[0]] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 24.3


def test_streams_are_the_same_in_every_release() -> None:
    """The same seed must give the same network in every release."""
    numbers = np.empty(3)
    rng.fill_uniform(numbers, 7, rng.WEIGHTS, 0, 1.0)
    rows = np.arange(8)
    rng.shuffle(rows, 7, rng.SHUFFLE, 0)
    assert [round(float(number), 12) for number in numbers] == EXPECTED_NUMBERS
    assert rows.tolist() == EXPECTED_ROWS
