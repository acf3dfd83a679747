"""Rows of a column that have no value."""

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from engine.data.reading.formats.schema import shown
from engine.data.reading.numbers import as_numpy

_ROWS_NAMED = 5


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

    def see(self, values: pa.Array, first_row: int) -> bool:
        """Whether there are any among these."""
        if not values.null_count and not _has_nan(values):
            return False
        rows = np.flatnonzero(pa.compute.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False))
        self.count += len(rows)
        self._rows += [first_row + int(row) + 1 for row in rows[: _ROWS_NAMED - len(self._rows)]]
        return True


def _has_nan(values: pa.Array) -> bool:
    """The smallest number of all is not a number if any is not."""
    return bool(kinds.is_floating(values.type) and len(values) and np.isnan(as_numpy(values).min()))
