"""What is counted of a mini-batch beside its cost: right answers, or errors."""

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.array_views import Matrix
from nabla.engine.nn.compiled_layout import CLASSES, CORRECT, ERRORS, SIDES
from nabla.engine.nn.jit import formula, kernel

Totals = npt.NDArray[np.float64]


@formula
def count(measure: int, a: Matrix, y: Matrix, totals: Totals) -> None:
    """Add to the totals what `measure` names: CLASSES, SIDES or NUMBERS."""
    if measure == CLASSES:
        count_classes(a, y, totals)
    elif measure == SIDES:
        count_sides(a, y, totals)
    else:
        add_absolute_errors(a, y, totals)
        add_squared_errors(a, y, totals)


@kernel("count_classes")
def count_classes(a: Matrix, y: Matrix, totals: Totals) -> None:
    """Rows whose largest output is that of the largest target."""
    right = 0
    for i in range(a.shape[0]):
        right += np.argmax(a[i]) == np.argmax(y[i])
    totals[CORRECT] += right


@kernel("count_sides")
def count_sides(a: Matrix, y: Matrix, totals: Totals) -> None:
    """Outputs on the same side of ½ as their targets."""
    right = 0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            right += same_side(a[i, j], y[i, j])
    totals[CORRECT] += right


@formula
def same_side(a: float, y: float) -> bool:
    return (a >= 0.5) == (y >= 0.5)


@kernel("add_absolute_errors")
def add_absolute_errors(a: Matrix, y: Matrix, totals: Totals) -> None:
    """For each output."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            totals[ERRORS + j] += absolute_error(a[i, j], y[i, j])


@formula
def absolute_error(a: float, y: float) -> float:
    return abs(float(a) - float(y))


@kernel("add_squared_errors")
def add_squared_errors(a: Matrix, y: Matrix, totals: Totals) -> None:
    """For each output, behind the absolute ones."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            totals[ERRORS + a.shape[1] + j] += squared_error(a[i, j], y[i, j])


@formula
def squared_error(a: float, y: float) -> float:
    error = float(a) - float(y)
    return error * error
