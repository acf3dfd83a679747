"""What is counted of a mini-batch beside its cost: right answers, or errors."""

import numpy as np
import numpy.typing as npt

from engine.nn.compiling import formula
from engine.nn.plan import ABSOLUTE, CLASSES, CORRECT, SIDES, SQUARED
from engine.nn.views import Matrix


@formula
def count(measure: int, a: Matrix, y: Matrix, totals: npt.NDArray[np.float64]) -> None:
    """Add to the totals what `measure` names: CLASSES, SIDES or NUMBERS."""
    if measure == CLASSES:
        totals[CORRECT] += _right_classes(a, y)
    elif measure == SIDES:
        totals[CORRECT] += _right_sides(a, y)
    else:
        _add_errors(a, y, totals)


@formula
def _right_classes(a: Matrix, y: Matrix) -> int:
    """Rows whose largest output is that of the largest target."""
    right = 0
    for i in range(a.shape[0]):
        right += np.argmax(a[i]) == np.argmax(y[i])
    return right


@formula
def _right_sides(a: Matrix, y: Matrix) -> int:
    """Outputs on the same side of ½ as their targets."""
    right = 0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            right += (a[i, j] >= 0.5) == (y[i, j] >= 0.5)
    return right


@formula
def _add_errors(a: Matrix, y: Matrix, totals: npt.NDArray[np.float64]) -> None:
    """Absolute errors over all outputs, squared errors for each."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            error = float(a[i, j]) - float(y[i, j])
            totals[ABSOLUTE] += abs(error)
            totals[SQUARED + j] += error * error
