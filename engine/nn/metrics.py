"""Metrics of a mini-batch besides its cost: correct predictions of classes, or absolute and squared errors."""

import numpy as np

from nabla.engine.nn.jit import device_kernel, jit_inline
from nabla.engine.nn.layout import BINARY_ACCURACY, CATEGORICAL_ACCURACY, CORRECT, ERRORS
from nabla.engine.typing import Float64Array, Matrix


def accumulate_metrics(metric_kind: int, a: Matrix, y: Matrix, metric_sums: Float64Array) -> None:
    """Add the metrics that `metric_kind` selects to the metric sums."""
    if metric_kind == CATEGORICAL_ACCURACY:
        count_categorical_correct(a, y, metric_sums)
    elif metric_kind == BINARY_ACCURACY:
        count_binary_correct(a, y, metric_sums)
    else:
        add_absolute_errors(a, y, metric_sums)
        add_squared_errors(a, y, metric_sums)


@device_kernel("count_categorical_correct")
def count_categorical_correct(a: Matrix, y: Matrix, metric_sums: Float64Array) -> None:
    """Count the rows whose largest output is that of the largest target."""
    correct = 0
    for i in range(a.shape[0]):
        correct += np.argmax(a[i]) == np.argmax(y[i])
    metric_sums[CORRECT] += correct


@device_kernel("count_binary_correct")
def count_binary_correct(a: Matrix, y: Matrix, metric_sums: Float64Array) -> None:
    """Count the outputs on the same side of ½ as their targets."""
    correct = 0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            correct += is_binary_correct(a[i, j], y[i, j])
    metric_sums[CORRECT] += correct


@jit_inline
def is_binary_correct(a: float, y: float) -> bool:
    """Return whether output and target are on the same side of ½."""
    return (a >= 0.5) == (y >= 0.5)


@device_kernel("add_absolute_errors")
def add_absolute_errors(a: Matrix, y: Matrix, metric_sums: Float64Array) -> None:
    """Add the absolute errors of each output."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            metric_sums[ERRORS + j] += absolute_error(a[i, j], y[i, j])


@jit_inline
def absolute_error(a: float, y: float) -> float:
    """Return |a − y| in float64."""
    return abs(float(a) - float(y))


@device_kernel("add_squared_errors")
def add_squared_errors(a: Matrix, y: Matrix, metric_sums: Float64Array) -> None:
    """Add the squared errors of each output; their sums follow those of the absolute errors."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            metric_sums[ERRORS + a.shape[1] + j] += squared_error(a[i, j], y[i, j])


@jit_inline
def squared_error(a: float, y: float) -> float:
    """Return (a − y)² in float64."""
    error = float(a) - float(y)
    return error * error
