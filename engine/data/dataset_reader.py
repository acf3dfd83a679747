"""Reading all columns of a stored dataset as they were uploaded, in blocks or as rows."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.dataset import ColumnValues, Dataset, find_stored_file, rows_per_block
from nabla.engine.data.schema import Cell, ColumnHeader, Role
from nabla.engine.errors import Damaged
from nabla.engine.extras import requires_extra
from nabla.engine.typing import AnyArray, Float64Array

if TYPE_CHECKING:
    from nabla.engine.data.arrow_io import StoredTable


class DatasetReader(ABC):
    """Reads the columns of a dataset: those of its table, or those of its arrays, which are numbered from 1."""

    columns: tuple[ColumnHeader, ...]

    @abstractmethod
    def iter_blocks(self, first: int, last: int) -> Iterator[list[ColumnValues]]:
        """Yield the rows from `first` up to, not including, `last` in blocks of bounded size, column by column."""

    def read_rows(self, first: int, last: int) -> list[list[Cell]]:
        """Return the rows from `first` up to, not including, `last` as JSON represents them.

        Dates are in ISO 8601; missing and infinite values are None.
        """
        rows: list[list[Cell]] = []
        for block in self.iter_blocks(first, last):
            rows += map(list, zip(*(map(to_cell, column.to_list()) for column in block), strict=True))
        return rows


@contextmanager
def open_reader(dataset: Dataset, directory: Path) -> Iterator[DatasetReader]:
    """Open a reader of the dataset stored in `directory`.

    Raises:
        Damaged: A stored file does not match its digest.
        InvalidInput: The dataset is a table, and PyArrow is not installed.
    """
    for file in directory.iterdir():
        durable_files.verify(file)
    with ExitStack() as stack:
        reader: DatasetReader
        if dataset.features is None:
            try:
                reader = _ArrayReader(dataset, directory)
            except (OSError, ValueError) as error:
                raise Damaged(f"The stored dataset {dataset.id} cannot be read.") from error
        else:
            # PyArrow takes time and memory to load, which arrays do not need.
            with requires_extra("dataset_id", "Tables"):
                from nabla.engine.data.arrow_io import open_table

            reader = _TableReader(dataset, stack.enter_context(open_table(find_stored_file(directory, "table"))))
        yield reader


class _TableReader(DatasetReader):
    def __init__(self, dataset: Dataset, table: "StoredTable") -> None:
        roles = _column_roles(dataset)
        self.columns = tuple(ColumnHeader(name, roles.get(name, "unused")) for name in table.names)
        self._table = table

    def iter_blocks(self, first: int, last: int) -> Iterator[list[ColumnValues]]:
        return self._table.iter_blocks(first, last)


def _column_roles(dataset: Dataset) -> dict[str, Role]:
    roles: dict[str, Role] = {} if dataset.weight is None else {dataset.weight: "weight"}
    roles |= dict.fromkeys(dataset.target_columns, "target" if dataset.classes is None else "label")
    return roles | {column.name: "feature" for column in dataset.features or ()}


class _ArrayReader(DatasetReader):
    def __init__(self, dataset: Dataset, directory: Path) -> None:
        def load(name: str) -> Any:
            return np.load(find_stored_file(directory, name), mmap_mode="r")

        columns = [ColumnHeader(f"input {number}", "feature") for number in range(1, dataset.inputs + 1)]
        arrays: list[Any] = [load("inputs")]
        if dataset.classes is not None:
            columns.append(ColumnHeader("label", "label"))
            arrays.append(_LabelArray(np.array(dataset.classes, object), load("codes")))
        elif not dataset.unlabeled:
            columns += [ColumnHeader(f"target {number}", "target") for number in range(1, dataset.targets + 1)]
            arrays.append(load("targets"))
        if dataset.weighted:
            columns.append(ColumnHeader("weight", "weight"))
            arrays.append(load("weights"))
        self.columns = tuple(columns)
        self._arrays = arrays

    def iter_blocks(self, first: int, last: int) -> Iterator[list[ColumnValues]]:
        block_rows = rows_per_block(len(self.columns))
        for start in range(first, last, block_rows):
            yield self._read_block(start, min(start + block_rows, last))

    def _read_block(self, first: int, last: int) -> list[ColumnValues]:
        columns: list[ColumnValues] = []
        for array in self._arrays:
            block = array[first:last]
            columns += map(_ArrayValues, np.ascontiguousarray(block.T) if block.ndim == 2 else (block,))
        return columns


class _ArrayValues(ColumnValues):
    """Values of an array, of which none is missing: numbers, booleans, or the labels of a row as objects."""

    def __init__(self, values: AnyArray) -> None:
        is_text = values.dtype == object and isinstance(values[0], str)
        # Labels that are no text are all whole numbers, or all booleans.
        self._values = np.array(values.tolist()) if values.dtype == object and not is_text else values
        self.type = "text" if is_text else "boolean" if self._values.dtype == bool else "number"

    def __len__(self) -> int:
        return len(self._values)

    def to_list(self) -> list[Any]:
        values: list[Any] = self._values.tolist()
        return values

    def to_float64(self) -> Float64Array:
        return self._values.astype(np.float64)

    def present_numbers(self) -> AnyArray:
        return self._values

    def count_texts(self) -> Iterable[tuple[str, int]]:
        return Counter(self.to_list()).items()

    def count_missing_texts(self) -> int:
        return 0

    def text_buffers(self) -> Iterable[bytes | memoryview]:
        texts = [text.encode() for text in self.to_list()]
        return np.array([len(text) for text in texts], np.int64).data, b"".join(texts)

    def distinct_pairs(self, other: ColumnValues) -> Iterable[tuple[Any, Any]]:
        return set(zip(self.to_list(), other.to_list(), strict=True))


class _LabelArray:
    """Presents codes as the labels that they stand for."""

    def __init__(self, names: Any, codes: Any) -> None:
        self._names, self._codes = names, codes

    def __getitem__(self, rows: slice) -> Any:
        return self._names[self._codes[rows]]


def to_cell(value: Any) -> Cell:
    """Return a value of a column as JSON represents it; a missing or infinite one as None."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float):
        if not np.isfinite(value):
            return None
        return int(value) if value.is_integer() else value
    cell: Cell = value
    return cell
