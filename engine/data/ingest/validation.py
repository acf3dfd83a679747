"""Validation of targets, labels and weights, block by block, and errors that name the row of a value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.examples import are_distributions
from nabla.engine.data.schema import (
    MAX_CATEGORY_LENGTH,
    Classes,
    ClassLabel,
    class_names,
    find_case_variants,
    find_class_codes,
    format_category,
    format_names,
    infer_class_types,
    merge_booleans,
    sort_categories,
)
from nabla.engine.errors import InvalidInput, quote, shorten
from nabla.engine.typing import AnyArray, ClassCodes, Float64Array

MAX_CLASSES = 100_000

# Rows of a block that are checked first, because they usually settle the matter.
_FIRST_ROWS = 1000

RowError = Callable[[int, str], InvalidInput]
"""Creates the error for a row, counted from 0, from a sentence about its value."""


def array_row_error(field: str) -> RowError:
    """Return a RowError about an array, whose rows the field names, counted from 0."""
    return lambda row, message: InvalidInput(f"{field}.{row}", message)


def table_row_error(column: str, field: str = "file") -> RowError:
    """Return a RowError about a column of a table, whose rows the message names, counted from 1."""
    return lambda row, message: InvalidInput(
        field, f"Row {row + 1}, column {quote(column)}: {message[0].lower()}{message[1:]}"
    )


def request_row_error(column: str, key: str) -> RowError:
    """Return a RowError about a table in a request body.

    As for rows in JSON, the field names the row too, counted from 0. `key`: the request's name of the column.
    """
    return lambda row, message: table_row_error(column, f"body.{row}.{key}")(row, message)


class NumberValidator:
    """Checks that numbers are finite and tracks their range."""

    def __init__(self, cell_error: Callable[[int, int, str], InvalidInput]) -> None:
        """Create a validator. `cell_error`: creates the error for a row and a column from a sentence."""
        self._cell_error = cell_error
        self.smallest, self.largest = np.inf, -np.inf

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.smallest), abs(self.largest))

    def add(self, block: AnyArray, first_row: int) -> None:
        """Check a block (rows, columns). Raises InvalidInput."""
        smallest, largest = float(block.min()), float(block.max())  # NaN propagates
        if not (np.isfinite(smallest) and np.isfinite(largest)):
            row, column = np.argwhere(~np.isfinite(block))[0]
            kind = "not a number" if np.isnan(block[row, column]) else "infinite"
            raise self._cell_error(
                first_row + int(row), int(column), f"The value is {kind}; only finite numbers are accepted."
            )
        self.smallest, self.largest = min(self.smallest, smallest), max(self.largest, largest)


class DistributionDetector:
    """Detects whether all rows are probability distributions: at least 0 and with the sum 1."""

    def __init__(self) -> None:
        self.all_distributions = True

    def add(self, block: AnyArray) -> None:
        """Examine a block (rows, columns)."""
        if self.all_distributions:
            self.all_distributions = are_distributions(block[:_FIRST_ROWS]) and are_distributions(block)


class WeightValidator:
    """Checks that weights are finite and at least 0, and that their sum is finite and above 0."""

    def __init__(self, field: str, row_error: RowError) -> None:
        self._field, self._row_error = field, row_error
        self._total = 0.0

    def add(self, block: Float64Array, first_row: int) -> None:
        """Check a block (rows). Raises InvalidInput."""
        invalid = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
        if invalid.size:
            row = int(invalid[0])
            raise self._row_error(
                first_row + row, f"The weight is {block[row]:g}; a weight is a finite number of at least 0."
            )
        with np.errstate(over="ignore"):  # checked in `finish`
            self._total += float(block.sum())

    def finish(self) -> None:
        """Check the sum of all weights. Raises InvalidInput."""
        if self._total == 0:
            raise InvalidInput(self._field, "All weights are 0; at least 1 row must count.")
        if not np.isfinite(self._total):
            raise InvalidInput(self._field, "The sum of the weights is not a finite number; use smaller weights.")


@dataclass(frozen=True)
class LabelBlock:
    """The labels of a block of rows.

    Attributes:
        values: The distinct labels: text, numbers or booleans.
        indices: (rows) Index of the label of each row in `values`.
        is_text: Whether they are text.
    """

    values: Sequence[Any]
    indices: npt.NDArray[np.integer]
    is_text: bool


def invalid_label(field: str, description: str) -> InvalidInput:
    """Return the error for labels that cannot be classes."""
    return InvalidInput(
        field, f"Labels must be whole numbers or text, got {description}; numbers to predict go into targets."
    )


class LabelEncoder:
    """Encodes labels as codes of classes: the first pass over the labels finds the classes, the second encodes them.

    Classes have the type of the labels: whole numbers, booleans or text. Labels that differ in spelling only
    are one class (see `format_category`); `notes` says which.
    """

    def __init__(
        self, field: str, classes: Sequence[ClassLabel] | None, row_error: RowError, *, has_typed_text: bool = True
    ) -> None:
        """Create an encoder.

        Args:
            field: Field to name in errors about all labels.
            classes: The classes in their order; None takes the distinct labels, sorted.
            row_error: Creates the errors about a row.
            has_typed_text: Whether text is known to be text; in formats without types, such as CSV, it may be a number.

        Raises:
            InvalidInput: The classes are not distinct or too long.
        """
        self._field, self._row_error = field, row_error
        self._declared_names = None if classes is None else class_names(classes)
        self._has_typed_text, self._is_text = has_typed_text, False
        self._names: dict[object, str] = {}
        self._codes: dict[object, int] = {}
        self.classes: Classes = ()
        self.notes: list[str] = []
        if self._declared_names is not None:
            if len(set(self._declared_names)) != len(self._declared_names):
                raise InvalidInput("classes", "Each class must be listed once.")
            if max(map(len, self._declared_names), default=0) > MAX_CATEGORY_LENGTH:
                raise InvalidInput("classes", f"Classes have at most {MAX_CATEGORY_LENGTH} characters.")

    def add(self, labels: LabelBlock) -> None:
        """Add labels to the classes. Raises InvalidInput if one cannot be a class, or there are too many."""
        self._is_text = labels.is_text
        for value in labels.values:
            if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
                raise invalid_label(self._field, f"{value:g}")
            name = self._names.setdefault(value, format_category(value))
            if len(name) > MAX_CATEGORY_LENGTH:
                raise InvalidInput(
                    self._field, f"A label has {len(name)} characters; classes have at most {MAX_CATEGORY_LENGTH}."
                )
        if len(self._names) > MAX_CLASSES:
            raise InvalidInput(self._field, f"There are more than {MAX_CLASSES} classes; numbers go into targets.")

    def finish(self) -> None:
        """Determine the classes after all labels were added. Raises InvalidInput if there is only one."""
        names = self._merge_spellings()
        if len(names) < 2:
            raise InvalidInput(self._field, "There is only one class; a classifier needs at least 2.")
        self.classes = names if self._is_text and self._has_typed_text else infer_class_types(names)
        for label in self.classes:
            if isinstance(label, float) and not label.is_integer() and self._declared_names is None:
                raise invalid_label(self._field, f"{label:g}")
        codes = find_class_codes(names, tuple(self._names.values()))
        self._codes = {value: -1 if code is None else code for value, code in zip(self._names, codes, strict=True)}

    def _merge_spellings(self) -> tuple[str, ...]:
        """Return the names of the classes, and note which spellings they have."""
        booleans = merge_booleans(self._names.values())
        self._names = {value: booleans.get(name, name) for value, name in self._names.items()}
        spellings: dict[str, set[str]] = {}
        for value, name in self._names.items():
            spellings.setdefault(name, set()).add(str(value).strip())
        merged = [f"{' and '.join(sorted(texts))} are {name}" for name, texts in spellings.items() if len(texts) > 1]
        if merged:
            self.notes.append(f"Labels that differ in spelling only are one class: {format_names(merged, 5)}.")
        if variants := find_case_variants(spellings):
            self.notes.append(f"Classes that differ in case only are not joined: {format_names(variants, 5)}.")
        return sort_categories(spellings) if self._declared_names is None else self._declared_names

    def encode(self, labels: LabelBlock, first_row: int) -> ClassCodes:
        """Return the codes of labels. Raises InvalidInput, naming the first row whose label is not a class."""
        codes: ClassCodes = np.array([self._codes[value] for value in labels.values], np.int32)[labels.indices]
        unknown = np.flatnonzero(codes < 0)
        if unknown.size:
            row = int(unknown[0])
            raise self._row_error(
                first_row + row,
                f"The label {quote(self._names[labels.values[labels.indices[row]]])} is not one of the classes "
                f"{format_names([shorten(name) for name in class_names(self.classes)])}.",
            )
        return codes
