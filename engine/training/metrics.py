"""The coefficient of determination R²: how much of the targets' spread a network explains.

A column whose targets are all the same has none. Source: Draper and Smith, "Applied Regression Analysis", 1998; over
several columns the mean, as in scikit-learn.
"""

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.array_views import Matrix

Vector = npt.NDArray[np.float64]
FloatingMatrix = npt.NDArray[np.floating]

# Targets read at once.
_NUMBERS_AT_ONCE = 2**20


def spread_of(y: FloatingMatrix, rows: npt.NDArray[np.int64]) -> Vector:
    """Σ (y − mean of y)² of each column over the given rows; exactly 0 where all are the same."""
    at_once = max(1, _NUMBERS_AT_ONCE // y.shape[1])
    blocks = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
    total = np.zeros(y.shape[1])
    varies = np.zeros(y.shape[1], np.bool_)
    for block in blocks:
        total += y[block].sum(axis=0, dtype=np.float64)
        varies |= (y[block] != y[rows[0]]).any(axis=0)
    mean = total / len(rows)
    spread = np.zeros(y.shape[1])
    with np.errstate(over="ignore"):  # such a spread gives no R²
        for block in blocks:
            spread += np.square(y[block] - mean).sum(axis=0)
    return np.where(varies, spread, 0.0)


def r2_of(squared: Vector, spread: Vector) -> list[float | None]:
    """1 − squared errors / spread of each column; None where that is no finite number."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r2 = 1.0 - squared / spread
    usable = np.isfinite(r2) & (spread > 0) & np.isfinite(spread)
    return [float(value) if good else None for value, good in zip(r2, usable, strict=True)]


def mean_r2(squared: Vector, spread: Vector) -> float | None:
    """Over the columns that have one."""
    known = [value for value in r2_of(squared, spread) if value is not None]
    return float(np.mean(known)) if known else None


Codes = npt.NDArray[np.int64]

# They are least where outputs are probabilities.
_COSTS = ("binary_cross_entropy", "categorical_cross_entropy")


def scores_of(outputs: Matrix) -> Matrix:
    """(rows, classes): a single output tells two classes apart, and is the second's."""
    return np.hstack((1 - outputs, outputs)) if outputs.shape[1] == 1 else outputs


def likeliest(outputs: Matrix, count: int) -> Codes:
    """(rows, count or all): the codes of the classes with the highest scores of each row, the highest first; of equal
    ones that which is predicted: the class that comes first, or for a single output of ½ the second."""
    if outputs.shape[1] == 1:
        outputs = np.hstack((outputs, 1 - outputs))
        codes: Codes = 1 - np.argsort(-outputs, axis=1, kind="stable")[:, :count]
    else:
        codes = np.argsort(-outputs, axis=1, kind="stable")[:, :count]
    return codes


def check_has_classes(classes: tuple[str, ...] | None, field: str) -> None:
    """Raises InvalidInput if there are none."""
    if classes is None:
        raise InvalidInput(field, "These weights were trained on numbers, not on classes.")


def gives_probabilities(architecture: Architecture, classes: tuple[str, ...] | None) -> bool:
    return classes is not None and architecture.cost in _COSTS


def check_gives_probabilities(architecture: Architecture, classes: tuple[str, ...] | None, field: str) -> None:
    """Raises InvalidInput unless the scores of classes are probabilities."""
    check_has_classes(classes, field)
    if not gives_probabilities(architecture, classes):
        raise InvalidInput(
            field,
            f"The network learns by the cost {architecture.cost}, which makes no probabilities of its outputs; "
            f"{' and '.join(_COSTS)} do.",
        )
