"""Warnings about inputs that a network was not trained for: unknown categories, and numbers far outside the usual."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from nabla.engine.data.schema import Column, format_names
from nabla.engine.errors import quote
from nabla.engine.typing import AnyArray, RowIndices

_MAX_SENTENCES = 20
_EPOCH = date(1970, 1, 1)


@dataclass
class _Finding:
    """Rows in which a column is unusual: how many, and the first of them, counted from 1."""

    rows: int
    first_row: int
    subject: str
    description: str


class InputWarnings:
    """Counts the rows that are unusual in a column, over any number of blocks of rows."""

    def __init__(self) -> None:
        self._findings: dict[tuple[str, str], _Finding] = {}
        self._unused: dict[str, None] = {}

    def add_unused(self, names: Iterable[str]) -> None:
        """Add names of columns that the network was trained without."""
        self._unused |= dict.fromkeys(names)

    def add_unknown(self, column: Column, rows: RowIndices) -> None:
        """Add rows, counted from 0, with a category that did not occur in training."""
        description = "a category that did not occur in training; its inputs are 0"
        self._add(("unknown", column.name), rows, f"the column {quote(column.name)}", description)

    def add_outside(
        self, column: Column | int, rows: RowIndices, values: AnyArray, smallest: float, largest: float
    ) -> None:
        """Add rows, counted from 0, whose number is far outside the range of the training rows.

        Args:
            column: The column, or the index of the input in a matrix.
            rows: The rows.
            values: (rows) Their numbers.
            smallest: Smallest number of the training rows.
            largest: Largest number of the training rows.
        """
        if isinstance(column, int):
            subject, key, shown = f"input {column + 1}", str(column), [f"{n:g}" for n in (values[0], smallest, largest)]
        else:
            subject, key = f"the column {quote(column.name)}", column.name
            shown = [_format_number(number, column) for number in (float(values[0]), smallest, largest)]
        value, low, high = shown
        description = f"a value far outside those of training ({low} to {high}), such as {value}"
        self._add(("outside", key), rows, subject, description)

    def _add(self, key: tuple[str, str], rows: RowIndices, subject: str, description: str) -> None:
        finding = self._findings.setdefault(key, _Finding(0, int(rows[0]) + 1, subject, description))
        finding.rows += len(rows)

    def sentences(self) -> Sequence[str]:
        """Return a sentence about columns that are not used, and one for each unusual column.

        Of the latter there are at most 20, those with the most rows first.
        """
        findings = sorted(self._findings.values(), key=lambda finding: -finding.rows)
        sentences = [_describe_unused([*self._unused])] if self._unused else []
        sentences += [_to_sentence(finding) for finding in findings[:_MAX_SENTENCES]]
        if len(findings) > _MAX_SENTENCES:
            sentences.append(f"{len(findings) - _MAX_SENTENCES} more columns have such values.")
        return sentences


def _describe_unused(names: Sequence[str]) -> str:
    listed = format_names([*map(quote, names)])
    if len(names) == 1:
        return f"The column {listed} is not used: the network was trained without it."
    return f"The columns {listed} are not used: the network was trained without them."


def _to_sentence(finding: _Finding) -> str:
    if finding.rows == 1:
        return f"In {finding.subject}, row {finding.first_row} has {finding.description}."
    return f"In {finding.subject}, {finding.rows} rows (first: row {finding.first_row}) have {finding.description}."


def _format_number(number: float, column: Column) -> str:
    if column.type != "date":
        return f"{number:g}"
    try:
        return (_EPOCH + timedelta(days=number)).isoformat()
    except OverflowError:
        return f"day {number:g}"
