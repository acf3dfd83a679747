"""Opening of stored datasets for training, evaluation and prediction.

Arrays that a network can use as they are stored are memory-mapped. All others are preprocessed in blocks; the result is
kept in memory if it is small, and otherwise in an unnamed file that disappears with its mapping.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, find_stored_file
from nabla.engine.data.features import ArrayFeatures, Features
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.preprocessing import Preprocessor, dataset_field
from nabla.engine.data.schema import Classes, Column, find_class_codes
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.extras import requires_extra
from nabla.engine.typing import AnyArray, ClassCodes, Float64Array, FloatArray

# Maximum numbers of a block that is preprocessed at a time.
_BLOCK_NUMBERS = 2**22
# Smaller results are kept in memory.
_MIN_FILE_BYTES = 64 * 2**20

RowHashes = npt.NDArray[np.uint64]
_BLOCK_ROWS = 2**16
# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the finalizer of SplitMix64.
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class OpenDataset:
    """A dataset in the form that a network takes.

    Attributes:
        x: (rows, inputs) Preprocessed inputs in the dtype of the network; read-only and C-contiguous.
        y: (rows, outputs) Preprocessed targets, likewise.
        codes: (rows) Codes of the classes; None for numeric targets.
        weights: (rows) Sample weights; None if all rows weigh the same.
        target_scale: (outputs) Size of one unit of y in the units of the targets; None if y is not scaled.
    """

    x: FloatArray
    y: FloatArray
    codes: ClassCodes | None = None
    weights: Float64Array | None = None
    target_scale: Float64Array | None = None

    def __post_init__(self) -> None:
        """Make x and y contiguous and read-only."""
        # Compiled code is specialized to one array type: the read-only one of mapped files.
        for name in ("x", "y"):
            matrix = np.ascontiguousarray(getattr(self, name)).view()
            matrix.flags.writeable = False
            object.__setattr__(self, name, matrix)


@dataclass(frozen=True)
class RawDataset:
    """A stored dataset whose files have been verified: either `targets` or `codes`, of the classes, is set."""

    directory: Path
    features: Features
    targets: FloatArray | None
    codes: ClassCodes | None
    weights: Float64Array | None

    def preprocess(
        self, preprocessor: Preprocessor, outputs: int, dtype: str, warnings: InputWarnings | None = None
    ) -> OpenDataset:
        """Return the dataset for a network.

        Args:
            preprocessor: Preprocessor of the network.
            outputs: Number of outputs. Labels become one-hot targets, or 0 and 1 for a single output.
            dtype: dtype of the network.
            warnings: Collects what is unusual about the rows.

        Raises:
            InvalidInput: A row cannot be preprocessed, or exceeds the range of the dtype.
            StorageFailed: There is no space for preprocessed data.
        """
        x = self._preprocess_inputs(preprocessor, dtype, warnings)
        if self.codes is not None:
            codes = self.codes
            y = self._build_matrix((len(codes), outputs), dtype, lambda rows: _one_hot(codes[rows], outputs, dtype))
            return OpenDataset(x, y, codes, self.weights)
        assert self.targets is not None
        y = targets = self.targets
        if preprocessor.target_scaling is not None or targets.dtype != dtype:
            y = self._build_matrix(
                targets.shape,
                dtype,
                lambda rows: _cast(preprocessor.transform_targets(targets[rows]), dtype, rows, "targets"),
            )
        target_scale = None if preprocessor.target_scaling is None else preprocessor.target_scaling.scales
        return OpenDataset(x, y, None, self.weights, target_scale)

    def _preprocess_inputs(self, preprocessor: Preprocessor, dtype: str, warnings: InputWarnings | None) -> FloatArray:
        features = self.features
        if (
            isinstance(features, ArrayFeatures)
            and preprocessor.leaves_inputs_unchanged
            and features.matrix.dtype == dtype
        ):
            return features.matrix
        return self._build_matrix(
            (features.rows, features.inputs),
            dtype,
            lambda rows: load_inputs(features, preprocessor, dtype, rows, warnings),
        )

    def _build_matrix(
        self, shape: tuple[int, int], dtype: str, compute_rows: Callable[[slice], FloatArray]
    ) -> FloatArray:
        block_rows = max(1, _BLOCK_NUMBERS // shape[1])
        blocks = [slice(first, min(shape[0], first + block_rows)) for first in range(0, shape[0], block_rows)]
        if shape[0] * shape[1] * np.dtype(dtype).itemsize < _MIN_FILE_BYTES:
            matrix: FloatArray = np.empty(shape, dtype)
            for rows in blocks:
                matrix[rows] = compute_rows(rows)
            return matrix

        def write(file: durable_files.Sink) -> None:
            for rows in blocks:
                file.write(np.ascontiguousarray(compute_rows(rows)).data)

        return np.frombuffer(durable_files.map_scratch(self.directory, write), dtype).reshape(shape)


def open_for_training(
    dataset: Dataset,
    directory: Path,
    outputs: int,
    dtype: str,
    preprocessor: Preprocessor | None = None,
    classes: Classes | None = None,
) -> OpenDataset:
    """Open a stored dataset in the form that a network takes.

    Args:
        dataset: A labeled dataset.
        directory: The directory in which it is stored.
        outputs: Number of outputs of the network.
        dtype: dtype of the network.
        preprocessor: Preprocessor of the network; None for a numeric matrix that needs none.
        classes: See `open_raw`.

    Raises:
        Damaged: A stored file does not match its digest.
        InvalidInput: A row cannot be preprocessed, or exceeds the range of the dtype.
        StorageFailed: There is no space for preprocessed data.
    """
    preprocessor = preprocessor or Preprocessor.identity()
    return open_raw(dataset, directory, preprocessor.columns, classes).preprocess(preprocessor, outputs, dtype)


def open_raw(
    dataset: Dataset,
    directory: Path,
    columns: tuple[Column, ...] | None = None,
    classes: Classes | None = None,
) -> RawDataset:
    """Verify and map a stored dataset.

    Args:
        dataset: A labeled dataset.
        directory: The directory in which it is stored.
        columns: Columns to read from a table; None for the feature columns of the dataset.
        classes: Classes that the codes stand for, which include those of the dataset; None for those of the dataset.

    Raises:
        Damaged: A stored file does not match its digest.
    """
    features = open_features(dataset, directory, columns)
    weights = _load_array(directory, "weights") if dataset.weighted else None
    if dataset.classes is None:
        return RawDataset(directory, features, _load_matrix(directory, "targets"), None, weights)
    codes = _load_array(directory, "codes")
    if classes is not None and classes != dataset.classes:
        codes = np.array(find_class_codes(classes, dataset.classes), np.int32)[codes]
    return RawDataset(directory, features, None, codes, weights)


def open_features(
    dataset: Dataset,
    directory: Path,
    columns: tuple[Column, ...] | None = None,
    on_tick: Callable[[], object] = lambda: None,
) -> Features:
    """Verify and map the inputs of a stored dataset.

    Args:
        dataset: The dataset.
        directory: The directory in which it is stored.
        columns: Columns to read from a table; None for the feature columns of the dataset.
        on_tick: Called repeatedly while the files are verified.

    Raises:
        Damaged: A stored file does not match its digest.
    """
    if dataset.features is None:
        return ArrayFeatures(_load_matrix(directory, "inputs", on_tick))
    table = find_stored_file(directory, "table")
    durable_files.verify(table, on_tick)
    # Processes that only see arrays do not load PyArrow.
    with requires_extra("dataset_id", "Tables"):
        from nabla.engine.data.table_features import TableFeatures

    return TableFeatures(table, columns or dataset.features)


def load_inputs(
    features: Features, preprocessor: Preprocessor, dtype: str, rows: slice, warnings: InputWarnings | None = None
) -> FloatArray:
    """Return preprocessed inputs (rows, inputs) in the dtype of the network; `warnings` collects what is unusual.

    Raises:
        InvalidInput: A row cannot be preprocessed, or exceeds the range of the dtype (field `dataset_id`).
    """
    indices = np.arange(rows.start, rows.stop)
    inputs = preprocessor.transform(features.read(indices), indices, dataset_field, warnings)
    return _cast(inputs, dtype, rows, "inputs")


def _cast(numbers: Float64Array, dtype: str, rows: slice, noun: str) -> FloatArray:
    with np.errstate(over="ignore"):  # an overflow is reported below
        converted: FloatArray = numbers.astype(dtype, copy=False)
    finite = np.isfinite(converted)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InvalidInput(
            "dataset_id", f"Row {rows.start + row + 1}: number {column + 1} of the {noun} is beyond {dtype}."
        )
    return converted


def _one_hot(codes: ClassCodes, outputs: int, dtype: str) -> FloatArray:
    if outputs == 1:
        return codes.reshape(-1, 1).astype(dtype)
    targets = np.zeros((len(codes), outputs), dtype)
    targets[np.arange(len(codes)), codes] = 1
    return targets


def _load_matrix(directory: Path, name: str, on_tick: Callable[[], object] = lambda: None) -> FloatArray:
    """Return a stored array as (rows, columns); a one-dimensional one has a single column."""
    array = _load_array(directory, name, on_tick)
    return array.reshape(len(array), -1)


def _load_array(directory: Path, name: str, on_tick: Callable[[], object] = lambda: None) -> npt.NDArray[Any]:
    path = find_stored_file(directory, name)
    durable_files.verify(path, on_tick)
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        raise Damaged(f"The stored file {directory.name}/{path.name} cannot be read.") from error


def hash_rows(raw: RawDataset) -> RowHashes:
    """Return a hash (rows) of the inputs and the targets of each row.

    Rows with equal values have equal hashes, also in another dataset whose columns and classes are read alike; missing
    values are equal to each other.
    """
    rows = raw.features.rows
    hashes: RowHashes = np.zeros(rows, np.uint64)
    for first in range(0, rows, _BLOCK_ROWS):
        block = np.arange(first, min(rows, first + _BLOCK_ROWS))
        values = raw.features.read(block)
        columns = values if isinstance(values, tuple) else tuple(values.T)
        targets = (raw.codes[block],) if raw.codes is not None else ()
        if raw.targets is not None:
            targets = tuple(raw.targets[block].T)
        part = hashes[block]
        for column in (*columns, *targets):
            part = _mix(part, column)
        hashes[block] = part
    return hashes


def _mix(hashes: RowHashes, column: AnyArray) -> RowHashes:
    """Return the hashes with one more column."""
    values = column.astype(np.float64) + 0.0  # -0 becomes 0
    values[np.isnan(values)] = np.nan
    with np.errstate(over="ignore"):  # modulo 2⁶⁴
        mixed = (hashes * _MULTIPLIERS[0] + _INCREMENT) ^ values.view(np.uint64)
        for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
            mixed = (mixed ^ (mixed >> shift)) * multiplier
        return np.asarray(mixed ^ (mixed >> _SHIFTS[2]))
