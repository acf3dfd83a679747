"""Rows of an Arrow table that are to be predicted, as raw inputs. They are read as those of datasets are, so that they
are prepared to the same bits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as kinds

from nabla.engine.data.ingest.formats import arrow
from nabla.engine.data.ingest.formats.types import is_date, is_number, is_text, listed, short, shown, stored
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest.type_inference import Roles, Shape
from nabla.engine.data.ingest.validation import Refusal, in_request
from nabla.engine.data.preview import cut
from nabla.engine.data.request_rows import shown as cell_shown
from nabla.engine.data.schema import Column, ColumnType
from nabla.engine.data.table_features import values_of
from nabla.engine.durable_files import Sink
from nabla.engine.errors import InvalidInput, TooLarge

_FIELD = "body"
_EXPECTED: dict[ColumnType, str] = {
    "number": "numbers",
    "boolean": "true and false",
    "date": "dates, or text such as 2024-05-31",
    "category": "text, numbers, truth values or dates",
}
# Of a column without any value, which Arrow knows no type of.
_EMPTY: dict[ColumnType, pa.DataType] = {
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("us"),
    "category": pa.string(),
}


def write_rows(
    path: Path, columns: tuple[Column, ...] | None, inputs: int, most_rows: int, sink: Sink, meter: Meter
) -> None:
    """The rows of the table at `path`, which `meter` counts, as one array (rows, columns) of float64, row by row, into
    `sink`.

    They have these `columns`, in any order, and are written in this one: categories as their codes, and what is missing
    as NaN or MISSING (see `engine.data.features`). Where that is None they are plain numbers, as many as there are
    `inputs`, in the order of the table, none of them missing. Raises InvalidInput naming column and row, TooLarge.
    """
    table: _Table | None = None
    rows = 0
    for batch in arrow.read_arrow_batches(path, _FIELD, meter):
        if table is None:
            table = _Table(batch.schema, columns, inputs)
        rows += len(batch)
        if rows > most_rows:
            raise TooLarge(
                _FIELD, f"The table has {rows} rows or more; {most_rows} are answered at once by this network."
            )
        meter.fits(8 * rows * table.width, _FIELD)
        first = rows - len(batch)
        for part in cut(batch):
            sink.write(table.raw(part, first).data)
            first += len(part)
            meter.add(len(part))
    if table is None or not rows:
        raise InvalidInput(_FIELD, "There is no data: the table has no rows.")


class _Table:
    """The columns of a table, of which it is known that they can be prepared."""

    def __init__(self, schema: pa.Schema, columns: tuple[Column, ...] | None, inputs: int) -> None:
        """Raises InvalidInput."""
        self._plain = columns is None
        self._columns = _numbered(schema.names, inputs) if columns is None else columns
        if columns is not None:
            _check_names(schema.names, [column.name for column in columns])
        for column in self._columns:
            _check_type(schema.field(column.name), column)
        # What a body calls its columns may be of any length.
        self._keys = {
            column.name: str(place) if self._plain else column.name for place, column in enumerate(self._columns)
        }
        self._shape: Shape | None = None

    @property
    def width(self) -> int:
        return len(self._columns)

    def raw(self, batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.float64]:
        """(rows, columns). Raises InvalidInput naming column and row."""
        found = np.empty((len(batch), self.width))
        if not len(batch):
            return found
        shaped = self._shaped(batch, first_row)
        for place, column in enumerate(self._columns):
            values = values_of(shaped.column(column.name), column)
            if column.type == "number":
                self._check_finite(values, batch.column(column.name), column, first_row)
            found[:, place] = values
        return found

    def _shaped(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        given = [_typed(batch.column(column.name), column) for column in self._columns]
        batch = pa.RecordBatch.from_arrays(given, names=[*self._keys])
        if self._shape is None:
            types = {column.name: column.type for column in self._columns}
            roles = Roles(tuple(self._keys), (), None, None, types)
            self._shape = Shape(batch.schema, _FIELD, roles, {}, self._refusal)
        return self._shape.conform(batch, _FIELD, first_row)

    def _refusal(self, column: str) -> Refusal:
        return in_request(column, self._keys[column])

    def _check_finite(self, values: npt.NDArray[np.float64], given: pa.Array, column: Column, first_row: int) -> None:
        """Of a table NaN is a missing value, as in datasets."""
        wrong = np.flatnonzero(~np.isfinite(values) if self._plain else np.isinf(values))
        if wrong.size:
            row = int(wrong[0])
            cell = cell_shown(given[row].as_py())
            raise self._refusal(column.name)(first_row + row, f"A finite number is expected, not {cell}.")


def _typed(values: pa.Array, column: Column) -> pa.Array:
    return pa.nulls(len(values), _EMPTY[column.type]) if kinds.is_null(values.type) else values


def _numbered(names: Sequence[str], inputs: int) -> tuple[Column, ...]:
    """Plain numbers have no names of their own."""
    if len(names) != inputs:
        raise InvalidInput(
            _FIELD,
            f"The table has {len(names)} columns; {inputs} are expected, the network's inputs in their order. "
            f"{listed(names)}",
        )
    return tuple(Column(name, "number") for name in names)


def _check_names(names: Sequence[str], expected: Sequence[str]) -> None:
    known, found = set(expected), set(names)
    for name in names:
        if name not in known:
            raise InvalidInput(_FIELD, f"There is no column {shown(name)} to predict by. {listed(expected)}")
    for name in expected:
        if name not in found:
            raise InvalidInput(
                _FIELD, f"The column {shown(name)} is missing; null says that there is no value. {listed(expected)}"
            )


def _check_type(found: pa.Field, column: Column) -> None:
    if not _takes(column.type, found.type):
        holds = short(str(found.type))
        raise InvalidInput(
            _FIELD, f"The column {shown(column.name)} holds {holds}; {_EXPECTED[column.type]} are expected."
        )


def _takes(type_: ColumnType, found: pa.DataType) -> bool:
    kept = stored(found)
    if kept is None or kinds.is_null(found):
        return kept is not None
    match type_:
        case "number":
            return is_number(kept) or bool(kinds.is_boolean(kept))
        case "boolean":
            return bool(kinds.is_boolean(kept))
        case "date":
            return is_date(kept) or is_text(kept)
        case _:
            return True
