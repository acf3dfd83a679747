"""Column-wise scaling of inputs and targets, fitted on the training rows.

- standardize: mean and standard deviation. The moments of blocks of rows, each computed in two passes, are merged as in
  Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983. As they
  recommend, the first row is subtracted first: far from 0, the means of blocks are not exact enough.
- min_max: minimum and range, so that the training rows lie in 0 … 1.
- robust: median and interquartile range, both interpolated linearly.

The size of a block depends on the number of columns alone, so that the fitted bits depend only on the rows and their
numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nabla.engine.literals import ScalingName
from nabla.engine.typing import Float64Array, FloatArray, RowIndices

ReadRows = Callable[[RowIndices], Float64Array]
"""Returns the given rows, which are in ascending order, as (rows, columns)."""

# Numbers in a block, and numbers that are in memory at a time to compute quantiles.
_BLOCK_NUMBERS = 2**20
_MAX_QUANTILE_NUMBERS = 2**25


@dataclass(frozen=True, eq=False)
class Scaling:
    """Maps x to (x − offset) · (1 / scale), with `offsets` (columns) and `scales` (columns)."""

    offsets: Float64Array
    scales: Float64Array

    def transform(self, x: Float64Array) -> Float64Array:
        """Return scaled columns (rows, columns); numbers that overflow become infinite."""
        with np.errstate(over="ignore", invalid="ignore"):  # callers check for finite numbers
            return np.asarray((x - self.offsets) * (1 / self.scales))

    def inverse_transform(self, z: FloatArray) -> Float64Array:
        """Return scaled columns (rows, columns) in their original units; numbers that overflow become infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(z * self.scales + self.offsets)


def fit_scaling(method: ScalingName, read: ReadRows, rows: RowIndices, width: int) -> Scaling:
    """Fit a scaling on the given rows.

    Args:
        method: Any method but "none".
        read: Reads rows of the data.
        rows: Rows to fit on, ascending.
        width: Number of columns.

    Returns:
        The scaling. Columns that are constant, or whose scale cannot be divided by, have the scale 1. Offsets and
        scales of columns beyond the range of float64 are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        offsets, scales = _FITS[method](read, rows, width)
        unusable = ~np.isinf(scales) & ~np.isfinite(1 / scales)
    return Scaling(offsets, np.where(unusable, 1.0, scales))


def iter_blocks(rows: RowIndices, width: int) -> Iterator[RowIndices]:
    """Yield all rows in blocks of bounded size for data with `width` columns."""
    block_rows = max(1, _BLOCK_NUMBERS // width)
    for first in range(0, len(rows), block_rows):
        yield rows[first : first + block_rows]


def _fit_standardize(read: ReadRows, rows: RowIndices, width: int) -> tuple[Float64Array, Float64Array]:
    origin = read(rows[:1])[0]
    count = 0
    mean, squares = np.zeros((2, width))
    smallest, largest = np.full(width, np.inf), np.full(width, -np.inf)
    for block in iter_blocks(rows, width):
        x = read(block) - origin
        smallest, largest = np.minimum(smallest, x.min(axis=0)), np.maximum(largest, x.max(axis=0))
        block_mean = x.mean(axis=0)
        delta = block_mean - mean
        total = count + len(x)
        mean += delta * (len(x) / total)
        squares += np.square(x - block_mean).sum(axis=0) + np.square(delta) * (count * len(x) / total)
        count = total
    constant = smallest == largest
    return np.where(constant, origin, origin + mean), np.where(constant, 0.0, np.sqrt(squares / count))


def _fit_min_max(read: ReadRows, rows: RowIndices, width: int) -> tuple[Float64Array, Float64Array]:
    smallest, largest = np.full(width, np.inf), np.full(width, -np.inf)
    for block in iter_blocks(rows, width):
        x = read(block)
        smallest, largest = np.minimum(smallest, x.min(axis=0)), np.maximum(largest, x.max(axis=0))
    return smallest, largest - smallest


def _fit_robust(read: ReadRows, rows: RowIndices, width: int) -> tuple[Float64Array, Float64Array]:
    """Fit as many columns at a time as fit into memory; each such group takes a pass over the rows."""
    quartiles = np.empty((3, width))
    group_width = max(1, _MAX_QUANTILE_NUMBERS // len(rows))
    for first in range(0, width, group_width):
        last = min(width, first + group_width)
        group = np.empty((last - first, len(rows)))
        start = 0
        for block in iter_blocks(rows, width):
            group[:, start : start + len(block)] = read(block)[:, first:last].T
            start += len(block)
        for column, numbers in enumerate(group, first):
            quartiles[:, column] = np.percentile(numbers, (25, 50, 75), overwrite_input=True)
    return quartiles[1], quartiles[2] - quartiles[0]


_FITS: dict[str, Callable[[ReadRows, RowIndices, int], tuple[Float64Array, Float64Array]]] = {
    "standardize": _fit_standardize,
    "min_max": _fit_min_max,
    "robust": _fit_robust,
}
