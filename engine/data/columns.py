"""The columns of a table that a network learns from: what each holds, and how many inputs it takes."""

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["number", "boolean", "category", "date"]
Filling = Literal["mean", "median", "most_frequent", "constant"]


@dataclass(frozen=True)
class Column:
    """A feature of a dataset, as it was handed in.

    A number counts as it is, a boolean as 0 or 1, a date as days since 1970-01-01. A category has as many inputs as
    `categories`, of which the row's own is 1. `missing`: how many rows have no value; `fill` says what they get,
    `constant` the value itself, where it is that.
    """

    name: str
    type: ColumnType
    categories: tuple[str, ...] = ()
    missing: int = 0
    fill: Filling | None = None
    constant: float | str | None = None

    @property
    def inputs(self) -> int:
        return len(self.categories) if self.type == "category" else 1
