"""Offsets and scales of numbers, column by column, as they are found in the rows that are trained on.

standardize: mean and standard deviation. Each block of rows is looked at twice, and blocks are put together as in Chan,
Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983; from them is also
that numbers are counted from those of the first row, since far from 0 the means of blocks are not exact enough.
min_max: to 0 … 1. robust: median, and the distance between the quartiles, both interpolated linearly.

Blocks are so many of the rows as the width alone says, so that the bits depend on nothing but rows and numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.features import Rows
from nabla.engine.literals import ScalingWord

Vector = npt.NDArray[np.float64]
Reals = npt.NDArray[np.float64]
Read = Callable[[Rows], Reals]
"""These rows, which ascend, as (rows, columns)."""

# Numbers of a block, and those that are held at once where quantiles are wanted.
_NUMBERS_OF_BLOCK = 2**20
_NUMBERS_HELD = 2**25


@dataclass(frozen=True, eq=False)
class Scaling:
    """x becomes (x − offset) · (1 / scale), with `offsets` and `scales` (columns)."""

    offsets: Vector
    scales: Vector

    def apply(self, x: Reals) -> Reals:
        with np.errstate(over="ignore", invalid="ignore"):  # seen by whoever uses them
            return np.asarray((x - self.offsets) * (1 / self.scales))

    def undo(self, z: npt.NDArray[np.floating]) -> Reals:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(z * self.scales + self.offsets)


def blocks_of(rows: Rows, width: int) -> Iterator[Rows]:
    """All rows, in blocks of so many numbers."""
    at_once = max(1, _NUMBERS_OF_BLOCK // width)
    for first in range(0, len(rows), at_once):
        yield rows[first : first + at_once]


def fit_scaling(word: ScalingWord, read: Read, rows: Rows, width: int) -> Scaling:
    """Found in these rows. A column whose numbers are all the same, or whose scale cannot be divided by, has the scale
    1. Where numbers reach too far, offsets or scales are not finite."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        offsets, scales = _FITS[word](read, rows, width)
        unusable = ~np.isinf(scales) & ~np.isfinite(1 / scales)
    return Scaling(offsets, np.where(unusable, 1.0, scales))


def _standardize(read: Read, rows: Rows, width: int) -> tuple[Vector, Vector]:
    origin = read(rows[:1])[0]
    count = 0
    mean, squared = np.zeros((2, width))
    smallest, largest = np.full(width, np.inf), np.full(width, -np.inf)
    for block in blocks_of(rows, width):
        x = read(block) - origin
        smallest, largest = np.minimum(smallest, x.min(axis=0)), np.maximum(largest, x.max(axis=0))
        own = x.mean(axis=0)
        apart = own - mean
        total = count + len(x)
        mean += apart * (len(x) / total)
        squared += np.square(x - own).sum(axis=0) + np.square(apart) * (count * len(x) / total)
        count = total
    same = smallest == largest
    return np.where(same, origin, origin + mean), np.where(same, 0.0, np.sqrt(squared / count))


def _min_max(read: Read, rows: Rows, width: int) -> tuple[Vector, Vector]:
    smallest, largest = np.full(width, np.inf), np.full(width, -np.inf)
    for block in blocks_of(rows, width):
        x = read(block)
        smallest, largest = np.minimum(smallest, x.min(axis=0)), np.maximum(largest, x.max(axis=0))
    return smallest, largest - smallest


def _robust(read: Read, rows: Rows, width: int) -> tuple[Vector, Vector]:
    """As many columns at once as may be held; at least one."""
    quartiles = np.empty((3, width))
    columns_at_once = max(1, _NUMBERS_HELD // len(rows))
    for first in range(0, width, columns_at_once):
        last = min(width, first + columns_at_once)
        held = np.empty((last - first, len(rows)))
        at = 0
        for block in blocks_of(rows, width):
            held[:, at : at + len(block)] = read(block)[:, first:last].T
            at += len(block)
        for column, numbers in enumerate(held, first):
            quartiles[:, column] = np.percentile(numbers, (25, 50, 75), overwrite_input=True)
    return quartiles[1], quartiles[2] - quartiles[0]


_FITS: dict[str, Callable[[Read, Rows, int], tuple[Vector, Vector]]] = {
    "standardize": _standardize,
    "min_max": _min_max,
    "robust": _robust,
}
