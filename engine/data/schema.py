"""Columns of a table: types, roles, the network inputs they take, names of categories; and their profiles."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from nabla.engine.data.text_formats import DateOrder

ColumnType = Literal["number", "boolean", "category", "date"]
ImputationStrategy = Literal["mean", "median", "most_frequent", "constant"]
Role = Literal["feature", "target", "label", "weight", "unused"]
Period = Literal["year", "week", "day"]
StoredType = Literal["number", "boolean", "text", "date"]
Cell = bool | int | float | str | None
"""A value of a table as JSON represents it; None if it is missing."""

ClassLabel = bool | int | float | str
"""A class, with the type that it has in the data."""
Classes = tuple[ClassLabel, ...]

MAX_CATEGORY_LENGTH = 1_000
"""Characters in the name of a category or class."""

PERIOD_DAYS: dict[Period, float] = {"year": 365.2425, "week": 7.0, "day": 1.0}
"""Length of the periods of a date, in days."""
HISTOGRAM_BINS = 20
# A number that can be written in another way without a loss: not 007, which is a code.
_DECIMAL_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)?(?<=[0-9])(\.[0-9]*)?|[+-]?\.[0-9]+")
_INT64_END = 2**63
_MAX_DIGITS = 100
# Limits up to which distinct values are counted: in a column, and in all columns of a dataset together.
MAX_DISTINCT, MAX_DISTINCT_TOTAL = 1_000, 2**22
# Numbers of pixels of common data sets: the digits of scikit-learn, and MNIST.
_IMAGE_INPUTS = (8 * 8, 28 * 28)

# For each type that a network expects, other types of data that may be read as it. Each value decides: only 0 and 1
# are booleans, and only texts such as 2024-05-31 are dates.
_READABLE_AS: dict[ColumnType, tuple[ColumnType, ...]] = {
    "number": ("boolean",),
    "boolean": ("number",),
    "category": ("number", "boolean"),
    "date": ("category",),
}
_BOOLEAN_NAMES = frozenset({"true", "false", "0", "1"})
MIN_ROWS_OF_IDENTIFIERS = 20
"""In a smaller table, consecutive numbers or a different text in each row may be a coincidence."""
MIN_IDENTIFIER_SHARE = 0.9
"""Share of different texts among the present ones from which on a column identifies the rows."""
_IDENTIFIER_WORDS = frozenset(
    {"id", "idx", "index", "key", "row", "rownames", "rowname", "rownum", "number", "no", "nr", "num", "#"}
)


def may_be_image(inputs: int, types: Iterable[ColumnType] = ()) -> bool:
    """Return whether inputs may be the pixels of a square image, by their number and the types of their columns."""
    return inputs in _IMAGE_INPUTS and all(type == "number" for type in types)


@dataclass(frozen=True)
class Column:
    """A feature column of a table.

    A number is one network input as it is, a boolean one of 0 or 1, a date one in days since 1970-01-01, and two more
    for each of its `periods`: sine and cosine of its position in the year, the week or the day. A category is one-hot
    encoded: it takes as many inputs as it has `categories`.

    Attributes:
        missing: Number of missing values.
        imputation: Strategy for missing values; None rejects rows that have one.
        constant: The value for the imputation "constant".
        periods: Periods of a date.
        decimal: The decimal separator of numbers that are text.
        date_order: The order of day, month and year of dates that are text, unless they are in ISO 8601.
        other: The category that stands for all values that are not among the categories; None if there is none.
    """

    name: str
    type: ColumnType
    categories: tuple[str, ...] = ()
    missing: int = 0
    imputation: ImputationStrategy | None = None
    constant: float | str | None = None
    periods: tuple[Period, ...] = ()
    other: str | None = None
    decimal: Literal[".", ","] = "."
    date_order: DateOrder = "year_first"

    @property
    def inputs(self) -> int:
        """Number of network inputs that the column takes."""
        return len(self.categories) if self.type == "category" else 1 + 2 * len(self.periods)


def describe_column_mismatch(
    expected: tuple[Column, ...] | None, actual: tuple[Column, ...] | None, *, for_training: bool
) -> str | None:
    """Return why data with the columns `actual` cannot be used where `expected` are needed; None if they can.

    Columns match by name and type; their order and their categories may differ.

    Args:
        expected: The columns that are needed; None for a plain numeric matrix.
        actual: The columns of the data; None for a plain numeric matrix.
        for_training: Whether additional columns, and types that can be read as those expected, are rejected.
    """
    if expected is None or actual is None:
        if expected is actual:
            return None
        return "it has plain numbers, and no columns" if actual is None else "it has columns, and not plain numbers"
    types = {column.name: _effective_type(column) for column in actual}
    for column in expected:
        if column.name not in types:
            return f"it has no column {column.name!r}"
        readable = () if for_training else _READABLE_AS.get(column.type, ())
        if types[column.name] not in (column.type, *readable):
            return f"its column {column.name!r} is a {types[column.name]}, and not a {column.type}"
    extra = types.keys() - {column.name for column in expected}
    return f"it also has a column {min(extra)!r}" if extra and for_training else None


def normalize_name(name: str) -> str:
    """Return a name in Unicode's normal form C, without white space at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def _effective_type(column: Column) -> ColumnType:
    """Return the type of a column; categories that are all names of booleans are boolean."""
    has_booleans = column.type == "category" and column.categories and _BOOLEAN_NAMES.issuperset(column.categories)
    return "boolean" if has_booleans else column.type


def format_category(value: object) -> str:
    """Return the name of the category or class for a value: one spelling for all values that are equal.

    Booleans, and the texts true and false in any case, are `true` and `false`. Numbers, and texts that are decimal
    numbers without superfluous leading zeros, have no superfluous digits: 1, 1.0 and "1.00" are `1`. Other texts are
    in Unicode's normal form C, without white space at their ends.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _format_number(value)
    text = unicodedata.normalize("NFC", str(value)).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    if len(text) > _MAX_DIGITS or _DECIMAL_NUMBER.fullmatch(text) is None:
        return text
    return _format_number(float(text)) if "." in text else str(int(text))


def _format_number(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else str(number)


def sort_categories(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, sorted numerically if all of them are numbers, otherwise as text."""
    distinct = set(names)
    if all(len(name) <= _MAX_DIGITS and _DECIMAL_NUMBER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=float))
    return tuple(sorted(distinct))


def find_case_variants(names: Iterable[str]) -> list[str]:
    """Return a description of each group of names that differ in case only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    return [" and ".join(sorted(group)) for group in groups.values() if len(group) > 1]


def class_names(classes: Sequence[ClassLabel]) -> tuple[str, ...]:
    """Return the names of classes, by which classes of different types are compared."""
    return tuple(map(format_category, classes))


def find_class_codes(known: Classes, classes: Classes) -> list[int | None]:
    """Return the codes of `classes` among the known ones; None for those that are not known.

    Classes are compared by name. Where false and true, or 0 and 1, are all that is known, each stands for the other.
    """
    code_of = {name: code for code, name in enumerate(class_names(known))}
    if code_of.keys() in ({"false", "true"}, {"0", "1"}):
        aliases = {"false": "0", "true": "1", "0": "false", "1": "true"}
        code_of |= {aliases[name]: code for name, code in code_of.items()}
    return [code_of.get(name) for name in class_names(classes)]


def merge_booleans(names: Iterable[str]) -> dict[str, str]:
    """Return the names of booleans in place of `0` and `1`, if there are booleans too and no other names; else none."""
    distinct = set(names)
    if distinct <= {"0", "1", "true", "false"} and distinct & {"0", "1"} and distinct & {"true", "false"}:
        return {"0": "false", "1": "true"}
    return {}


def infer_class_types(names: Sequence[str]) -> Classes:
    """Return the classes with these names as whole numbers, numbers or booleans if all of them are, otherwise as text.

    The order is kept. Whole numbers beyond int64 are text.
    """
    if all(name in ("true", "false") for name in names):
        return tuple(name == "true" for name in names)
    if not all(len(name) <= _MAX_DIGITS and _DECIMAL_NUMBER.fullmatch(name) for name in names):
        return tuple(names)
    if any("." in name for name in names):
        return tuple(map(float, names))
    numbers = tuple(map(int, names))
    return numbers if max(map(abs, numbers)) < _INT64_END else tuple(names)


def format_names(names: Sequence[str], limit: int = 20) -> str:
    """Return the names separated by commas for an error message, cut after `limit` of them."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, … ({len(names)} in total)"


@dataclass(frozen=True)
class ColumnHeader:
    """Name and role of a column."""

    name: str
    role: Role


@dataclass(frozen=True)
class ColumnProfile:
    """Statistics of a column.

    The numeric statistics are those of finite numbers, of booleans as 0 and 1, and of dates as days since 1970-01-01.

    Attributes:
        missing: Number of missing values.
        distinct: Number of distinct values; None if they exceed MAX_DISTINCT, or the column's share of
            MAX_DISTINCT_TOTAL.
        deviation: Standard deviation of the population.
        histogram: Number of rows in each of HISTOGRAM_BINS equal intervals from smallest to largest.
        frequent: The most frequent texts, long ones cut, each with its number of rows.
        same_as: An earlier column with the same values.
    """

    name: str
    role: Role
    type: StoredType
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
    """Statistics of a dataset.

    Attributes:
        classes: Number of rows of each class; None for numeric targets and for unlabeled rows.
        warnings: Findings that may impair training, as sentences.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    classes: dict[str, int] | None
    warnings: tuple[str, ...]


def is_identifier_name(name: str) -> bool:
    """Return whether the last word of a column's name is one for identifiers, as in PassengerId and row_number."""
    if re.fullmatch(r"Unnamed: \d+", name):  # a row index, as pandas names it
        return True
    *_, last = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|#", name) or [""]
    return last.lower() in _IDENTIFIER_WORDS
