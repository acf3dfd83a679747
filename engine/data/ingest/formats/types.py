"""Types of columns: which are stored, what they have in common, and what to do where a file changes its mind."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.types as kinds

from nabla.engine.errors import InvalidInput

MOST_COLUMNS = 100_000
MOST_SHOWN = 20

Types = Mapping[str, pa.DataType]
"""What columns are read as, where that is known."""


class TypesChanged(Exception):
    """A later part of a table does not fit what its beginning looked like; with `types` all of it does."""

    def __init__(self, types: dict[str, pa.DataType]) -> None:
        super().__init__(", ".join(types))
        self.types = types


def check_names(names: Sequence[str], field: str) -> None:
    """Raises InvalidInput if these cannot be the columns of a table."""
    check_width(len(names), field)
    if not names:
        raise InvalidInput(field, "There is no data: the table has no columns.")
    seen: set[str] = set()
    for place, name in enumerate(names, start=1):
        if not name:
            raise InvalidInput(field, f"Column {place} has no name; every column needs one.")
        if name in seen:
            raise InvalidInput(field, f"There is more than one column called {shown(name)}. {listed(names)}")
        seen.add(name)


def check_width(width: int, field: str) -> None:
    if width > MOST_COLUMNS:
        raise InvalidInput(field, f"The table has {width} columns; at most {MOST_COLUMNS} are accepted.")


def listed(names: Sequence[str]) -> str:
    """A sentence that lists the columns."""
    more = "" if len(names) <= MOST_SHOWN else f", … ({len(names)} in all)"
    return f"The columns are: {', '.join(short(name) for name in names[:MOST_SHOWN])}{more}."


def shown(value: object) -> str:
    """A value from a file, in quotes and not at length."""
    return repr(short(str(value)))


def short(text: str) -> str:
    """Not at length."""
    return text if len(text) <= 40 else f"{text[:40]}…"


def stored(found: pa.DataType) -> pa.DataType | None:
    """The type in which a column is stored that a file has as `found`; None if it cannot be."""
    if kinds.is_dictionary(found):
        return stored(found.value_type)
    if kinds.is_boolean(found) or kinds.is_integer(found) or kinds.is_float32(found) or kinds.is_float64(found):
        return found
    if kinds.is_date32(found) or kinds.is_string(found) or kinds.is_large_string(found):
        return found
    if kinds.is_timestamp(found):
        # Zones differ in how they are shown, not in the moment: what is stored needs no table of zones to be read.
        return pa.timestamp("us" if found.unit == "ns" else found.unit, None if found.tz is None else "UTC")
    if kinds.is_float16(found):
        return pa.float32()
    if kinds.is_decimal(found) or kinds.is_null(found):
        return pa.float64()
    if kinds.is_string_view(found):
        return pa.string()
    if kinds.is_date64(found):
        return pa.date32()
    return None


def is_text(found: pa.DataType) -> bool:
    return bool(kinds.is_string(found) or kinds.is_large_string(found))


def is_number(found: pa.DataType) -> bool:
    return bool(kinds.is_integer(found) or kinds.is_floating(found))


def is_date(found: pa.DataType) -> bool:
    return bool(kinds.is_date(found) or kinds.is_timestamp(found))


def common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A stored type that holds the values of both: numbers widen, dates become times, all else becomes text."""
    if one == other or kinds.is_null(other):
        return one
    if kinds.is_null(one):
        return other
    if kinds.is_integer(one) and kinds.is_integer(other):
        return pa.int64()
    if is_number(one) and is_number(other):
        return pa.float64()
    if is_date(one) and is_date(other) and getattr(one, "tz", None) == getattr(other, "tz", None):
        return pa.timestamp("us")
    return pa.large_string() if pa.large_string() in (one, other) else pa.string()
