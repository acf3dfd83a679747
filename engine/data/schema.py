"""The columns of a table that a network learns from: what each holds, and how many inputs it takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["number", "boolean", "category", "date"]
ImputationStrategy = Literal["mean", "median", "most_frequent", "constant"]


@dataclass(frozen=True)
class Column:
    """A feature of a dataset, as it was handed in.

    A number counts as it is, a boolean as 0 or 1, a date as days since 1970-01-01. A category has as many inputs as
    `categories`, of which the row's own is 1. `missing`: how many rows have no value; `imputation` says what they get,
    `constant` the value itself, where it is that.
    """

    name: str
    type: ColumnType
    categories: tuple[str, ...] = ()
    missing: int = 0
    imputation: ImputationStrategy | None = None
    constant: float | str | None = None

    @property
    def inputs(self) -> int:
        return len(self.categories) if self.type == "category" else 1


def difference(expected: tuple[Column, ...] | None, found: tuple[Column, ...] | None) -> str | None:
    """Why what has one of these cannot stand for what has the other, or None if it can: the same names with the same
    types do, in any order and whatever the categories. None for `expected` or `found` means plain numbers."""
    if expected is None or found is None:
        if expected is found:
            return None
        return "it has plain numbers, and no columns" if found is None else "it has columns, and not plain numbers"
    here = {column.name: column for column in found}
    for column in expected:
        if column.name not in here:
            return f"it has no column {column.name!r}"
        if here[column.name].type != column.type:
            return f"its column {column.name!r} is a {here[column.name].type}, and not a {column.type}"
    others = here.keys() - {column.name for column in expected}
    return f"it also has a column {min(others)!r}" if others else None


# Characters.
LONGEST = 1_000


def name(value: object) -> str:
    """`true` and `false`; whole numbers without a point; text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted: as whole numbers where all are such, else as text."""
    known = set(names)
    try:
        if all(str(int(each)) == each for each in known):
            return tuple(sorted(known, key=int))
    except ValueError:
        pass
    return tuple(sorted(known))
