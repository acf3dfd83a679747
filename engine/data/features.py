"""The raw inputs of a stored dataset, read in blocks of rows: as they were handed in, before anything is prepared.

Of plain numbers a block is a matrix (rows, inputs). Of a table it has an array for each column: float64, with NaN where
there is no value, of numbers, booleans (0 or 1) and dates (days since 1970-01-01); of categories int32 codes into those
that are asked for, with MISSING and UNSEEN.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nabla.engine.data.schema import Column

Rows = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Raw = Array | tuple[Array, ...]

# Codes of a category where there is no value, and where it is none of those that are asked for.
MISSING, UNSEEN = -1, -2


class Features(Protocol):
    """`columns`: None for plain numbers. `inputs`: how many inputs of a network a row becomes."""

    @property
    def columns(self) -> tuple[Column, ...] | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def inputs(self) -> int: ...

    def read(self, rows: Rows) -> Raw:
        """These rows, which ascend. Raises Damaged."""

    def only(self, place: int) -> "Features":
        """One column of a table."""


class ArrayFeatures:
    """Plain numbers, in memory or mapped from a file."""

    columns = None

    def __init__(self, matrix: Array) -> None:
        """`matrix`: (rows, inputs), of any type of numbers."""
        self.matrix = matrix
        self.rows, self.inputs = matrix.shape

    def read(self, rows: Rows) -> Array:
        if rows.size and rows[-1] - rows[0] == rows.size - 1:
            return self.matrix[rows[0] : rows[-1] + 1]
        return self.matrix[rows]

    def only(self, place: int) -> "ArrayFeatures":
        return ArrayFeatures(self.matrix[:, place : place + 1])
