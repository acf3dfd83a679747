"""Column-wise scaling of inputs and targets, fitted on the training rows.

- standardize: mean and standard deviation. The moments of blocks of rows, each computed in two passes, are merged as in
  Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983. As they
  recommend, the first row is subtracted first: far from 0, the means of blocks are not exact enough.
- min_max: minimum and range, so that the training rows lie in 0 … 1.
- robust: median and interquartile range, both interpolated linearly; half the range where the quartiles are equal.

A column whose values differ by rounding errors alone is constant. Scaled inputs may be compressed beyond ±3, so that a
single wild value neither dominates training nor makes a network extrapolate; see `compress_outliers`.

The size of a block depends on the number of columns alone, so that the fitted bits depend only on the rows and their
numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import ScalingName
from nabla.engine.typing import Float64Array, FloatArray, RowIndices

ReadRows = Callable[[RowIndices], Float64Array]
"""Returns the given rows, which are in ascending order, as (rows, columns)."""
_Fit = tuple[Float64Array, Float64Array, Float64Array]
"""Offsets (columns), scales (columns), and ranges (2, columns)."""

# Numbers in a block, and numbers that are in memory at a time to compute quantiles.
_BLOCK_NUMBERS = 2**20
_MAX_QUANTILE_NUMBERS = 2**25
# A column is constant if its range is at most this many units in the last place of its largest magnitude.
_CONSTANT_ULPS = 8

COMPRESSION_START = 3.0
"""Magnitude of scaled inputs above which `compress_outliers` compresses them, to less than twice this."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Maps x to (x − offset) · (1 / scale).

    Attributes:
        offsets: (columns).
        scales: (columns).
        ranges: (2, columns) Smallest and largest value of the rows that it was fitted on; None if unknown.
    """

    offsets: Float64Array
    scales: Float64Array
    ranges: Float64Array | None = None

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
        offsets, scales, ranges = _FITS[method](read, rows, width)
        unusable = ~np.isinf(scales) & ~np.isfinite(1 / scales)
    return Scaling(offsets, np.where(unusable, 1.0, scales), ranges)


def compress_outliers(z: Float64Array) -> Float64Array:
    """Return scaled inputs (rows, columns), those beyond ±3 compressed to less than ±6.

    With c = z limited to ±3, the result is c + (z − c) / (1 + |z − c| / 3). Up to ±3 it is z itself, so that linear
    relations stay linear; beyond, it is smooth and strictly increasing, so that the order of the values is kept.
    """
    limited = np.clip(z, -COMPRESSION_START, COMPRESSION_START)
    excess = z - limited
    return np.asarray(limited + excess / (1 + np.abs(excess) / COMPRESSION_START))


def iter_blocks(rows: RowIndices, width: int) -> Iterator[RowIndices]:
    """Yield all rows in blocks of bounded size for data with `width` columns."""
    block_rows = max(1, _BLOCK_NUMBERS // width)
    for first in range(0, len(rows), block_rows):
        yield rows[first : first + block_rows]


def _fit_standardize(read: ReadRows, rows: RowIndices, width: int) -> _Fit:
    origin = read(rows[:1])[0]
    count = 0
    mean, squares = np.zeros((2, width))
    ranges = _empty_ranges(width)
    for block in iter_blocks(rows, width):
        raw = read(block)
        _extend_ranges(ranges, raw)
        x = raw - origin
        block_mean = x.mean(axis=0)
        delta = block_mean - mean
        total = count + len(x)
        mean += delta * (len(x) / total)
        squares += np.square(x - block_mean).sum(axis=0) + np.square(delta) * (count * len(x) / total)
        count = total
    constant = _are_constant(ranges)
    return np.where(constant, origin, origin + mean), np.where(constant, 0.0, np.sqrt(squares / count)), ranges


def _fit_min_max(read: ReadRows, rows: RowIndices, width: int) -> _Fit:
    ranges = _empty_ranges(width)
    for block in iter_blocks(rows, width):
        _extend_ranges(ranges, read(block))
    return ranges[0].copy(), np.where(_are_constant(ranges), 0.0, ranges[1] - ranges[0]), ranges


def _empty_ranges(width: int) -> Float64Array:
    return np.array([[np.inf], [-np.inf]]).repeat(width, axis=1)


def _extend_ranges(ranges: Float64Array, x: Float64Array) -> None:
    np.minimum(ranges[0], x.min(axis=0), out=ranges[0])
    np.maximum(ranges[1], x.max(axis=0), out=ranges[1])


def _are_constant(ranges: Float64Array) -> npt.NDArray[np.bool_]:
    """Return whether the values of each column are equal up to rounding errors."""
    smallest, largest = ranges
    rounding = _CONSTANT_ULPS * np.spacing(np.maximum(np.abs(smallest), np.abs(largest)))
    return np.asarray(largest - smallest <= rounding)


def _fit_robust(read: ReadRows, rows: RowIndices, width: int) -> _Fit:
    """Fit as many columns at a time as fit into memory; each such group takes a pass over the rows."""
    quantiles = np.empty((5, width))
    group_width = max(1, _MAX_QUANTILE_NUMBERS // len(rows))
    for first in range(0, width, group_width):
        last = min(width, first + group_width)
        group = np.empty((last - first, len(rows)))
        start = 0
        for block in iter_blocks(rows, width):
            group[:, start : start + len(block)] = read(block)[:, first:last].T
            start += len(block)
        for column, numbers in enumerate(group, first):
            quantiles[:, column] = np.percentile(numbers, (0, 25, 50, 75, 100), overwrite_input=True)
    smallest, first_quartile, median, third_quartile, largest = quantiles
    ranges = np.stack((smallest, largest))
    scales = third_quartile - first_quartile
    scales = np.where(scales > 0, scales, (largest - smallest) / 2)
    return median, np.where(_are_constant(ranges), 0.0, scales), ranges


_FITS: dict[str, Callable[[ReadRows, RowIndices, int], _Fit]] = {
    "standardize": _fit_standardize,
    "min_max": _fit_min_max,
    "robust": _fit_robust,
}
