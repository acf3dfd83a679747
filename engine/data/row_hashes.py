"""Hashes of the rows of stored datasets, by which equal rows of different datasets are found."""

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import RawDataset
from nabla.engine.typing import AnyArray

RowHashes = npt.NDArray[np.uint64]

_BLOCK_ROWS = 2**16
# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the finalizer of SplitMix64.
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(raw: RawDataset) -> RowHashes:
    """Return a hash (rows) of the inputs and the targets of each row.

    Rows with equal values have equal hashes, also in another dataset whose columns and classes are read alike; missing
    values are equal to each other.
    """
    rows = raw.features.rows
    hashes: RowHashes = np.zeros(rows, np.uint64)
    for first in range(0, rows, _BLOCK_ROWS):
        block = np.arange(first, min(rows, first + _BLOCK_ROWS))
        values = raw.features.read(block)
        columns = values if isinstance(values, tuple) else tuple(values.T)
        targets = (raw.codes[block],) if raw.codes is not None else ()
        if raw.targets is not None:
            targets = tuple(raw.targets[block].T)
        part = hashes[block]
        for column in (*columns, *targets):
            part = _mix(part, column)
        hashes[block] = part
    return hashes


def _mix(hashes: RowHashes, column: AnyArray) -> RowHashes:
    """Return the hashes with one more column."""
    values = column.astype(np.float64) + 0.0  # -0 becomes 0
    values[np.isnan(values)] = np.nan
    with np.errstate(over="ignore"):  # modulo 2⁶⁴
        mixed = (hashes * _MULTIPLIERS[0] + _INCREMENT) ^ values.view(np.uint64)
        for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
            mixed = (mixed ^ (mixed >> shift)) * multiplier
        return np.asarray(mixed ^ (mixed >> _SHIFTS[2]))
