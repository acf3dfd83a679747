"""The raw inputs of a table, read from the Arrow file that it is stored in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.compute as pc
import pyarrow.types as kinds

from nabla.engine.data.features import MISSING, UNSEEN, Array, Rows
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged

PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def days(values: pa.Array) -> pa.Array:
    """Days since 1970-01-01, float64, of dates or of times; what is missing stays missing."""
    if kinds.is_date(values.type):
        return values.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    return pa.compute.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), float(PER_DAY[values.type.unit]))


class TableFeatures:
    """Columns of a table in an Arrow IPC file, which is mapped and never whole in memory."""

    def __init__(self, path: Path, columns: tuple[Column, ...]) -> None:
        """Raises Damaged if there is no such table with all of the columns."""
        self.columns = columns
        self._path = path
        self._name = f"{path.parent.name}/{path.name}"
        try:
            source = pa.memory_map(str(path))
            places = [_place(pa.ipc.open_file(source).schema, column.name) for column in columns]
            # Fields come in the order of the file, whatever the order in which they are asked for.
            self._file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places))
            sizes = [self._file.get_batch(number).num_rows for number in range(self._file.num_record_batches)]
        except (OSError, pa.ArrowException, LookupError) as problem:
            raise Damaged(f"The stored file {self._name} cannot be read.") from problem
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.rows = int(self._ends[-1]) if sizes else 0
        self.inputs = sum(column.inputs for column in columns)

    def read(self, rows: Rows) -> tuple[Array, ...]:
        if not rows.size:
            return tuple(np.empty(0, np.int32 if column.type == "category" else np.float64) for column in self.columns)
        first, last = int(rows[0]), int(rows[-1]) + 1
        try:
            parts = self._parts(first, last)
            return tuple(
                np.concatenate([values_of(part.column(column.name), column) for part in parts])[rows - first]
                for column in self.columns
            )
        except (OSError, pa.ArrowException, LookupError) as problem:
            raise Damaged(f"The stored file {self._name} cannot be read.") from problem

    def only(self, place: int) -> "TableFeatures":
        return TableFeatures(self._path, self.columns[place : place + 1])

    def _parts(self, first: int, last: int) -> list[pa.RecordBatch]:
        """Rows first to last, as they lie in the file."""
        parts = []
        number = int(np.searchsorted(self._ends, first, side="right"))
        while first < last:
            batch = self._file.get_batch(number)
            begin = int(self._ends[number]) - batch.num_rows
            end = min(last, int(self._ends[number]))
            parts.append(batch.slice(first - begin, end - first))
            first, number = end, number + 1
        return parts


def _place(schema: pa.Schema, name: str) -> int:
    place: int = schema.get_field_index(name)
    if place < 0:
        raise LookupError(name)
    return place


def values_of(column: pa.Array, described: Column) -> Array:
    """A column of a stored table as raw inputs: see `engine.data.features`."""
    match described.type:
        case "category":
            return _codes(column, described.categories)
        case "date":
            return _reals(days(column))
        case "boolean":
            return _reals(column.cast(pa.bool_()))
        case _:
            return _reals(column)


def _reals(column: pa.Array) -> Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _codes(column: pa.Array, categories: Sequence[str]) -> Array:
    if pa.types.is_dictionary(column.type):
        known = _codes(column.dictionary, categories)
        places = column.indices.cast(pa.int32()).fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.asarray(np.append(known, np.int32(MISSING))[places])
    text = column.cast(pa.string())
    found = pc.index_in(text, value_set=pa.array(categories, pa.string())).fill_null(UNSEEN)
    codes: Array = found.to_numpy(zero_copy_only=False).astype(np.int32)
    codes[text.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return codes
