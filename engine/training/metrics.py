"""Metrics of outputs: R², MAE and RMSE for numbers; scores and predicted classes for classes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.schema import Classes
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.architecture import Architecture
from nabla.engine.typing import Float64Array, FloatArray, RowIndices

# Maximum targets that are read at a time.
_BLOCK_NUMBERS = 2**20

# Costs whose minimum is attained by probabilities.
_PROBABILITY_COSTS = ("binary_cross_entropy", "categorical_cross_entropy")


@dataclass(frozen=True)
class RegressionMetrics:
    """Metrics of numeric outputs, in the units of the targets.

    Attributes:
        r2: Coefficient of determination; None if the targets are constant, or so close that it is not finite.
        mae: Mean absolute error.
        rmse: Root mean squared error.
    """

    r2: float | None
    mae: float
    rmse: float


@dataclass(frozen=True, eq=False)
class RegressionSums:
    """Sums over rows from which the metrics of each column follow.

    Attributes:
        rows: Number of rows.
        absolute_errors: (columns) Σ |output − target|.
        squared_errors: (columns) Σ (output − target)².
        total_squares: (columns) Σ (target − mean)²; see `total_sum_of_squares`.
        target_scale: (columns) Size of one unit of the preprocessed targets in the units of the original ones.
    """

    rows: int
    absolute_errors: Float64Array
    squared_errors: Float64Array
    total_squares: Float64Array
    target_scale: Float64Array

    def per_column(self) -> tuple[RegressionMetrics, ...]:
        """Return the metrics of each column."""
        return tuple(map(RegressionMetrics, self._r2(), self._mae().tolist(), self._rmse().tolist()))

    def mean(self) -> RegressionMetrics:
        """Return the means over the columns; that of R² is over the columns that have one, as in scikit-learn."""
        defined = [value for value in self._r2() if value is not None]
        r2 = float(np.mean(defined)) if defined else None
        return RegressionMetrics(r2, float(self._mae().mean()), float(self._rmse().mean()))

    def _mae(self) -> Float64Array:
        return np.asarray(self.absolute_errors / self.rows * self.target_scale)

    def _rmse(self) -> Float64Array:
        return np.asarray(np.sqrt(self.squared_errors / self.rows) * self.target_scale)

    def _r2(self) -> list[float | None]:
        """Return 1 − squared errors / total squares of each column.

        Source: Draper and Smith, "Applied Regression Analysis", 1998.
        """
        total = self.total_squares
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            r2 = 1.0 - self.squared_errors / total
        defined = np.isfinite(r2) & (total > 0) & np.isfinite(total)
        return [float(value) if is_defined else None for value, is_defined in zip(r2, defined, strict=True)]


def total_sum_of_squares(y: FloatArray, rows: RowIndices) -> Float64Array:
    """Return Σ (y − mean of y)² of each column of y (rows, columns) over the given rows.

    The result is exactly 0 for constant columns, and infinite beyond the range of float64.
    """
    block_rows = max(1, _BLOCK_NUMBERS // y.shape[1])
    blocks = [rows[first : first + block_rows] for first in range(0, len(rows), block_rows)]
    total = np.zeros(y.shape[1])
    varies = np.zeros(y.shape[1], np.bool_)
    for block in blocks:
        total += y[block].sum(axis=0, dtype=np.float64)
        varies |= (y[block] != y[rows[0]]).any(axis=0)
    mean = total / len(rows)
    squares = np.zeros(y.shape[1])
    with np.errstate(over="ignore"):  # an infinite sum of squares gives no R²
        for block in blocks:
            squares += np.square(y[block] - mean).sum(axis=0)
    return np.where(varies, squares, 0.0)


def predicted_codes(outputs: FloatArray) -> npt.NDArray[np.intp]:
    """Return the predicted class of each row of `outputs` (rows, outputs).

    It is the class of the largest output; a single output predicts the second class from ½ on.
    """
    if outputs.shape[1] == 1:
        return (outputs[:, 0] >= 0.5).astype(np.intp)
    codes: npt.NDArray[np.intp] = outputs.argmax(axis=1)
    return codes


def class_scores(outputs: FloatArray) -> FloatArray:
    """Return the score of each class (rows, classes); a single output is the score of the second of two classes."""
    return np.hstack((1 - outputs, outputs)) if outputs.shape[1] == 1 else outputs


def top_k_codes(outputs: FloatArray, k: int) -> npt.NDArray[np.int64]:
    """Return the classes with the k highest scores of each row (rows, at most k), in descending order.

    Of equal scores the predicted class comes first: the first class, or the second for a single output of ½.
    """
    if outputs.shape[1] == 1:
        outputs = np.hstack((outputs, 1 - outputs))
        codes: npt.NDArray[np.int64] = 1 - np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    else:
        codes = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    return codes


def gives_probabilities(architecture: Architecture, classes: Classes | None) -> bool:
    """Return whether the scores of the classes are probabilities, which depends on the cost."""
    return classes is not None and architecture.cost in _PROBABILITY_COSTS


def check_has_classes(classes: Classes | None, field: str) -> None:
    """Raise InvalidInput for `field` if the weights were trained on numbers."""
    if classes is None:
        raise InvalidInput(field, "These weights were trained on numbers, not on classes.")


def check_gives_probabilities(architecture: Architecture, classes: Classes | None, field: str) -> None:
    """Raise InvalidInput for `field` unless the scores of the classes are probabilities."""
    check_has_classes(classes, field)
    if not gives_probabilities(architecture, classes):
        raise InvalidInput(
            field,
            f"The network was trained with the cost {architecture.cost}, whose outputs are not probabilities; those of "
            f"{' and '.join(_PROBABILITY_COSTS)} are.",
        )
