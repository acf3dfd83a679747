"""Statistics of a table's columns, collected batch by batch: missing values, magnitude and categories."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types

from nabla.engine.data.ingest.formats.types import is_date, is_number, is_text, to_numpy
from nabla.engine.data.ingest.validation import table_row_error
from nabla.engine.data.ingest_options import Decimal
from nabla.engine.data.schema import (
    MAX_CATEGORY_LENGTH,
    ColumnType,
    find_case_variants,
    format_category,
    format_names,
    is_identifier_name,
    sort_categories,
)
from nabla.engine.data.table_features import epoch_days
from nabla.engine.data.text_formats import DateOrder
from nabla.engine.errors import quote
from nabla.engine.typing import AnyArray, RowIndices

MAX_CATEGORIES = 1_000
"""Categories of a text column whose type is inferred."""
MAX_REQUESTED_CATEGORIES = 10_000
"""Categories of a column for which the type category is requested."""

_NO_ROWS: RowIndices = np.zeros(0, np.int64)
_MAX_ROWS_LISTED = 5


class MissingValues:
    """The number of missing values of a column, and the first rows that have one. NaN is a missing value."""

    def __init__(self, column: str, spellings: Sequence[str] = ()) -> None:
        """Start with no rows. `spellings`: texts that were read as missing."""
        self._column, self._spellings = column, spellings
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
        spelled = f" ({', '.join(map(quote, self._spellings))})" if self._spellings else ""
        return f"The column {quote(self._column)} has no value{spelled} in {noun} {rows}{more}."


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
        smallest: The smallest number, or date in days since 1970-01-01.
        largest: The largest.
        first: The first number, if all numbers of the batch rise by 1.
        has_duplicates: Whether numbers occur twice, of a column that is named like an identifier.
        has_time: Whether a date has a time other than midnight.
        categories: Distinct values of a category column, each with its number of rows.
        max_length: Characters of the longest of them.
    """

    missing_rows: RowIndices
    smallest: float = np.inf
    largest: float = -np.inf
    first: float | None = None
    has_duplicates: bool = True
    has_time: bool = False
    categories: Sequence[tuple[object, int]] = ()
    max_length: int = 0


class FeatureStats:
    """Statistics of a feature column.

    Batches may be measured in any thread; their statistics are added in order.

    Attributes:
        missing: Missing values.
        declared: Categories that the data declare, in their order.
        counts: Number of rows of each category; empty if there are too many.
        has_excess: Whether there are too many categories.
        is_sequence: Whether the values are consecutive whole numbers.
        is_identifier: Whether the column is named like an identifier, and its numbers differ within each batch.
        has_time: Whether a date has a time other than midnight.
    """

    def __init__(
        self,
        column: pa.Field,
        requested: ColumnType | None,
        spellings: Sequence[str] = (),
        declared: tuple[str, ...] = (),
        *,
        max_categories: int = MAX_CATEGORIES,
        decimal: Decimal = ".",
        date_order: DateOrder = "year_first",
    ) -> None:
        """Start with no rows.

        Args:
            column: The column as it is stored.
            requested: The type that is requested for it, if any.
            spellings: Texts that are read as missing values.
            declared: All its categories in order, if the data declare them.
            max_categories: Maximum number of categories, if the type category is not requested.
            decimal: The decimal separator of its numbers, if they are text.
            date_order: The order of the parts of its dates, if they are text.
        """
        self.name: str = column.name
        self.type: ColumnType = requested or infer_type(column)
        self.missing = MissingValues(column.name, spellings)
        self.counts: dict[str, int] = {}
        self.has_excess = False
        self.is_sequence = self.type == "number"
        self.is_identifier = self.is_sequence and is_identifier_name(column.name)
        self.has_time = False
        self._is_requested = requested is not None
        self.declared = declared
        self.decimal, self.date_order = decimal, date_order
        self._max_length = 0
        self._smallest, self._largest, self._next = np.inf, -np.inf, np.nan
        self._max_categories = MAX_REQUESTED_CATEGORIES if requested == "category" else max_categories
        self._row_error = table_row_error(column.name)
        self._spellings: dict[str, set[str]] = {}

    @property
    def magnitude(self) -> float:
        """The largest absolute value of numbers, or of dates in days since 1970-01-01; 1 for other types."""
        if self.type in ("boolean", "category"):
            return 1.0
        return max(abs(self._smallest), abs(self._largest)) if self._smallest <= self._largest else 0.0

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value."""
        if self.type == "category":
            return len(self.counts) <= 1 and not self.has_excess and not self.missing.count
        return self._smallest >= self._largest and not self.missing.count

    @property
    def single_value(self) -> float | None:
        """The number that all rows with a value have; None for several numbers, and for other types."""
        return self._smallest if self.type in ("number", "boolean") and self._smallest == self._largest else None

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories: in the order of the data if they declare them, else sorted."""
        others = (name for name in self.counts if name not in self.declared)
        return (*self.declared, *sort_categories(others))

    @property
    def problem(self) -> str | None:
        """Why the column cannot be a feature unless that is requested, as a sentence."""
        if self._max_length > MAX_CATEGORY_LENGTH:
            return (
                f"The column {quote(self.name)} holds texts of up to {self._max_length} characters; categories have at "
                f"most {MAX_CATEGORY_LENGTH}. Leave it out with exclude."
            )
        if self.has_excess:
            return self._describe_excess()
        if self.type == "date" and not self._is_requested:
            return (
                f"The column {quote(self.name)} holds dates. Leave it out with exclude, or set "
                f'types={{"{self.name}": "date"}} to use the days since 1970-01-01.'
            )
        return None

    def describe_spellings(self) -> list[str]:
        """Return sentences about categories that have several spellings."""
        if self.has_excess:
            return []
        merged = [
            f"{' and '.join(sorted(texts))} are {name}" for name, texts in self._spellings.items() if len(texts) > 1
        ]
        sentences = []
        if merged:
            sentences.append(
                f"Texts of the column {quote(self.name)} that differ in spelling only are one category: "
                f"{format_names(merged, 5)}."
            )
        if variants := find_case_variants(self.counts):
            sentences.append(
                f"Categories of the column {quote(self.name)} that differ in case only are not joined: "
                f"{format_names(variants, 5)}."
            )
        return sentences

    def measure(self, values: pa.Array, first_row: int) -> ColumnChunkStats:
        """Return the statistics of a batch. Thread-safe. Raises InvalidInput if a number is infinite."""
        if self.type == "number":
            return self._measure_numbers(values, first_row)
        missing_rows = find_missing_rows(values)
        present = _drop_missing(values) if len(missing_rows) else values
        match self.type:
            case "date":
                days = to_numpy(epoch_days(present))
                smallest, largest = _range(days)
                return ColumnChunkStats(missing_rows, smallest, largest, has_time=bool((days % 1).any()))
            case "category":
                distinct = _count_values(present)
                lengths = (len(value) for value, _ in distinct if isinstance(value, str))
                return ColumnChunkStats(missing_rows, categories=distinct, max_length=max(lengths, default=0))
            case _:
                smallest, largest = _range(to_numpy(present).astype(np.float64))
                return ColumnChunkStats(missing_rows, smallest, largest)

    def add(self, stats: ColumnChunkStats, first_row: int) -> None:
        """Add the statistics of the next batch."""
        self.missing.add(stats.missing_rows, first_row)
        self.is_sequence = (
            self.is_sequence and stats.first is not None and (np.isnan(self._next) or stats.first == self._next)
        )
        self.is_identifier = self.is_identifier and not stats.has_duplicates
        self._next = stats.largest + 1
        self._smallest, self._largest = min(self._smallest, stats.smallest), max(self._largest, stats.largest)
        self.has_time = self.has_time or stats.has_time
        self._max_length = max(self._max_length, stats.max_length)
        if self.has_excess:
            return
        for value, count in stats.categories:
            name = format_category(value)
            self.counts[name] = self.counts.get(name, 0) + count
            if isinstance(value, str):
                self._spellings.setdefault(name, set()).add(unicodedata.normalize("NFC", value).strip())
        if len(self.counts) > self._max_categories:
            self.has_excess, self.counts = True, {}

    def _measure_numbers(self, values: pa.Array, first_row: int) -> ColumnChunkStats:
        smallest = largest = np.nan
        if not values.null_count:
            smallest, largest = _range(to_numpy(values))
        missing_rows, present = _NO_ROWS, values
        if np.isnan(smallest + largest) or not np.isfinite(smallest + largest):  # missing, NaN or infinite
            missing_rows = find_missing_rows(values)
            present = _drop_missing(values)
            smallest, largest = _range(to_numpy(present))
        if np.inf in (largest, -smallest) and len(present):
            row = int(np.flatnonzero(np.isinf(to_numpy(values)))[0])
            raise self._row_error(first_row + row, "The value is infinite; only finite numbers are accepted.")
        numbers = to_numpy(present)
        rises = len(numbers) == len(values) > 0 and largest - smallest == len(numbers) - 1
        rises = rises and bool((np.diff(numbers) == 1).all())
        has_duplicates = not rises
        if self.is_identifier and not rises:
            has_duplicates = len(np.unique(numbers)) < len(values) or bool((numbers % 1).any())
        return ColumnChunkStats(missing_rows, smallest, largest, float(numbers[0]) if rises else None, has_duplicates)

    def _describe_excess(self) -> str:
        excess = f"The column {quote(self.name)} holds more than {self._max_categories} different values"
        if self._max_categories == MAX_REQUESTED_CATEGORIES:
            return f"{excess}, too many for a category; leave it out with exclude."
        return (
            f"{excess} of text. Leave it out with exclude, or set "
            f'types={{"{self.name}": "category"}}, which accepts up to {MAX_REQUESTED_CATEGORIES}.'
        )


def infer_type(column: pa.Field) -> ColumnType:
    """Return the type of a column as its values suggest."""
    if is_text(column.type):
        return "category"
    if is_number(column.type):
        return "number"
    return "date" if is_date(column.type) else "boolean"


def _count_values(values: pa.Array) -> list[tuple[object, int]]:
    counted = pa.compute.value_counts(values)
    return list(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _range(numbers: AnyArray) -> tuple[float, float]:
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else (np.inf, -np.inf)


def _drop_missing(values: pa.Array) -> pa.Array:
    return values.filter(pa.compute.invert(pa.compute.is_null(values, nan_is_null=True)))
