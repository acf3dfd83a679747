"""What is to be learned from a stored table: its columns of targets or labels, and of weights."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from engine.data.examples import Array
from engine.data.npy_files import write_array
from engine.data.reading.formats.arrow import mapped
from engine.data.reading.numbers import as_numpy
from engine.data.reading.observed import Classes, Distributions, Numbers, Weights
from engine.data.reading.places import in_column
from engine.data.reading.roles import Roles
from engine.data.sources import NO_ANSWERS, Answers, Reading


def store_answers(table: Path, rows: int, roles: Roles, reading: Reading, classes: Classes | None) -> Answers:
    """Write what a table of so many rows says besides its inputs, beside it. `classes`: of its labels, if it has
    any, all of which were looked at. Raises InvalidInput, StorageFailed."""
    with pa.OSFile(str(table)) as file:
        names = pa.ipc.open_file(file).schema.names
    wanted = (*roles.targets, roles.label, roles.weight)
    batches = partial(_batches, table, [place for place, name in enumerate(names) if name in wanted])
    if roles.weight is not None:
        _store_weights(table.parent, rows, roles.weight, batches)
    if reading.unlabeled:
        return NO_ANSWERS
    if roles.label is not None:
        assert classes is not None
        return _store_codes(table.parent, rows, roles.label, classes, batches)
    return _store_targets(table.parent, rows, roles.targets, batches)


_Batches = Callable[[], Iterator[tuple[int, pa.RecordBatch]]]


def _batches(table: Path, columns: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Some columns of the batches of a table, each with the number of its first row."""
    first_row = 0
    for batch in mapped(table, columns):
        yield first_row, batch
        first_row += len(batch)


def _store_targets(folder: Path, rows: int, names: tuple[str, ...], batches: _Batches) -> Answers:
    numbers = Numbers(lambda row, column, sentence: in_column(names[column])(row, sentence))
    distributions = Distributions()

    def blocks() -> Iterator[Array]:
        for first_row, batch in batches():
            block = np.column_stack([_numbers(batch, name) for name in names])
            numbers.see(block, first_row)
            distributions.see(block)
            yield block

    write_array(folder / "targets.npy", np.dtype(np.float64), (rows, len(names)), blocks())
    return Answers(len(names), None, numbers.smallest, numbers.largest, distributions.are)


def _store_codes(folder: Path, rows: int, name: str, classes: Classes, batches: _Batches) -> Answers:
    classes.settle()
    codes = (classes.codes(batch.column(name), first_row) for first_row, batch in batches())
    write_array(folder / "codes.npy", np.dtype(np.int32), (rows,), codes)
    return Answers.of_classes(classes.names)


def _store_weights(folder: Path, rows: int, name: str, batches: _Batches) -> None:
    weights = Weights("weight", in_column(name))

    def blocks() -> Iterator[Array]:
        for first_row, batch in batches():
            block = _numbers(batch, name)
            weights.see(block, first_row)
            yield block
        weights.end()

    write_array(folder / "weights.npy", np.dtype(np.float64), (rows,), blocks())


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = as_numpy(batch.column(name)).astype(np.float64, copy=False)
    return numbers
