"""Partition of shuffled rows, optionally stratified by class."""

from collections.abc import Sequence

import numpy as np

from nabla.engine.typing import ClassCodes, RowIndices


def partition_rows(order: RowIndices, ends: Sequence[int], codes: ClassCodes | None = None) -> list[RowIndices]:
    """Cut shuffled rows into splits at these positions, and sort each split.

    Args:
        order: Rows in random order.
        ends: Ascending positions in `order` at which the splits end; rows behind the last end are in no split.
        codes: Class of each row of the dataset; if not None, each split has its share of each class, to within a row.

    Returns:
        The rows of each split, ascending.
    """
    if codes is not None:
        order = _spread_classes(order, codes)
    return [np.sort(order[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _spread_classes(rows: RowIndices, codes: ClassCodes) -> RowIndices:
    """Reorder rows so that every prefix has its share of each class, to within a row.

    The k-th of the n rows of a class is placed at (k + ½) / n of the whole.
    """
    classes = codes[rows]
    position = np.empty(len(rows))
    for code in np.unique(classes):
        members = np.flatnonzero(classes == code)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return rows[np.argsort(position, kind="stable")]
