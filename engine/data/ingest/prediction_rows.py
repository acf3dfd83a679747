"""Rows of an Arrow table to predict, converted to raw inputs.

They are converted by the code that ingests datasets, so that both are preprocessed to the same bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.types

from nabla.engine.data.arrow_io import split_batch
from nabla.engine.data.ingest.column_names import list_columns, normalize_columns
from nabla.engine.data.ingest.formats import arrow
from nabla.engine.data.ingest.formats.types import is_date, is_number, is_text, storage_type
from nabla.engine.data.ingest.table_schema import NULL_TYPES, ColumnRoles, TableSchema, TextFormats
from nabla.engine.data.ingest.validation import RowError, request_row_error
from nabla.engine.data.ingest_options import ProgressTracker
from nabla.engine.data.request_rows import format_cell
from nabla.engine.data.schema import Column, ColumnType, normalize_name
from nabla.engine.data.table_features import decode_column
from nabla.engine.data.text_formats import NumberFormat
from nabla.engine.durable_files import Sink
from nabla.engine.errors import InvalidInput, TooLarge, quote, shorten
from nabla.engine.typing import Float64Array

_FIELD = "body"
# Problems of a table that are reported at once.
_MAX_PROBLEMS = 20
_ACCEPTED: dict[ColumnType, str] = {
    "number": "numbers, or text such as 12.5",
    "boolean": "true and false, or 1 and 0",
    "date": "dates, or text such as 2024-05-31",
    "category": "text, numbers, booleans or dates",
}


def write_prediction_rows(
    path: Path, columns: tuple[Column, ...] | None, inputs: int, max_rows: int, sink: Sink, tracker: ProgressTracker
) -> frozenset[str]:
    """Write the rows of the Arrow table at `path` as float64 (rows, columns), row by row.

    Text is read as in a file: as a number, a boolean or a date, depending on the column.

    Args:
        path: The table.
        columns: The columns that the network expects; the table may have more, in any order, and these are written in
            this one: categories as codes, and missing values as NaN or `MISSING_CODE` (see `engine.data.features`).
            None expects plain numbers without missing values, as many columns as there are `inputs`, in their order.
        inputs: Inputs of the network.
        max_rows: Maximum number of rows.
        sink: Where the rows are written.
        tracker: Counts the rows and limits the bytes.

    Returns:
        The names of the columns that the network does not expect, which are left out.

    Raises:
        InvalidInput: A column or value does not fit; the error names column and row.
        TooLarge: The table has more than `max_rows` rows, or too many bytes.
    """
    decoder: _RowDecoder | None = None
    rows = 0
    for batch in normalize_columns(arrow.read_arrow_batches(path, _FIELD, tracker), _FIELD):
        if decoder is None:
            decoder = _RowDecoder(batch.schema, columns, inputs)
        first_row, rows = rows, rows + len(batch)
        if rows > max_rows:
            raise TooLarge(_FIELD, f"The table has {rows} rows or more; this network accepts {max_rows} per request.")
        tracker.check_array_size(8 * rows * decoder.width, _FIELD)
        for block in split_batch(batch):
            sink.write(decoder.decode(block, first_row).data)
            first_row += len(block)
            tracker.add_rows(len(block))
    if decoder is None or not rows:
        raise InvalidInput(_FIELD, "There is no data: the table has no rows.")
    return decoder.unused_columns


class _RowDecoder:
    """Decodes batches of a table whose columns fit the network."""

    def __init__(self, schema: pa.Schema, columns: tuple[Column, ...] | None, inputs: int) -> None:
        """Check the columns. Raises InvalidInput."""
        self._is_plain = columns is None
        self._columns = _plain_columns(schema.names, inputs) if columns is None else _normalize_names(columns)
        names = [column.name for column in self._columns]
        self.unused_columns = frozenset(schema.names) - frozenset(names)
        _check_columns(schema, self._columns)
        # Names of plain columns are arbitrary and of any length, so errors state the position instead.
        self._keys = {
            column.name: str(index) if self._is_plain else column.name for index, column in enumerate(self._columns)
        }
        self._table_schema: TableSchema | None = None

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._columns)

    def decode(self, batch: pa.RecordBatch, first_row: int) -> Float64Array:
        """Return raw inputs (rows, columns). Raises InvalidInput, naming column and row."""
        inputs = np.empty((len(batch), self.width))
        if not len(batch):
            return inputs
        conformed = self._conform(batch, first_row)
        for index, column in enumerate(self._columns):
            values = decode_column(conformed.column(column.name), column)
            if column.type == "number":
                self._check_finite(values, batch.column(column.name), column, first_row)
            inputs[:, index] = values
        return inputs

    def _conform(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        values = [_with_type(batch.column(column.name), column) for column in self._columns]
        batch = pa.RecordBatch.from_arrays(values, names=[*self._keys])
        if self._table_schema is None:
            types = {column.name: column.type for column in self._columns}
            roles = ColumnRoles(tuple(self._keys), (), None, None, types)
            texts = [column for column in self._columns if is_text(batch.schema.field(column.name).type)]
            formats = TextFormats(
                numbers={column.name: NumberFormat(column.decimal) for column in texts if column.type == "number"},
                dates={column.name: column.date_order for column in texts if column.type == "date"},
                times=frozenset(column.name for column in texts if column.type == "date"),
            )
            self._table_schema = TableSchema(batch.schema, _FIELD, roles, {}, self._row_error, formats=formats)
        return self._table_schema.conform(batch, _FIELD, first_row)

    def _row_error(self, column: str) -> RowError:
        return request_row_error(column, self._keys[column])

    def _check_finite(self, values: Float64Array, source: pa.Array, column: Column, first_row: int) -> None:
        """Raise InvalidInput for an infinite number; in a table with columns NaN is a missing value, as in datasets."""
        invalid = np.flatnonzero(~np.isfinite(values) if self._is_plain else np.isinf(values))
        if invalid.size:
            row = int(invalid[0])
            cell = format_cell(source[row].as_py())
            raise self._row_error(column.name)(first_row + row, f"A finite number is expected, not {cell}.")


def _with_type(values: pa.Array, column: Column) -> pa.Array:
    return pa.nulls(len(values), NULL_TYPES[column.type]) if pyarrow.types.is_null(values.type) else values


def _plain_columns(names: Sequence[str], inputs: int) -> tuple[Column, ...]:
    """Return number columns with the table's own names."""
    if len(names) != inputs:
        raise InvalidInput(
            _FIELD,
            f"The table has {len(names)} columns; {inputs} are expected, the inputs of the network in their order. "
            f"{list_columns(names)}",
        )
    return tuple(Column(name, "number") for name in names)


def _normalize_names(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return columns with normalized names, which those of models of earlier versions may not have."""
    return tuple(replace(column, name=normalize_name(column.name)) for column in columns)


def _check_columns(schema: pa.Schema, columns: Sequence[Column]) -> None:
    """Raise InvalidInput, with all problems, if a column is missing or holds another type."""
    present = set(schema.names)
    problems = []
    for column in columns:
        if column.name not in present:
            problems.append(f"The column {quote(column.name)} is missing; send null for missing values.")
        elif not _accepts(column.type, schema.field(column.name).type):
            type_ = shorten(str(schema.field(column.name).type))
            problems.append(f"The column {quote(column.name)} holds {type_}; {_ACCEPTED[column.type]} are expected.")
    if problems:
        problems[-1] = f"{problems[-1]} {list_columns([column.name for column in columns])}"
        first, *others = problems[:_MAX_PROBLEMS]
        raise InvalidInput(_FIELD, first, *((_FIELD, problem) for problem in others))


def _is_number_like(type_: pa.DataType) -> bool:
    return is_number(type_) or bool(pyarrow.types.is_boolean(type_))


def _accepts(column_type: ColumnType, type_: pa.DataType) -> bool:
    stored_type = storage_type(type_)
    if stored_type is None or pyarrow.types.is_null(type_):
        return stored_type is not None
    match column_type:
        case "number":
            return _is_number_like(stored_type) or is_text(stored_type)
        case "boolean":
            return _is_number_like(stored_type) or is_text(stored_type)
        case "date":
            return is_date(stored_type) or is_text(stored_type)
        case _:
            return True
