"""What is said of a dataset that was looked at."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["feature", "target", "label", "weight", "unused"]
BINS = 20
# Different values of a column, and of all columns together, are counted up to here.
MOST_COUNTED, MOST_COUNTED_IN_ALL = 1_000, 2**22

Kind = Literal["number", "boolean", "text", "date"]
Cell = bool | int | float | str | None


@dataclass(frozen=True)
class Named:
    """A column of a dataset, and what it is there for."""

    name: str
    role: Role


@dataclass(frozen=True)
class ColumnProfile:
    """`distinct`: how many different values there are; None for more than MOST_COUNTED, or than the column's part of
    MOST_COUNTED_IN_ALL. Of finite numbers, booleans (0 and 1) and dates (days since 1970-01-01): `smallest`, `largest`,
    `mean`, `deviation` (that of all rows, not of a sample) and `histogram`, how many rows there are in each of BINS
    equal parts between smallest and largest. `frequent`: the most frequent texts, long ones cut, with how many rows
    have them. `same_as`: an earlier column with the same values."""

    name: str
    role: Role
    type: Kind
    missing: int
    distinct: int | None
    smallest: float | None = None
    largest: float | None = None
    mean: float | None = None
    deviation: float | None = None
    histogram: tuple[int, ...] | None = None
    frequent: tuple[tuple[str, int], ...] | None = None
    same_as: str | None = None


@dataclass(frozen=True)
class Profile:
    """`classes`: how many rows each has. `warnings`: what may stand in the way of training, in sentences."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    classes: dict[str, int] | None
    warnings: tuple[str, ...]
