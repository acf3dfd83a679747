"""Rows of a column that have no value."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from engine.data.reading.formats.schema import shown
from engine.data.reading.numbers import as_numpy

Rows = npt.NDArray[np.int64]

_ROWS_NAMED = 5
NONE_MISSING: Rows = np.zeros(0, np.int64)


class Missing:
    """Counted as batches go by; what is not a number counts as missing."""

    def __init__(self, column: str) -> None:
        self._column = column
        self.count = 0
        self._rows: list[int] = []

    @property
    def sentence(self) -> str:
        rows, named, more = "row" if self.count == 1 else "rows", ", ".join(map(str, self._rows)), ""
        if self.count > len(self._rows):
            more = f" and {self.count - len(self._rows)} more"
        return f"The column {shown(self._column)} has no value in {rows} {named}{more}."

    def add(self, rows: Rows, first_row: int) -> None:
        """Those of a batch, counted from its first row."""
        self.count += len(rows)
        self._rows += [first_row + int(row) + 1 for row in rows[: _ROWS_NAMED - len(self._rows)]]


def rows_missing(values: pa.Array) -> Rows:
    """Those of a batch that have no value, counted from its first."""
    if not values.null_count and not _has_nan(values):
        return NONE_MISSING
    return np.flatnonzero(pa.compute.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False))


def _has_nan(values: pa.Array) -> bool:
    """The smallest number of all is not a number if any is not."""
    return bool(kinds.is_floating(values.type) and len(values) and np.isnan(as_numpy(values).min()))
