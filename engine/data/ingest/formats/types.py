"""Types of table columns: stored types, common types, conversion to NumPy, and declared categories."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types

from nabla.engine.data.ingest_options import Decimal
from nabla.engine.data.schema import format_category, format_names
from nabla.engine.data.text_formats import FALLBACK_ENCODING, NotUtf8
from nabla.engine.errors import InvalidInput, shorten
from nabla.engine.typing import AnyArray

MAX_ATTEMPTS = 10
"""Attempts to read a table, each of which may find wider types."""

Result = TypeVar("Result")

ColumnTypes = Mapping[str, pa.DataType]
"""Known types to read columns as, by name."""

Categoricals = Mapping[str, bool]
"""Columns that are declared to be categories, each with whether its dictionary has all of them in their order."""
_KEY = b"nabla.categories"
# Longer dictionaries are those of a whole system, not of a column.
_MAX_CATEGORIES = 10_000
_MAX_METADATA_BYTES = 2**22


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


def find_categoricals(schema: pa.Schema) -> Categoricals:
    """Return the columns of a file that are declared to be categories.

    All categories are declared by ordered dictionaries, which the enumerations of Polars are, and by pandas. The values
    in any other dictionary are those that happen to occur.
    """
    of_pandas = _find_pandas_categoricals(schema)
    dictionaries = {field.name: field.type.ordered for field in schema if pyarrow.types.is_dictionary(field.type)}
    return {**dictionaries, **dict.fromkeys(of_pandas, True)}


def mark_categories(
    batch: pa.RecordBatch, categoricals: Categoricals, value_bytes: Callable[[pa.Array], npt.NDArray[np.int64]]
) -> pa.RecordBatch:
    """Return a batch whose fields say which categories are declared.

    Args:
        batch: A batch with dictionaries.
        categoricals: Columns that are declared to be categories.
        value_bytes: Returns the bytes of each value of an array.
    """
    if not categoricals:
        return batch
    fields = []
    for column_field, column in zip(batch.schema, batch.columns, strict=True):
        metadata = None
        if column_field.name in categoricals and storage_type(column_field.type) is not None:
            names: tuple[str, ...] = ()
            if categoricals[column_field.name] and pyarrow.types.is_dictionary(column_field.type):
                values = column.dictionary
                if len(values) <= _MAX_CATEGORIES and value_bytes(values).sum() <= _MAX_METADATA_BYTES:
                    names = _dictionary_names(values)
            metadata = {_KEY: json.dumps(names)}
        fields.append(column_field.with_metadata(metadata))
    return pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields))


def declared_categories(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the columns that are declared to be categories, with their categories; none if these are not declared."""
    return {field.name: tuple(json.loads(field.metadata[_KEY])) for field in schema if _KEY in (field.metadata or {})}


def _find_pandas_categoricals(schema: pa.Schema) -> frozenset[str]:
    metadata = (schema.metadata or {}).get(b"pandas", b"")
    if len(metadata) > _MAX_METADATA_BYTES:
        return frozenset()
    with suppress(ValueError, TypeError, LookupError, AttributeError):  # a file may have anything there
        columns = json.loads(metadata or b'{"columns": []}')["columns"]
        return frozenset(str(column["field_name"]) for column in columns if column["pandas_type"] == "categorical")
    return frozenset()


def _dictionary_names(values: pa.Array) -> tuple[str, ...]:
    type_ = storage_type(values.type)
    if type_ is None or not (is_text(type_) or is_number(type_)):
        return ()
    return tuple(dict.fromkeys(format_category(value) for value in values.to_pylist() if value is not None))
