"""Reading all columns of a stored dataset as they were uploaded, in blocks or as rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, find_stored_file, rows_per_block
from nabla.engine.data.schema import Cell, ColumnHeader, Role
from nabla.engine.errors import Damaged

# Maximum bytes of a block of a table, whose rows may be few and whose texts long.
_BLOCK_BYTES = 2**25


class DatasetReader(ABC):
    """Reads the columns of a dataset: those of its table, or those of its arrays, which are numbered from 1."""

    columns: tuple[ColumnHeader, ...]

    @abstractmethod
    def iter_blocks(self, first: int, last: int) -> Iterator[list[pa.Array]]:
        """Yield the rows from `first` up to, not including, `last` in blocks of bounded size: one array per column."""

    def read_rows(self, first: int, last: int) -> list[list[Cell]]:
        """Return the rows from `first` up to, not including, `last` as JSON represents them.

        Dates are in ISO 8601; missing and infinite values are None.
        """
        rows: list[list[Cell]] = []
        for block in self.iter_blocks(first, last):
            rows += map(list, zip(*(map(to_cell, column.to_pylist()) for column in block), strict=True))
        return rows


@contextmanager
def open_reader(dataset: Dataset, directory: Path) -> Iterator[DatasetReader]:
    """Open a reader of the dataset stored in `directory`.

    Raises:
        Damaged: A stored file does not match its digest.
    """
    for file in directory.iterdir():
        durable_files.verify(file)
    with ExitStack() as stack:
        try:
            reader: DatasetReader
            if dataset.features is None:
                reader = _ArrayReader(dataset, directory)
            else:
                reader = _TableReader(
                    dataset, stack.enter_context(pa.memory_map(str(find_stored_file(directory, "table"))))
                )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Damaged(f"The stored dataset {dataset.id} cannot be read.") from error
        yield reader  # outside of `try`: an error of the caller is not a damaged dataset


def split_batch(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch in batches of bounded size.

    A file that was stored as it was uploaded may consist of a single batch.
    """
    if len(batch) > 1 and (len(batch) > rows_per_block(batch.num_columns) or batch.nbytes > _BLOCK_BYTES):
        half = len(batch) // 2
        yield from split_batch(batch.slice(0, half))
        yield from split_batch(batch.slice(half))
    else:
        yield batch


class _TableReader(DatasetReader):
    def __init__(self, dataset: Dataset, source: pa.MemoryMappedFile) -> None:
        file = pa.ipc.open_file(source)
        roles = _column_roles(dataset)
        self.columns = tuple(ColumnHeader(name, roles.get(name, "unused")) for name in file.schema.names)
        self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]

    def iter_blocks(self, first: int, last: int) -> Iterator[list[pa.Array]]:
        batch_start = 0
        for batch in self._batches:
            low, high = max(first - batch_start, 0), min(last - batch_start, len(batch))
            if low < high:
                yield from (block.columns for block in split_batch(batch.slice(low, high - low)))
            batch_start += len(batch)


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

    def iter_blocks(self, first: int, last: int) -> Iterator[list[pa.Array]]:
        block_rows = rows_per_block(len(self.columns))
        for start in range(first, last, block_rows):
            yield self._read_block(start, min(start + block_rows, last))

    def _read_block(self, first: int, last: int) -> list[pa.Array]:
        columns: list[pa.Array] = []
        for array in self._arrays:
            block = array[first:last]
            columns += map(pa.array, np.ascontiguousarray(block.T) if block.ndim == 2 else (block,))
        return columns


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
