"""Reading the raw inputs of a stored dataset in blocks of rows, before any preprocessing.

A block of a numeric matrix is an array (rows, inputs). A block of a table has one array (rows) per column: float64 for
numbers, booleans (0 or 1) and dates (days since 1970-01-01), with NaN for missing values; int32 codes into the
categories of the column, with MISSING_CODE and UNKNOWN_CODE, for categories.
"""

from typing import Protocol

from nabla.engine.data.schema import Column
from nabla.engine.typing import AnyArray, RowIndices

RawInputs = AnyArray | tuple[AnyArray, ...]

# Codes of a missing value, and of a value that is not among the categories.
MISSING_CODE, UNKNOWN_CODE = -1, -2


class Features(Protocol):
    """The inputs of a dataset."""

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """Columns of a table; None for a numeric matrix."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def inputs(self) -> int:
        """Number of network inputs that a row becomes."""

    def read(self, rows: RowIndices) -> RawInputs:
        """Return the given rows, which are in ascending order.

        Raises:
            Damaged: The stored file cannot be read.
        """

    def select_column(self, index: int) -> "Features":
        """Return the features of a single column."""


class ArrayFeatures:
    """A numeric matrix (rows, inputs) of any dtype, in memory or mapped from a file."""

    columns = None

    def __init__(self, matrix: AnyArray) -> None:
        self.matrix = matrix
        self.rows, self.inputs = matrix.shape

    def read(self, rows: RowIndices) -> AnyArray:
        """Return the given rows, without a copy if they are contiguous."""
        if rows.size and rows[-1] - rows[0] == rows.size - 1:
            return self.matrix[rows[0] : rows[-1] + 1]
        return self.matrix[rows]

    def select_column(self, index: int) -> "ArrayFeatures":
        """Return the features of a single column."""
        return ArrayFeatures(self.matrix[:, index : index + 1])
