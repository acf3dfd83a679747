"""Statistics of a table's columns, collected batch by batch: missing values, magnitude and categories."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types

from nabla.engine.data.ingest.formats.types import is_date, is_number, is_text, to_numpy
from nabla.engine.data.ingest.validation import table_row_error
from nabla.engine.data.schema import MAX_CATEGORY_LENGTH, ColumnType, format_category, sort_categories
from nabla.engine.data.table_features import epoch_days
from nabla.engine.errors import InvalidInput, quote
from nabla.engine.typing import AnyArray, RowIndices

MAX_CATEGORIES = 1_000
"""Categories of a text column whose type is inferred."""
MAX_REQUESTED_CATEGORIES = 10_000
"""Categories of a column for which the type category is requested."""

_NO_ROWS: RowIndices = np.zeros(0, np.int64)
_MAX_ROWS_LISTED = 5


class MissingValues:
    """The number of missing values of a column, and the first rows that have one. NaN is a missing value."""

    def __init__(self, column: str) -> None:
        self._column = column
        self.count = 0
        self._rows: list[int] = []

    def add(self, rows: RowIndices, first_row: int) -> None:
        """Add the rows of a batch, counted from its first row."""
        self.count += len(rows)
        self._rows += [first_row + int(row) + 1 for row in rows[: _MAX_ROWS_LISTED - len(self._rows)]]

    def describe(self) -> str:
        """Return a sentence about the rows, counted from 1."""
        noun, rows = "row" if self.count == 1 else "rows", ", ".join(map(str, self._rows))
        more = f" and {self.count - len(self._rows)} more" if self.count > len(self._rows) else ""
        return f"The column {quote(self._column)} has no value in {noun} {rows}{more}."


def find_missing_rows(values: pa.Array) -> RowIndices:
    """Return the rows with a missing value."""
    if not values.null_count and not _has_nan(values):
        return _NO_ROWS
    return np.flatnonzero(pa.compute.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False))


def _has_nan(values: pa.Array) -> bool:
    """Return whether a value is NaN; then the minimum is NaN too, which is faster to compute than a mask."""
    return bool(pyarrow.types.is_floating(values.type) and len(values) and np.isnan(to_numpy(values).min()))


@dataclass(frozen=True)
class ColumnChunkStats:
    """Statistics of a column in one batch.

    Attributes:
        missing_rows: Rows with a missing value, counted from the first of the batch.
        magnitude: The largest absolute value of numbers, or of dates in days since 1970-01-01.
        categories: Distinct values of a category column.
    """

    missing_rows: RowIndices
    magnitude: float = 0.0
    categories: Sequence[object] = ()


class FeatureStats:
    """Statistics of a feature column.

    Batches may be measured in any thread; their statistics are added in order.
    """

    def __init__(self, column: pa.Field, requested: ColumnType | None) -> None:
        """Start with no rows. Raises InvalidInput for dates unless their type is requested."""
        self.name: str = column.name
        self.type: ColumnType = requested or infer_type(column)
        self.missing = MissingValues(column.name)
        self.magnitude = 1.0 if self.type in ("boolean", "category") else 0.0
        self._max_categories = MAX_REQUESTED_CATEGORIES if requested == "category" else MAX_CATEGORIES
        self._categories: set[object] = set()
        self._row_error = table_row_error(column.name)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, sorted."""
        return sort_categories(format_category(value) for value in self._categories)

    def measure(self, values: pa.Array, first_row: int) -> ColumnChunkStats:
        """Return the statistics of a batch. Thread-safe.

        Raises InvalidInput if a number is infinite or a category too long.
        """
        if self.type == "number":
            return self._measure_numbers(values, first_row)
        missing_rows = find_missing_rows(values)
        present = _drop_missing(values) if len(missing_rows) else values
        match self.type:
            case "date":
                return ColumnChunkStats(missing_rows, _magnitude(to_numpy(epoch_days(present))))
            case "category":
                return ColumnChunkStats(missing_rows, categories=self._distinct(present))
            case _:
                return ColumnChunkStats(missing_rows)

    def add(self, stats: ColumnChunkStats, first_row: int) -> None:
        """Add the statistics of the next batch. Raises InvalidInput if there are too many categories."""
        self.missing.add(stats.missing_rows, first_row)
        self.magnitude = max(self.magnitude, stats.magnitude)
        self._categories.update(stats.categories)
        if len(self._categories) > self._max_categories:
            raise InvalidInput("file", self._describe_excess())

    def _measure_numbers(self, values: pa.Array, first_row: int) -> ColumnChunkStats:
        magnitude = np.nan if values.null_count else _magnitude(to_numpy(values))
        missing_rows = _NO_ROWS
        if np.isnan(magnitude):  # a value is missing or NaN
            missing_rows = find_missing_rows(values)
            magnitude = _magnitude(to_numpy(_drop_missing(values)))
        if magnitude == np.inf:
            row = int(np.flatnonzero(np.isinf(to_numpy(values)))[0])
            raise self._row_error(first_row + row, "The value is infinite; only finite numbers are accepted.")
        return ColumnChunkStats(missing_rows, magnitude)

    def _distinct(self, values: pa.Array) -> list[object]:
        distinct: list[object] = pa.compute.unique(values).to_pylist()
        max_length = max((len(value) for value in distinct if isinstance(value, str)), default=0)
        if max_length > MAX_CATEGORY_LENGTH:
            raise InvalidInput(
                "file",
                f"The column {quote(self.name)} holds texts of up to {max_length} characters; categories have at most "
                f"{MAX_CATEGORY_LENGTH}. Leave it out with features.",
            )
        return distinct

    def _describe_excess(self) -> str:
        excess = f"The column {quote(self.name)} holds more than {self._max_categories} different values"
        if self._max_categories == MAX_REQUESTED_CATEGORIES:
            return f"{excess}, too many for a category; leave it out with features."
        return (
            f"{excess} of text. Leave it out with features, or set "
            f'types={{"{self.name}": "category"}}, which accepts up to {MAX_REQUESTED_CATEGORIES}.'
        )


def infer_type(column: pa.Field) -> ColumnType:
    """Return the type of a column as its values suggest. Raises InvalidInput for dates, whose use must be requested."""
    if is_text(column.type):
        return "category"
    if is_number(column.type):
        return "number"
    if is_date(column.type):
        raise InvalidInput(
            "file",
            f"The column {quote(column.name)} holds dates. Leave it out with features, or set "
            f'types={{"{column.name}": "date"}} to use the days since 1970-01-01.',
        )
    return "boolean"


def _magnitude(numbers: AnyArray) -> float:
    return max(abs(float(numbers.min())), abs(float(numbers.max()))) if len(numbers) else 0.0


def _drop_missing(values: pa.Array) -> pa.Array:
    return values.filter(pa.compute.invert(pa.compute.is_null(values, nan_is_null=True)))
