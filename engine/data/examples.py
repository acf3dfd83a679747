"""Examples in memory: validation and conversion of inputs, targets or labels, and sample weights."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.schema import (
    MAX_CATEGORY_LENGTH,
    Classes,
    ClassLabel,
    format_category,
    format_names,
    infer_class_types,
    merge_booleans,
    sort_categories,
)
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import ClassCodes, Float64Array, FloatArray

Array = npt.NDArray[np.generic]

# Integers up to this magnitude are exact in float32.
_MAX_EXACT_FLOAT32 = 2**24
# Numbers that are checked at a time, so that the mask of the check takes 1 MiB.
_CHUNK_NUMBERS = 2**20


@dataclass(frozen=True)
class Examples:
    """Validated examples.

    Attributes:
        inputs: (rows, inputs).
        targets: (rows, targets); None for labels and for unlabeled rows.
        codes: (rows) indices into `classes`; None for numeric targets and for unlabeled rows.
        weights: (rows) sample weights; None if all rows weigh the same.
    """

    inputs: FloatArray
    targets: FloatArray | None
    codes: ClassCodes | None
    classes: Classes | None
    weights: Float64Array | None


def validate_targets(fields: Collection[str], unlabeled: bool) -> None:
    """Check that there are either targets or labels, or neither for unlabeled rows.

    Args:
        fields: Names of the arrays other than the inputs.
        unlabeled: Whether the rows are declared as unlabeled.

    Raises:
        InvalidInput: There are both or neither, or `unlabeled` contradicts the fields.
    """
    if unlabeled:
        reject_with_unlabeled(fields)
    elif ("targets" in fields) == ("labels" in fields):
        raise InvalidInput(
            "targets",
            "Give either targets (numbers) or labels (classes), exactly one of them; or unlabeled=true for rows that "
            "have neither and can only be predicted.",
        )


def reject_with_unlabeled(fields: Iterable[str]) -> None:
    """Raise InvalidInput for the first of some fields, all of which only labeled rows have."""
    for field in fields:
        raise InvalidInput(field, f"Unlabeled rows have no {field}; leave out {field} or unlabeled.")


def build_examples(
    inputs: Array,
    *,
    targets: Array | None = None,
    labels: Array | Sequence[ClassLabel] | None = None,
    classes: Sequence[ClassLabel] | None = None,
    weights: Array | None = None,
    unlabeled: bool = False,
) -> Examples:
    """Validate arrays and convert them to examples.

    Args:
        inputs: (rows, inputs) or (rows) numbers.
        targets: (rows, targets) or (rows) numbers.
        labels: (rows) names of classes; either these or targets, unless `unlabeled`.
        classes: Names of the classes in their order; None sorts those of the labels.
        weights: (rows) sample weights of at least 0.
        unlabeled: The rows have neither targets nor labels.

    Raises:
        InvalidInput: An array is not accepted; the field names the array and, for a single value, row and column.
    """
    optional = {"targets": targets, "labels": labels, "classes": classes, "weights": weights}
    validate_targets([field for field, value in optional.items() if value is not None], unlabeled)
    x = _to_matrix(inputs, "inputs")
    if unlabeled:
        return Examples(x, None, None, None, None)
    for field, values in (("targets", targets), ("labels", labels)):
        if values is not None and len(values) != len(x):
            raise InvalidInput(field, f"There are {len(values)} {field} for {len(x)} rows of inputs.")
    sample_weights = None if weights is None else _to_weights(weights, len(x))
    if targets is not None:
        if classes is not None:
            raise InvalidInput("classes", "Classes go with labels; these are targets.")
        return Examples(x, _to_matrix(targets, "targets"), None, None, sample_weights)
    codes, names = _encode_labels(labels if labels is not None else (), classes)
    return Examples(x, None, codes, names, sample_weights)


def matrix_from_rows(rows: Sequence[Sequence[float]], field: str) -> Float64Array:
    """Return rows of numbers as a matrix (rows, columns).

    Raises:
        InvalidInput: A row has another length than the first; its number is part of the field.
    """
    width = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(
                f"{field}.{index}", f"This row has {len(row)} numbers, the first has {width}; all rows have the same."
            )
    return np.array(rows, np.float64)


def are_distributions(targets: Array) -> bool:
    """Return whether each row of `targets` (rows, outputs) is at least 0 and sums to 1, to within 1e-5."""
    sums = targets.sum(axis=1, dtype=np.float64)
    return bool(targets.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-5))


def _to_matrix(array: Array, field: str) -> FloatArray:
    """Return a finite two-dimensional array in row order: float32 if that is exact, otherwise float64."""
    _check_numeric(array, field)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        raise InvalidInput(
            field, f"Expected one row per example, got an array of {array.ndim} dimensions {array.shape}."
        )
    if 0 in array.shape:
        raise InvalidInput(field, "There is no data: at least 1 row with at least 1 number is needed.")
    narrow = array.dtype.itemsize <= 2 or array.dtype == np.float32
    if not narrow and array.dtype.kind in "iu":
        narrow = bool(array.min() >= -_MAX_EXACT_FLOAT32 and array.max() <= _MAX_EXACT_FLOAT32)
    matrix: FloatArray = np.ascontiguousarray(array).astype(np.float32 if narrow else np.float64, copy=False)
    _check_finite(matrix, field)
    return matrix


def _check_numeric(array: Array, field: str) -> None:
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise InvalidInput(field, f"Expected numbers, got an array of type {array.dtype}.")


def _check_finite(matrix: FloatArray, field: str) -> None:
    chunk_rows = max(1, _CHUNK_NUMBERS // matrix.shape[1])
    for start in range(0, len(matrix), chunk_rows):
        finite = np.isfinite(matrix[start : start + chunk_rows])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value = matrix[start + row, column]
            raise InvalidInput(
                f"{field}.{start + row}.{column}",
                f"The value is {'not a number' if np.isnan(value) else 'infinite'}; only finite numbers are accepted.",
            )


def _to_weights(array: Array, rows: int) -> Float64Array:
    """Return one sample weight per row: finite, at least 0, with a finite sum above 0."""
    _check_numeric(array, "weights")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise InvalidInput("weights", f"Expected one weight per row, got an array of shape {array.shape}.")
    if len(array) != rows:
        raise InvalidInput("weights", f"There are {len(array)} weights for {rows} rows of inputs.")
    weights = array.astype(np.float64)
    invalid = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if invalid.size:
        row = int(invalid[0])
        raise InvalidInput(
            f"weights.{row}", f"The weight is {weights[row]:g}; a weight is a finite number of at least 0."
        )
    with np.errstate(over="ignore"):  # an infinite sum is reported below
        total = weights.sum()
    if total == 0:
        raise InvalidInput("weights", "All weights are 0; at least 1 row must count.")
    if not np.isfinite(total):
        raise InvalidInput("weights", "The sum of the weights is not finite; give smaller weights.")
    return weights


def _encode_labels(
    labels: Array | Sequence[ClassLabel], classes: Sequence[ClassLabel] | None
) -> tuple[ClassCodes, Classes]:
    """Return the code of each label, and the classes, with the type of the labels."""
    names = _class_names(labels, "labels")
    booleans = merge_booleans(names)
    names = [booleans.get(name, name) for name in names]
    known = sort_categories(names) if classes is None else tuple(_class_names(classes, "classes"))
    code_of = {name: code for code, name in enumerate(known)}
    if len(code_of) != len(known):
        raise InvalidInput("classes", "Each class must be listed once.")
    codes = np.fromiter((code_of.get(name, -1) for name in names), np.int32, len(names))
    unknown = np.flatnonzero(codes < 0)
    if unknown.size:
        row = int(unknown[0])
        raise InvalidInput(
            f"labels.{row}", f"The label {names[row]!r} is not one of the classes {format_names(known)}."
        )
    if len(known) < 2:
        raise InvalidInput("labels", "There is only one class; a classifier needs at least 2.")
    return codes, known if _are_texts(labels) else infer_class_types(known)


def _are_texts(labels: Array | Sequence[ClassLabel]) -> bool:
    if isinstance(labels, np.ndarray):
        return labels.dtype.kind in "SU"
    return all(isinstance(label, str) for label in labels)


def _class_names(labels: Array | Sequence[ClassLabel], field: str) -> list[str]:
    values = _label_values(labels, field) if isinstance(labels, np.ndarray) else labels
    names = [format_category(value) for value in values]
    if not names:
        raise InvalidInput(field, f"There are no {field}.")
    for row, name in enumerate(names):
        if len(name) > MAX_CATEGORY_LENGTH:
            raise InvalidInput(
                f"{field}.{row}",
                f"The name of this class has {len(name)} characters; at most {MAX_CATEGORY_LENGTH} are accepted.",
            )
    return names


def _label_values(column: Array, field: str) -> Sequence[ClassLabel]:
    """Return the labels of an array of integers, booleans or text."""
    if column.ndim == 2 and column.shape[1] == 1:
        column = column.reshape(-1)
    if column.dtype.kind == "S":
        column = np.char.decode(column, "utf-8", "replace")  # type: ignore[arg-type]  # bytes: the kind is S
    if column.dtype.kind == "f" and np.array_equal(column, np.floor(column)) and np.abs(column).max() < 2**53:
        column = column.astype(np.int64)
    if column.ndim != 1 or column.dtype.kind not in "buiU":
        raise InvalidInput(
            field,
            f"Expected one label per row, whole numbers or text, got {column.dtype} of shape {column.shape}; "
            "numbers to predict go into targets.",
        )
    values: list[ClassLabel] = column.tolist()
    return values
