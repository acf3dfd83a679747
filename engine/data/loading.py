"""A stored dataset opened: as it is, and prepared for a network.

What a network takes as it is stored is mapped. All else is prepared in blocks, and kept as long as it is used: in
memory where it is small, in a file without a name where it is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, Matrix
from nabla.engine.data.features import ArrayFeatures, Features
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.scaling import Vector
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged, InvalidInput

# So many numbers are prepared at a time.
_NUMBERS_AT_ONCE = 2**22
# What is smaller is held in memory.
_BYTES_IN_FILES = 64 * 2**20


@dataclass(frozen=True)
class OpenDataset:
    """Inputs x (rows, inputs) and targets y (rows, outputs) in the dtype asked for, read-only, one row after the other;
    `codes` (rows) of the classes, or None; `weights` (rows), or None where all rows count the same.

    `units` (outputs): what 1 of y is in the units of the targets; None where these are its own.
    """

    x: Matrix
    y: Matrix
    codes: npt.NDArray[np.int32] | None = None
    weights: npt.NDArray[np.float64] | None = None
    units: Vector | None = None

    def __post_init__(self) -> None:
        # Machine code is compiled for one kind of array: that which is mapped from a file.
        for name in ("x", "y"):
            matrix = np.ascontiguousarray(getattr(self, name)).view()
            matrix.flags.writeable = False
            object.__setattr__(self, name, matrix)


@dataclass(frozen=True)
class RawDataset:
    """What is stored, compared with its digests and mapped: `features`, and either `targets` or `codes`."""

    folder: Path
    features: Features
    targets: Matrix | None
    codes: npt.NDArray[np.int32] | None
    weights: npt.NDArray[np.float64] | None

    def prepared(self, preprocessor: Preprocessor, outputs: int, dtype: str) -> OpenDataset:
        """For a network of so many outputs. Labels become one-hot targets, or 0 and 1 for a single output.

        Raises StorageFailed, and InvalidInput where a row cannot be prepared.
        """
        x, units = self._inputs(preprocessor, dtype), None
        if self.codes is not None:
            codes = self.codes
            y = self._made((len(codes), outputs), dtype, lambda rows: _one_hot(codes[rows], outputs, dtype))
            return OpenDataset(x, y, codes, self.weights)
        assert self.targets is not None
        y, targets = self.targets, self.targets
        if preprocessor.targets is not None:
            units = preprocessor.targets.scales
        if preprocessor.targets is not None or y.dtype != dtype:
            y = self._made(
                targets.shape,
                dtype,
                lambda rows: _in(dtype, preprocessor.prepare_targets(targets[rows]), rows, "targets"),
            )
        return OpenDataset(x, y, None, self.weights, units)

    def _inputs(self, preprocessor: Preprocessor, dtype: str) -> Matrix:
        features = self.features
        if isinstance(features, ArrayFeatures) and preprocessor.keeps_inputs and features.matrix.dtype == dtype:
            return features.matrix
        return self._made(
            (features.rows, features.inputs), dtype, lambda rows: inputs_of(features, preprocessor, dtype, rows)
        )

    def _made(self, shape: tuple[int, int], dtype: str, block: Callable[[slice], Matrix]) -> Matrix:
        """A matrix of which `block` makes the rows."""
        at_once = max(1, _NUMBERS_AT_ONCE // shape[1])
        blocks = [slice(first, min(shape[0], first + at_once)) for first in range(0, shape[0], at_once)]
        if shape[0] * shape[1] * np.dtype(dtype).itemsize < _BYTES_IN_FILES:
            made: Matrix = np.empty(shape, dtype)
            for rows in blocks:
                made[rows] = block(rows)
            return made

        def write(file: durable_files.Sink) -> None:
            for rows in blocks:
                file.write(np.ascontiguousarray(block(rows)).data)

        return np.frombuffer(durable_files.map_scratch(self.folder, write), dtype).reshape(shape)


def inputs_of(features: Features, preprocessor: Preprocessor, dtype: str, rows: slice) -> Matrix:
    """Rows (rows, inputs), prepared. Raises InvalidInput where one cannot be."""
    numbers = np.arange(rows.start, rows.stop)
    return _in(dtype, preprocessor.prepare(features.read(numbers), numbers, _no_field), rows, "inputs")


def open_features(
    dataset: Dataset,
    folder: Path,
    columns: tuple[Column, ...] | None = None,
    going_on: Callable[[], object] = lambda: None,
) -> Features:
    """The inputs of the dataset stored in `folder`; of a table the columns that are asked for, by default its own.
    Raises Damaged if any byte of them is not what was written. `going_on` is called while they are looked at."""
    if dataset.features is None:
        return ArrayFeatures(_matrix(_find(folder, "inputs", ".npy"), going_on))
    table = _find(folder, "table", ".arrow")
    durable_files.check(table, going_on)
    # PyArrow is not loaded by a service or a worker that has no tables.
    from nabla.engine.data.table_features import TableFeatures

    return TableFeatures(table, columns or dataset.features)


def open_raw(dataset: Dataset, folder: Path, columns: tuple[Column, ...] | None = None) -> RawDataset:
    """The dataset stored in `folder`; of a table the columns that are asked for, by default its own. Raises Damaged if
    any byte of it is not what was written."""
    features = open_features(dataset, folder, columns)
    weights = _load(_find(folder, "weights", ".npy")) if dataset.weighted else None
    if dataset.classes is None:
        return RawDataset(folder, features, _matrix(_find(folder, "targets", ".npy")), None, weights)
    return RawDataset(folder, features, None, _load(_find(folder, "codes", ".npy")), weights)


def open_for_training(
    dataset: Dataset, folder: Path, outputs: int, dtype: str, preprocessor: Preprocessor | None = None
) -> OpenDataset:
    """The dataset stored in `folder`, for a network of so many outputs; by default as the plain numbers that it is.
    Raises StorageFailed; Damaged if any byte of it is not what was written; InvalidInput where a row cannot be
    prepared."""
    prepared_by = preprocessor or Preprocessor.plain()
    return open_raw(dataset, folder, prepared_by.columns).prepared(prepared_by, outputs, dtype)


def _no_field(row: int, column: int) -> str:
    return "dataset_id"


def _in(dtype: str, numbers: npt.NDArray[np.float64], rows: slice, what: str) -> Matrix:
    with np.errstate(over="ignore"):  # seen below
        converted: Matrix = numbers.astype(dtype, copy=False)
    finite = np.isfinite(converted)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InvalidInput(
            "dataset_id", f"Row {rows.start + row + 1}: number {column + 1} of the {what} is beyond {dtype}."
        )
    return converted


def _one_hot(codes: npt.NDArray[np.int32], outputs: int, dtype: str) -> Matrix:
    if outputs == 1:
        return codes.reshape(-1, 1).astype(dtype)
    targets = np.zeros((len(codes), outputs), dtype)
    targets[np.arange(len(codes)), codes] = 1
    return targets


def _find(folder: Path, name: str, suffix: str) -> Path:
    """The file of this name, whatever its digest. Raises Damaged if there is none."""
    found = next(folder.glob(f"{name}.*{suffix}"), None)
    if found is None:
        raise Damaged(f"The stored file {folder.name}/{name} is missing.")
    return found


def _matrix(path: Path, going_on: Callable[[], object] = lambda: None) -> Matrix:
    """A plain list, which is stored as it came, has a number in each row."""
    array = _load(path, going_on)
    return array.reshape(len(array), -1)


def _load(path: Path, going_on: Callable[[], object] = lambda: None) -> npt.NDArray[Any]:
    durable_files.check(path, going_on)
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as problem:  # of a damaged header NumPy makes errors of every kind
        raise Damaged(f"The stored file {path.parent.name}/{path.name} cannot be read.") from problem
