"""Seeded assignment of rows to splits."""

import numpy as np
import pytest

from nabla.engine.data.splitting import assign_rows, partition_rows
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import ClassCodes

CODES = (np.arange(12) % 3).astype(np.int32)


def test_parts_are_sorted_and_disjoint() -> None:
    first, second = partition_rows(np.array([5, 3, 9, 0, 7]), (2, 4))
    assert (first.tolist(), second.tolist()) == ([3, 5], [0, 9])


@pytest.mark.parametrize("stratified", [False, True])
def test_splits_are_disjoint_and_have_their_shares(stratified: bool) -> None:
    codes = np.repeat([0, 1, 2], [600, 300, 100]).astype(np.int32)
    first, second, third = assign_rows(1000, (0.5, 0.3, 0.1), 4, codes if stratified else None)
    assert [len(rows) for rows in (first, second, third)] == [500, 300, 100]
    assert len({*first.tolist(), *second.tolist(), *third.tolist()}) == 900
    if stratified:
        for rows in (first, second, third):
            assert np.abs(np.bincount(codes[rows]) / len(rows) - [0.6, 0.3, 0.1]).max() <= 1.5 / len(rows)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [(None, [[1, 2, 3, 4, 6, 8], [5, 7, 11]]), (CODES, [[1, 2, 3, 4, 6, 8], [7, 9, 11]])],
    ids=["plain", "stratified"],
)
def test_a_seed_draws_the_same_rows_in_every_version(codes: ClassCodes | None, expected: list[list[int]]) -> None:
    assert [rows.tolist() for rows in assign_rows(12, (0.5, 0.25), 7, codes)] == expected


def test_empty_split_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="none of the 3 rows") as rejected:
        assign_rows(3, (0.9, 0.1), 1, None)
    assert rejected.value.problems[0][0] == "splits.1.share"
