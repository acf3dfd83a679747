"""Columns to learn from: looked at as they go by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from engine.data.categories import LONGEST, in_order, name
from engine.data.columns import ColumnType
from engine.data.dates import days
from engine.data.reading.formats.schema import is_date, is_number, is_text, shown
from engine.data.reading.missing import NONE_MISSING, Missing, Rows, rows_missing
from engine.data.reading.numbers import as_numpy
from engine.data.reading.places import in_column
from engine.errors import InvalidInput

MOST_FOUND, MOST_ASKED = 1_000, 10_000


@dataclass(frozen=True)
class Look:
    """What a batch of a column shows."""

    missing: Rows
    magnitude: float = 0.0
    values: Sequence[object] = ()


class Feature:
    """A column as its batches go by: each is looked at, by whichever thread, and what it shows is added in order."""

    def __init__(self, column: pa.Field, asked: ColumnType | None) -> None:
        self.name: str = column.name
        self.type: ColumnType = asked or _looks_like(column)
        self.missing = Missing(column.name)
        self.magnitude = 1.0 if self.type in ("boolean", "category") else 0.0
        self._most = MOST_ASKED if asked == "category" else MOST_FOUND
        self._seen: set[object] = set()
        self._refuse = in_column(column.name)

    @property
    def categories(self) -> tuple[str, ...]:
        return in_order(name(value) for value in self._seen)

    def look(self, values: pa.Array, first_row: int) -> Look:
        """Raises InvalidInput where it cannot be learned from."""
        if self.type == "number":
            return self._look_at_numbers(values, first_row)
        missing = rows_missing(values)
        present = _present(values) if len(missing) else values
        match self.type:
            case "date":
                return Look(missing, _magnitude(as_numpy(days(present))))
            case "category":
                return Look(missing, values=self._categories(present))
            case _:
                return Look(missing)

    def add(self, look: Look, first_row: int) -> None:
        """Raises InvalidInput where there are too many categories."""
        self.missing.add(look.missing, first_row)
        self.magnitude = max(self.magnitude, look.magnitude)
        self._seen.update(look.values)
        if len(self._seen) > self._most:
            raise InvalidInput("file", self._too_many())

    def _look_at_numbers(self, values: pa.Array, first_row: int) -> Look:
        magnitude = np.nan if values.null_count else _magnitude(as_numpy(values))
        missing = NONE_MISSING
        if np.isnan(magnitude):  # as it is where any of them is not a number
            missing = rows_missing(values)
            magnitude = _magnitude(as_numpy(_present(values)))
        if magnitude == np.inf:
            row = int(np.flatnonzero(np.isinf(as_numpy(values)))[0])
            raise self._refuse(first_row + row, "The value is infinite; only finite numbers are accepted.")
        return Look(missing, magnitude)

    def _categories(self, values: pa.Array) -> list[object]:
        found: list[object] = pa.compute.unique(values).to_pylist()
        longest = max((len(value) for value in found if isinstance(value, str)), default=0)
        if longest > LONGEST:
            raise InvalidInput(
                "file",
                f"The column {shown(self.name)} holds texts of up to {longest} characters; categories have at most "
                f"{LONGEST}. Leave it out with features.",
            )
        return found

    def _too_many(self) -> str:
        found = f"The column {shown(self.name)} holds more than {self._most} different values"
        if self._most == MOST_ASKED:
            return f"{found}, too many for a category; leave it out with features."
        return (
            f"{found}, and is text. Leave it out with features; or say "
            f'types={{"{self.name}": "category"}}, which takes up to {MOST_ASKED}.'
        )


def _magnitude(numbers: npt.NDArray[np.generic]) -> float:
    return max(abs(float(numbers.min())), abs(float(numbers.max()))) if len(numbers) else 0.0


def _present(values: pa.Array) -> pa.Array:
    return values.filter(pa.compute.invert(pa.compute.is_null(values, nan_is_null=True)))


def _looks_like(column: pa.Field) -> ColumnType:
    if is_text(column.type):
        return "category"
    if is_number(column.type):
        return "number"
    if is_date(column.type):
        raise InvalidInput(
            "file",
            f"The column {shown(column.name)} holds dates. Leave it out with features; or say "
            f'types={{"{column.name}": "date"}} to learn from the days since 1970.',
        )
    return "boolean"
