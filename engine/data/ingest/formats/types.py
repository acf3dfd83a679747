"""Types of table columns: stored types, common types, and conversion to NumPy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.types

from nabla.engine.data.encodings import FALLBACK_ENCODING, NotUtf8
from nabla.engine.data.ingest_options import Decimal
from nabla.engine.data.schema import format_names
from nabla.engine.errors import InvalidInput, shorten
from nabla.engine.typing import AnyArray

MAX_ATTEMPTS = 10
"""Attempts to read a table, each of which may find wider types."""

Result = TypeVar("Result")

ColumnTypes = Mapping[str, pa.DataType]
"""Known types to read columns as, by name."""


@dataclass(frozen=True)
class ReadHints:
    """What is known about a file before it is read, from the options and from earlier passes over it.

    Attributes:
        types: Types to read columns as.
        text_columns: Columns to read as text even if their values look like numbers or dates, such as 007.
        number_columns: Columns that are known to hold numbers, even if they look like codes, such as 007.
        code_columns: Columns in which NA is a value; None for those of two-letter codes.
        decimal: The decimal separator of its numbers.
        encoding: The encoding of its text; None stands for UTF-8, and for UTF-16 with a byte order mark.
    """

    types: ColumnTypes = field(default_factory=dict)
    text_columns: frozenset[str] = frozenset()
    number_columns: frozenset[str] = frozenset()
    code_columns: frozenset[str] | None = None
    decimal: Decimal = "."
    encoding: str | None = None


class ColumnTypesChanged(Exception):
    """A later batch does not fit the types inferred so far; the table has to be read again with `types`."""

    def __init__(self, types: dict[str, pa.DataType]) -> None:
        super().__init__(", ".join(types))
        self.types = types


def read_adaptively(
    read: Callable[[ReadHints], Result], hints: ReadHints, *, guesses_encoding: bool
) -> tuple[Result, ReadHints]:
    """Read a table, again with wider types or another encoding where it needs them.

    Args:
        read: Reads the table, or its beginning.
        hints: Hints for the first attempt.
        guesses_encoding: Whether text that is not in UTF-8 is read in `FALLBACK_ENCODING`.

    Returns:
        What `read` returned, and the hints with which it succeeded.

    Raises:
        InvalidInput: The table cannot be read.
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            return read(hints), hints
        except ColumnTypesChanged as changed:
            hints = replace(hints, types={**hints.types, **changed.types})
        except NotUtf8:
            if not guesses_encoding or hints.encoding is not None:
                raise
            hints = replace(hints, encoding=FALLBACK_ENCODING)
    raise too_many_attempts(hints)


def too_many_attempts(hints: ReadHints) -> InvalidInput:
    """Return the error for a table whose types change with every attempt to read it."""
    columns = format_names([shorten(name) for name in hints.types])
    return InvalidInput("file", f"The types of the columns {columns} change too often; state them with types.")


def storage_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the type in which a column of a file is stored; None if it cannot be."""
    types = pyarrow.types
    if types.is_dictionary(type_):
        return storage_type(type_.value_type)
    if types.is_boolean(type_) or types.is_integer(type_) or types.is_float32(type_) or types.is_float64(type_):
        return type_
    if types.is_date32(type_) or is_text(type_):
        return type_
    if types.is_timestamp(type_):
        # Zones affect how a time is displayed, not the moment. Without their names no time zone database is needed.
        return pa.timestamp("us" if type_.unit == "ns" else type_.unit, None if type_.tz is None else "UTC")
    if types.is_float16(type_):
        return pa.float32()
    if types.is_decimal(type_) or types.is_null(type_):
        return pa.float64()
    if types.is_string_view(type_):
        return pa.string()
    if types.is_date64(type_):
        return pa.date32()
    return None


def is_text(type_: pa.DataType) -> bool:
    """Return whether a stored type is text."""
    return bool(pyarrow.types.is_string(type_) or pyarrow.types.is_large_string(type_))


def is_number(type_: pa.DataType) -> bool:
    """Return whether a stored type is numeric; booleans are not."""
    return bool(pyarrow.types.is_integer(type_) or pyarrow.types.is_floating(type_))


def is_date(type_: pa.DataType) -> bool:
    """Return whether a stored type is a date or a time."""
    return bool(pyarrow.types.is_date(type_) or pyarrow.types.is_timestamp(type_))


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """Return a stored type that holds the values of both: numbers widen, dates become times, all else becomes text."""
    types = pyarrow.types
    if a == b or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if types.is_integer(a) and types.is_integer(b):
        return pa.int64()
    if is_number(a) and is_number(b):
        return pa.float64()
    if is_date(a) and is_date(b) and getattr(a, "tz", None) == getattr(b, "tz", None):
        return pa.timestamp("us")
    return pa.large_string() if pa.large_string() in (a, b) else pa.string()


def to_numpy(values: pa.Array) -> AnyArray:
    """Return numbers as a NumPy array, without a copy if none is missing.

    With missing values integers become float64 with NaN; booleans become a bool array.
    """
    if values.null_count or pyarrow.types.is_boolean(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.from_dlpack(values)  # to_numpy imports pandas if it is installed, which takes longer than a small file
