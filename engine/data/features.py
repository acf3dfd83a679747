"""The raw inputs of a stored dataset, read in blocks of rows: as they were handed in, before anything is prepared.

Of plain numbers a block is a matrix (rows, inputs). Of a table it has an array for each column: float64, with NaN where
there is no value, of numbers, booleans (0 or 1) and dates (days since 1970-01-01); of categories int32 codes into those
that are asked for, with MISSING and UNSEEN.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.data.columns import Column
from engine.data.dates import days
from engine.errors import Damaged

Rows = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Raw = Array | tuple[Array, ...]

# Codes of a category where there is no value, and where it is none of those that are asked for.
MISSING, UNSEEN = -1, -2


class Features(Protocol):
    """`columns`: None for plain numbers. `inputs`: how many inputs of a network a row becomes."""

    @property
    def columns(self) -> tuple[Column, ...] | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def inputs(self) -> int: ...

    def read(self, rows: Rows) -> Raw:
        """These rows, which ascend. Raises Damaged."""

    def only(self, place: int) -> "Features":
        """One column of a table."""


class ArrayFeatures:
    """Plain numbers, in memory or mapped from a file."""

    columns = None

    def __init__(self, matrix: Array) -> None:
        """`matrix`: (rows, inputs), of any type of numbers."""
        self.matrix = matrix
        self.rows, self.inputs = matrix.shape

    def read(self, rows: Rows) -> Array:
        if rows.size and rows[-1] - rows[0] == rows.size - 1:
            return self.matrix[rows[0] : rows[-1] + 1]
        return self.matrix[rows]

    def only(self, place: int) -> "ArrayFeatures":
        return ArrayFeatures(self.matrix[:, place : place + 1])


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
                np.concatenate([_values(part.column(column.name), column) for part in parts])[rows - first]
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


def _values(column: pa.Array, described: Column) -> Array:
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
