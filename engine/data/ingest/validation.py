"""What is seen of numbers, of weights and of classes as their blocks go by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from nabla.engine.data.examples import Array, Label
from nabla.engine.data.ingest.formats.types import MOST_SHOWN, is_date, is_number, is_text, shown
from nabla.engine.data.schema import LONGEST, ColumnType, in_order, name
from nabla.engine.data.table_features import days
from nabla.engine.errors import InvalidInput


def as_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """The same numbers, without a copy where none is missing; else whole numbers become float64, and what is missing
    is not a number. Truth values are numbers too."""
    if values.null_count or kinds.is_boolean(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.from_dlpack(values)  # to_numpy loads pandas where there is one, which takes longer than a small file


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


Refusal = Callable[[int, str], InvalidInput]
"""Of a row, counted from 0, and a sentence about it."""


def in_array(field: str) -> Refusal:
    return lambda row, sentence: InvalidInput(f"{field}.{row}", sentence)


def in_column(column: str, field: str = "file") -> Refusal:
    """Rows of a table are counted from 1, as people do."""
    return lambda row, sentence: InvalidInput(
        field, f"Row {row + 1}, column {shown(column)}: {sentence[0].lower()}{sentence[1:]}"
    )


def in_request(column: str, key: str) -> Refusal:
    """Of rows that are to be predicted the field says which one it is, counted from 0, as that of rows in JSON does.
    `key`: how it calls the column."""
    return lambda row, sentence: in_column(column, f"body.{row}.{key}")(row, sentence)


MOST_CLASSES = 100_000
# Rows that are looked at first.
_FEW = 1000
_WHOLE = "Expected one label per row, whole numbers or text; numbers to be met as they are go into targets."


class Numbers:
    """Finite numbers, and their range. `refuse`: of row, column and a sentence."""

    def __init__(self, refuse: Callable[[int, int, str], InvalidInput]) -> None:
        self._refuse = refuse
        self.smallest, self.largest = np.inf, -np.inf

    @property
    def magnitude(self) -> float:
        return max(abs(self.smallest), abs(self.largest))

    def see(self, block: Array, first_row: int) -> None:
        """Of shape (rows, columns). Raises InvalidInput naming row and column."""
        low, high = float(block.min()), float(block.max())  # what is not a number comes through
        if not (np.isfinite(low) and np.isfinite(high)):
            row, column = np.argwhere(~np.isfinite(block))[0]
            what = "not a number" if np.isnan(block[row, column]) else "infinite"
            raise self._refuse(
                first_row + int(row), int(column), f"The value is {what}; only finite numbers are accepted."
            )
        self.smallest, self.largest = min(self.smallest, low), max(self.largest, high)


class Distributions:
    """Whether all rows are at least 0 and sum to 1."""

    def __init__(self) -> None:
        self.are = True

    def see(self, block: Array) -> None:
        if self.are:  # where they are not, the first of them tell as a rule
            self.are = _are_distributions(block[:_FEW]) and _are_distributions(block)


def _are_distributions(rows: Array) -> bool:
    return bool(rows.min() >= 0 and np.allclose(rows.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=1e-5))


class Weights:
    """One number for each row: finite, at least 0, with a finite sum above 0."""

    def __init__(self, field: str, refuse: Refusal) -> None:
        self._field, self._refuse = field, refuse
        self._total = 0.0

    def see(self, block: npt.NDArray[np.float64], first_row: int) -> None:
        wrong = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
        if wrong.size:
            row = int(wrong[0])
            raise self._refuse(
                first_row + row, f"The weight is {block[row]:g}; a weight is a finite number of at least 0."
            )
        with np.errstate(over="ignore"):  # seen at the end
            self._total += float(block.sum())

    def end(self) -> None:
        if self._total == 0:
            raise InvalidInput(self._field, "All weights are 0; at least 1 row must count.")
        if not np.isfinite(self._total):
            raise InvalidInput(self._field, "The sum of the weights is beyond the finite numbers; give smaller ones.")


class Classes:
    """The classes among labels, found in a first pass over them, and their codes in a second."""

    def __init__(self, field: str, given: Sequence[Label] | None, refuse: Refusal) -> None:
        self._field, self._refuse = field, refuse
        self._given = None if given is None else tuple(name(each) for each in given)
        self._found: dict[object, str] = {}
        self._values: pa.Array | None = None
        self._codes: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self.names: tuple[str, ...] = ()
        if self._given is not None and len(set(self._given)) != len(self._given):
            raise InvalidInput("classes", "Every class is listed once.")
        if self._given is not None and max(map(len, self._given), default=0) > LONGEST:
            raise InvalidInput("classes", f"Classes have at most {LONGEST} characters.")

    def look(self, labels: pa.Array) -> pa.Array:
        """The different ones among some of the labels, by whichever thread. Raises InvalidInput if their type is not
        one of classes."""
        type = labels.type
        if not (
            kinds.is_string(type)
            or kinds.is_large_string(type)
            or kinds.is_boolean(type)
            or kinds.is_integer(type)
            or kinds.is_floating(type)
        ):
            raise InvalidInput(self._field, f"{_WHOLE[:-1]}, got {type}.")
        return pa.compute.unique(_comparable(labels))

    def add(self, new: pa.Array) -> None:
        """Raises InvalidInput if these cannot be classes."""
        self._values = new if self._values is None else pa.compute.unique(pa.concat_arrays((self._values, new)))
        for value in new.to_pylist():
            if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
                raise InvalidInput(self._field, f"{_WHOLE} {value:g} is among the labels.")
            self._found.setdefault(value, name(value).strip() if isinstance(value, str) else name(value))
            if len(self._found[value]) > LONGEST:
                raise InvalidInput(
                    self._field,
                    f"There is a label of {len(self._found[value])} characters; classes have at most {LONGEST}.",
                )
        if len(self._found) > MOST_CLASSES:
            raise InvalidInput(self._field, f"There are more than {MOST_CLASSES} classes; numbers go into targets.")

    def settle(self) -> None:
        """All labels were seen."""
        self.names = in_order(self._found.values()) if self._given is None else self._given
        if len(self.names) < 2:
            raise InvalidInput(self._field, "There is only one class; a classifier needs at least 2.")
        places = {each: code for code, each in enumerate(self.names)}
        found = [] if self._values is None else self._values.to_pylist()
        self._codes = np.array([places.get(self._found[value], -1) for value in found], np.int32)

    def codes(self, labels: pa.Array, first_row: int) -> npt.NDArray[np.int32]:
        """Raises InvalidInput naming the first row whose label is not among the classes."""
        labels = _comparable(labels)
        found = pa.compute.index_in(labels, value_set=self._values)
        codes: npt.NDArray[np.int32] = self._codes[as_numpy(found)]
        wrong = np.flatnonzero(codes < 0)
        if wrong.size:
            row = int(wrong[0])
            more = "" if len(self.names) <= MOST_SHOWN else f", … ({len(self.names)} in all)"
            raise self._refuse(
                first_row + row,
                f"The label {shown(self._found[labels[row].as_py()])} is not one of the classes "
                f"{', '.join(self.names[:MOST_SHOWN])}{more}.",
            )
        return codes


def _comparable(labels: pa.Array) -> pa.Array:
    """Arrow tells 0 from -0."""
    return pa.compute.add(labels, pa.scalar(0, labels.type)) if kinds.is_floating(labels.type) else labels


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
