"""Costs (losses): the value of each and its derivative with respect to the network's output, written once.

A cost is the mean over the rows of a mini-batch of the sum over the outputs of `value(a, y)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from nabla.engine.literals import ActivationName, CostName
from nabla.engine.nn.array_views import flatten
from nabla.engine.nn.jit import device_kernel, jit_inline, scalar, with_name
from nabla.engine.nn.layout import BATCH_START, COST
from nabla.engine.typing import Float64Array, Matrix, RowIndices, Vector

# Lower bound of arguments of logarithms: a saturated, wrong output has a large cost instead of an infinite one. Only
# the reported cost is affected, since deltas are not computed from it.
_MIN_LOG_ARGUMENT = 1e-30


@jit_inline
def quadratic(a: float, y: float, parameter: float) -> float:
    """Return ½ (a − y)². Source: Nielsen, "Neural Networks and Deep Learning", chapter 2."""
    return 0.5 * float(a - y) * float(a - y)


@jit_inline
def error(a: float, y: float, parameter: float) -> float:
    """Return a − y: ∂C/∂a of the quadratic cost, and ∂C/∂z of cross-entropy with its matching activation.

    For cross-entropy with sigmoid or softmax, the derivative of the activation cancels (Nielsen, chapter 3). The
    cancelled form is exact where a saturates and the quotient would be 0/0.
    """
    return a - y


@jit_inline
def mean_absolute(a: float, y: float, parameter: float) -> float:
    """Return |a − y|."""
    return abs(float(a - y))


@jit_inline
def mean_absolute_derivative(a: float, y: float, parameter: float) -> float:
    """Return the sign of a − y, 0 where they are equal."""
    one, zero = scalar(1.0, a), scalar(0.0, a)
    return one if a > y else (-one if a < y else zero * (a - y))


@jit_inline
def huber(a: float, y: float, parameter: float) -> float:
    """Return ½ e² for |e| = |a − y| up to δ, and a linear function beyond.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    e = abs(float(a - y))
    return 0.5 * e * e if e <= parameter else parameter * (e - 0.5 * parameter)


@jit_inline
def huber_derivative(a: float, y: float, parameter: float) -> float:
    """Return a − y, clipped to ±δ."""
    e, limit = a - y, scalar(parameter, a)
    return limit if e > limit else (-limit if e < -limit else e)


@jit_inline
def poisson(a: float, y: float, parameter: float) -> float:
    """Return a − y ln a, the negative log-likelihood of a Poisson distribution with mean a, up to a constant."""
    return float(a) - float(y) * math.log(max(float(a), _MIN_LOG_ARGUMENT))


@jit_inline
def poisson_derivative(a: float, y: float, parameter: float) -> float:
    """Return 1 − y / a."""
    return scalar(1.0, a) - y / a


@jit_inline
def binary_cross_entropy(a: float, y: float, parameter: float) -> float:
    """Return −y ln a − (1 − y) ln(1 − a). Source: Nielsen, chapter 3."""
    positive = y * math.log(max(float(a), _MIN_LOG_ARGUMENT))
    negative = (1.0 - y) * math.log(max(1.0 - float(a), _MIN_LOG_ARGUMENT))
    return -(positive + negative)


@jit_inline
def categorical_cross_entropy(a: float, y: float, parameter: float) -> float:
    """Return −y ln a, for outputs that sum to 1.

    Source: Bishop, "Pattern Recognition and Machine Learning", section 4.3.4.
    """
    if y == 0.0:
        return 0.0
    return -y * math.log(max(float(a), _MIN_LOG_ARGUMENT))


@jit_inline
def sample_weight(weights: Float64Array, order: RowIndices, cursor: RowIndices, i: int) -> float:
    """Return the sample weight of row i of a mini-batch; it is 1 if `weights` is empty."""
    return 1.0 if weights.size == 0 else weights[order[cursor[BATCH_START] + i]]


@dataclass(frozen=True)
class Cost:
    """A cost over a mini-batch; a and y have shape (rows, outputs). `parameter` is the δ of huber, else unused.

    Attributes:
        add: `add(a, y, weights, order, cursor, metric_sums, parameter)` adds the weighted sum over rows and outputs, in
            float64, to the metric sums.
        differentiate: `differentiate(a, y, batch_weights, parameter)` replaces y by the derivative of the mean, in
            which row i has the weight `batch_weights[i]`.
        wrt_input: Whether that derivative is ∂C/∂z already; otherwise it is ∂C/∂a, to be multiplied by σ′.
        outputs: Output activations for which the cost is defined.
    """

    add: Callable[[Matrix, Matrix, Float64Array, RowIndices, RowIndices, Float64Array, float], None]
    differentiate: Callable[[Matrix, Matrix, Vector, float], None]
    wrt_input: bool
    outputs: tuple[ActivationName, ...]


def _build_cost(
    value: Callable[[float, float, float], float],
    derivative: Callable[[float, float, float], float],
    *,
    wrt_input: bool = False,
    outputs: tuple[ActivationName, ...] = get_args(ActivationName),
) -> Cost:
    """Build a cost from its value and derivative for a single output."""

    @jit_inline
    @with_name(f"{value.__name__}_total")
    def total(a: Matrix, y: Matrix, parameter: float) -> float:
        outputs, targets = flatten(a), flatten(y)
        cost = 0.0
        for k in range(outputs.size):
            cost += value(outputs[k], targets[k], parameter)
        return cost

    @device_kernel("add_cost", value)
    @with_name(f"add_{value.__name__}")
    def add(
        a: Matrix,
        y: Matrix,
        weights: Float64Array,
        order: RowIndices,
        cursor: RowIndices,
        metric_sums: Float64Array,
        parameter: float,
    ) -> None:
        if weights.size == 0:
            metric_sums[COST] += total(a, y, parameter)
        else:
            for i in range(a.shape[0]):
                weight = sample_weight(weights, order, cursor, i)
                metric_sums[COST] += weight * total(a[i : i + 1], y[i : i + 1], parameter)

    @device_kernel("differentiate_cost", derivative)
    @with_name(f"{value.__name__}_differentiate")
    def differentiate(a: Matrix, y: Matrix, batch_weights: Vector, parameter: float) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                y[i, j] = derivative(a[i, j], y[i, j], parameter) * batch_weights[i]

    return Cost(add, differentiate, wrt_input, outputs)


COSTS: dict[CostName, Cost] = {
    "quadratic": _build_cost(quadratic, error),
    "mean_absolute": _build_cost(mean_absolute, mean_absolute_derivative),
    "huber": _build_cost(huber, huber_derivative),
    "poisson": _build_cost(poisson, poisson_derivative, outputs=("softplus",)),
    "binary_cross_entropy": _build_cost(binary_cross_entropy, error, wrt_input=True, outputs=("sigmoid",)),
    "categorical_cross_entropy": _build_cost(categorical_cross_entropy, error, wrt_input=True, outputs=("softmax",)),
}
