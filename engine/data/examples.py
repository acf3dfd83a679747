"""Examples as they come from a reader: checked arrays of inputs with targets or labels, and weights."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.schema import LONGEST, in_order, name
from nabla.engine.errors import InvalidInput

Label = str | int | bool
Array = npt.NDArray[np.generic]

# Whole numbers up to here are the same in float32.
_EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True)
class Examples:
    """inputs (rows, inputs); either targets (rows, targets), or `codes` (rows) into `classes`, or neither.

    `weights` (rows): how much each row counts; None where all count the same.
    """

    inputs: npt.NDArray[np.floating]
    targets: npt.NDArray[np.floating] | None
    codes: npt.NDArray[np.int32] | None
    classes: tuple[str, ...] | None
    weights: npt.NDArray[np.float64] | None


def check_answers(given: Collection[str], unlabeled: bool) -> None:
    """`given`: what there is besides inputs. Raises InvalidInput unless there are targets or labels, or it was said
    that there are none."""
    if unlabeled:
        refuse_beside_unlabeled(given)
    elif ("targets" in given) == ("labels" in given):
        raise InvalidInput(
            "targets",
            "Give either targets (numbers) or labels (classes), exactly one of them; or say unlabeled=true: then the "
            "rows have no answers, and can only be predicted.",
        )


def refuse_beside_unlabeled(given: Iterable[str]) -> None:
    """Raises InvalidInput naming the first of what was given that only rows with answers have."""
    for field in given:
        raise InvalidInput(
            field, f"With unlabeled the rows have no answers, and no {field} either; leave out one of the two."
        )


def examples(
    inputs: Array,
    *,
    targets: Array | None = None,
    labels: Array | Sequence[Label] | None = None,
    classes: Sequence[Label] | None = None,
    weights: Array | None = None,
    unlabeled: bool = False,
) -> Examples:
    """Check and convert what a reader found. Raises InvalidInput naming the array, row and column."""
    given = {"targets": targets, "labels": labels, "classes": classes, "weights": weights}
    check_answers([field for field, value in given.items() if value is not None], unlabeled)
    x = _matrix(inputs, "inputs")
    if unlabeled:
        return Examples(x, None, None, None, None)
    answers, field = (targets, "targets") if labels is None else (labels, "labels")
    if answers is not None and len(answers) != len(x):
        raise InvalidInput(field, f"There are {len(answers)} {field} for {len(x)} rows of inputs.")
    counts = None if weights is None else _weights(weights, len(x))
    if targets is not None:
        if classes is not None:
            raise InvalidInput("classes", "Classes go with labels; these are targets.")
        return Examples(x, _matrix(targets, "targets"), None, None, counts)
    codes, names = _encode(labels if labels is not None else (), classes)
    return Examples(x, None, codes, names, counts)


def _matrix(array: Array, field: str) -> npt.NDArray[np.floating]:
    """As float32 where that changes no number, else float64; two-dimensional, in row order, finite."""
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise InvalidInput(field, f"Expected numbers, got an array of type {array.dtype}.")
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
        narrow = bool(array.min() >= -_EXACT_IN_FLOAT32 and array.max() <= _EXACT_IN_FLOAT32)
    matrix: npt.NDArray[np.floating] = np.ascontiguousarray(array).astype(
        np.float32 if narrow else np.float64, copy=False
    )
    _check_finite(matrix, field)
    return matrix


def _check_finite(matrix: npt.NDArray[np.floating], field: str) -> None:
    rows_at_once = max(1, 2**20 // matrix.shape[1])
    for start in range(0, len(matrix), rows_at_once):
        finite = np.isfinite(matrix[start : start + rows_at_once])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value = matrix[start + row, column]
            raise InvalidInput(
                f"{field}.{start + row}.{column}",
                f"The value is {'not a number' if np.isnan(value) else 'infinite'}; only finite numbers are accepted.",
            )


def _weights(array: Array, rows: int) -> npt.NDArray[np.float64]:
    """One number for each row: finite, at least 0, with a finite sum above 0."""
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise InvalidInput("weights", f"Expected numbers, got an array of type {array.dtype}.")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise InvalidInput("weights", f"Expected one weight per row, got an array of shape {array.shape}.")
    if len(array) != rows:
        raise InvalidInput("weights", f"There are {len(array)} weights for {rows} rows of inputs.")
    weights = array.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        row = int(wrong[0])
        raise InvalidInput(
            f"weights.{row}", f"The weight is {weights[row]:g}; a weight is a finite number of at least 0."
        )
    with np.errstate(over="ignore"):  # seen below
        total = weights.sum()
    if total == 0:
        raise InvalidInput("weights", "All weights are 0; at least 1 row must count.")
    if not np.isfinite(total):
        raise InvalidInput("weights", "The sum of the weights is beyond the finite numbers; give smaller ones.")
    return weights


def _encode(
    labels: Array | Sequence[Label], classes: Sequence[Label] | None
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    names = _names(labels, "labels")
    known = in_order(names) if classes is None else tuple(_names(classes, "classes"))
    places = {each: code for code, each in enumerate(known)}
    if len(places) != len(known):
        raise InvalidInput("classes", "Every class is listed once.")
    codes = np.fromiter((places.get(each, -1) for each in names), np.int32, len(names))
    wrong = np.flatnonzero(codes < 0)
    if wrong.size:
        row = int(wrong[0])
        raise InvalidInput(f"labels.{row}", f"The label {names[row]!r} is not one of the classes {_listed(known)}.")
    if len(known) < 2:
        raise InvalidInput("labels", "There is only one class; a classifier needs at least 2.")
    return codes, known


def _names(labels: Array | Sequence[Label], field: str) -> list[str]:
    """One for each row."""
    names = [name(label) for label in (_plain(labels, field) if isinstance(labels, np.ndarray) else labels)]
    if not names:
        raise InvalidInput(field, f"There are no {field}.")
    for row, each in enumerate(names):
        if len(each) > LONGEST:
            raise InvalidInput(f"{field}.{row}", f"This has {len(each)} characters; a class has at most {LONGEST}.")
    return names


def _plain(column: Array, field: str) -> Sequence[Label]:
    """One label per row: whole numbers, truth values, or text."""
    if column.ndim == 2 and column.shape[1] == 1:
        column = column.reshape(-1)
    if column.dtype.kind == "S":
        column = np.char.decode(column, "utf-8", "replace")  # type: ignore[arg-type]  # of bytes: kind S
    if column.dtype.kind == "f" and np.array_equal(column, np.floor(column)) and np.abs(column).max() < 2**53:
        column = column.astype(np.int64)
    if column.ndim != 1 or column.dtype.kind not in "buiU":
        raise InvalidInput(
            field,
            f"Expected one label per row, whole numbers or text, got {column.dtype} of shape {column.shape}; "
            "numbers to be met as they are go into targets.",
        )
    found: list[Label] = column.tolist()
    return found


def _listed(known: Sequence[str]) -> str:
    shown = ", ".join(known[:20])
    return shown if len(known) <= 20 else f"{shown}, … ({len(known)} in all)"


def from_rows(rows: Sequence[Sequence[float]], field: str) -> npt.NDArray[np.float64]:
    """Rows of numbers as an array. Raises InvalidInput naming the first row of another length."""
    width = len(rows[0])
    for place, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(
                f"{field}.{place}", f"This row has {len(row)} numbers, the first has {width}; all rows have the same."
            )
    return np.array(rows, np.float64)
