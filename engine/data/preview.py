"""All columns of a stored dataset, as they were handed in: block by block, or some rows of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.npy_io import rows_at_once
from nabla.engine.data.profile_schema import Cell, Named, Role
from nabla.engine.errors import Damaged

# Bytes of a block of a table: rows may be few and texts long.
_BYTES_AT_ONCE = 2**25


class View:
    """A dataset's columns: those of its table, or those of its arrays, which are counted from 1."""

    def __init__(self, columns: tuple[Named, ...], batches: list[pa.RecordBatch] | None, arrays: list[Any]) -> None:
        self.columns = columns
        self._batches = batches
        self._arrays = arrays

    def blocks(self, first: int, last: int) -> Iterator[list[pa.Array]]:
        """Rows first to last, in blocks of bounded size: for each block an array of every column."""
        if self._batches is None:
            at_once = rows_at_once(len(self.columns))
            for start in range(first, last, at_once):
                yield self._block(start, min(start + at_once, last))
            return
        begin = 0
        for batch in self._batches:
            low, high = max(first - begin, 0), min(last - begin, len(batch))
            if low < high:
                yield from (part.columns for part in cut(batch.slice(low, high - low)))
            begin += len(batch)

    def _block(self, first: int, last: int) -> list[pa.Array]:
        found: list[pa.Array] = []
        for array in self._arrays:
            block = array[first:last]
            found += map(pa.array, np.ascontiguousarray(block.T) if block.ndim == 2 else (block,))
        return found

    def rows(self, first: int, last: int) -> list[list[Cell]]:
        """As JSON has them: dates as ISO 8601, and null where there is no value."""
        found: list[list[Cell]] = []
        for block in self.blocks(first, last):
            found += map(list, zip(*(map(_cell, column.to_pylist()) for column in block), strict=True))
        return found


def cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of bounded size. A batch of a file that was stored as it came may be all of it."""
    if len(batch) > 1 and (len(batch) > rows_at_once(batch.num_columns) or batch.nbytes > _BYTES_AT_ONCE):
        half = len(batch) // 2
        yield from cut(batch.slice(0, half))
        yield from cut(batch.slice(half))
    else:
        yield batch


def _cell(value: Any) -> Cell:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float):
        if not np.isfinite(value):
            return None
        return int(value) if value.is_integer() else value
    found: Cell = value
    return found


@contextmanager
def viewed(dataset: Dataset, folder: Path) -> Iterator[View]:
    """Raises Damaged if any byte of it is not what was written."""
    for file in folder.iterdir():
        durable_files.check(file)
    with ExitStack() as stack:
        try:
            view = _of_arrays(dataset, folder) if dataset.features is None else _of_table(dataset, folder, stack)
        except (pa.ArrowException, OSError, ValueError) as problem:
            raise Damaged(f"The stored dataset {dataset.id} cannot be read.") from problem
        yield view  # what goes wrong with it out there is no damage


def _of_table(dataset: Dataset, folder: Path, stack: ExitStack) -> View:
    source = stack.enter_context(pa.memory_map(str(_find(folder, "table", "arrow"))))
    reader = pa.ipc.open_file(source)
    batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
    return View(_roles(dataset, reader.schema.names), batches, [])


def _find(folder: Path, name: str, suffix: str) -> Path:
    found = next(folder.glob(f"{name}.*.{suffix}"), None)
    if found is None:
        raise Damaged(f"The stored file {folder.name}/{name} is missing.")
    return found


def _roles(dataset: Dataset, names: list[str]) -> tuple[Named, ...]:
    features = {column.name for column in dataset.features or ()}
    answer: Role = "target" if dataset.classes is None else "label"

    def role(name: str) -> Role:
        if name in features:
            return "feature"
        return answer if name in dataset.target_columns else "weight" if name == dataset.weight else "unused"

    return tuple(Named(name, role(name)) for name in names)


def _of_arrays(dataset: Dataset, folder: Path) -> View:
    columns = [Named(f"input {number}", "feature") for number in range(1, dataset.inputs + 1)]
    arrays: list[Any] = [np.load(_find(folder, "inputs", "npy"), mmap_mode="r")]
    if dataset.classes is not None:
        columns.append(Named("label", "label"))
        codes = np.load(_find(folder, "codes", "npy"), mmap_mode="r")
        arrays.append(_Labels(np.array(dataset.classes, object), codes))
    elif not dataset.unlabeled:
        columns += [Named(f"target {number}", "target") for number in range(1, dataset.targets + 1)]
        arrays.append(np.load(_find(folder, "targets", "npy"), mmap_mode="r"))
    if dataset.weighted:
        columns.append(Named("weight", "weight"))
        arrays.append(np.load(_find(folder, "weights", "npy"), mmap_mode="r"))
    return View(tuple(columns), None, arrays)


class _Labels:
    """Codes, seen as the labels that they stand for."""

    def __init__(self, names: Any, codes: Any) -> None:
        self._names, self._codes = names, codes

    def __getitem__(self, rows: slice) -> Any:
        return self._names[self._codes[rows]]
