"""Each cost once: its value, and its gradient with respect to the network's output.

Costs are means over the rows of a mini-batch of the sum over the outputs of `value(a, y)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import ActivationName, CostName
from nabla.engine.nn.array_views import Matrix, Vector, whole
from nabla.engine.nn.compiled_layout import COST, FIRST, Rows
from nabla.engine.nn.jit import formula, kernel, named, scalar

Weights = npt.NDArray[np.float64]

# Logarithms are taken of at least this much, so that a saturated output that is wrong has a large cost and not
# an infinite one. Only the reported cost is touched: deltas do not pass through here.
_FLOOR = 1e-30


@formula
def quadratic(a: float, y: float, setting: float) -> float:
    """½ (a − y)². Nielsen, "Neural Networks and Deep Learning", chapter 2."""
    return 0.5 * float(a - y) * float(a - y)


@formula
def error(a: float, y: float, setting: float) -> float:
    """a − y: ∂C/∂a of the quadratic cost, and ∂C/∂z of a cross-entropy whose output activation is its own.

    For cross-entropy with sigmoid or softmax the slope of the activation cancels (Nielsen, chapter 3), and the
    cancelled form is exact where a saturates and the quotient would be 0/0.
    """
    return a - y


@formula
def mean_absolute(a: float, y: float, setting: float) -> float:
    """|a − y|."""
    return abs(float(a - y))


@formula
def mean_absolute_slope(a: float, y: float, setting: float) -> float:
    """The sign of a − y; 0 where it is 0."""
    one, zero = scalar(1.0, a), scalar(0.0, a)
    return one if a > y else (-one if a < y else zero * (a - y))


@formula
def huber(a: float, y: float, setting: float) -> float:
    """½ e² for |e| = |a − y| up to `setting`, and linear beyond. Huber, "Robust estimation of a location parameter"."""
    e = abs(float(a - y))
    return 0.5 * e * e if e <= setting else setting * (e - 0.5 * setting)


@formula
def huber_slope(a: float, y: float, setting: float) -> float:
    e, limit = a - y, scalar(setting, a)
    return limit if e > limit else (-limit if e < -limit else e)


@formula
def poisson(a: float, y: float, setting: float) -> float:
    """a − y ln a: the negative logarithm of a Poisson likelihood with mean a, less what does not depend on a."""
    return float(a) - float(y) * math.log(max(float(a), _FLOOR))


@formula
def poisson_slope(a: float, y: float, setting: float) -> float:
    return scalar(1.0, a) - y / a


@formula
def binary_cross_entropy(a: float, y: float, setting: float) -> float:
    """−y ln a − (1 − y) ln(1 − a). Nielsen, chapter 3."""
    at_one = y * math.log(max(float(a), _FLOOR))
    at_zero = (1.0 - y) * math.log(max(1.0 - float(a), _FLOOR))
    return -(at_one + at_zero)


@formula
def categorical_cross_entropy(a: float, y: float, setting: float) -> float:
    """−y ln a, over outputs that sum to one. Bishop, "Pattern Recognition and Machine Learning", 4.3.4."""
    if y == 0.0:
        return 0.0
    return -y * math.log(max(float(a), _FLOOR))


@formula
def weight_of_row(weights: Weights, order: Rows, place: Rows, i: int) -> float:
    """How much row i of a mini-batch counts; an empty vector of weights means that each is 1."""
    return 1.0 if weights.size == 0 else weights[order[place[FIRST] + i]]


@dataclass(frozen=True)
class Cost:
    """A cost as compiled code uses it, over a whole mini-batch. a and y are (rows, outputs).

    `add(a, y, weights, order, place, totals, setting)` adds the sum over rows and outputs, in float64, to the totals.
    `total(a, y, setting)` returns it, all weights being 1.
    `differentiate(a, y, shares, setting)`: y becomes the derivative of the mean, in which row i has `shares[i]`.
    `to_input`: that derivative is ∂C/∂z already; else it is ∂C/∂a and goes back through the activation.
    `outputs`: the output activations for which this is right.
    The setting is the δ of huber; the others have none.
    """

    add: Callable[[Matrix, Matrix, Weights, Rows, Rows, Weights, float], None]
    total: Callable[[Matrix, Matrix, float], float]
    differentiate: Callable[[Matrix, Matrix, Vector, float], None]
    to_input: bool
    outputs: tuple[ActivationName, ...]


def _elementwise(
    value: Callable[[float, float, float], float],
    slope: Callable[[float, float, float], float],
    *,
    to_input: bool = False,
    outputs: tuple[ActivationName, ...] = get_args(ActivationName),
) -> Cost:
    @formula
    @named(f"{value.__name__}_total")
    def total(a: Matrix, y: Matrix, setting: float) -> float:
        outputs, targets = whole(a), whole(y)
        summed = 0.0
        for k in range(outputs.size):
            summed += value(outputs[k], targets[k], setting)
        return summed

    @kernel("add_cost", value)
    @named(f"add_{value.__name__}")
    def add(a: Matrix, y: Matrix, weights: Weights, order: Rows, place: Rows, totals: Weights, setting: float) -> None:
        if weights.size == 0:
            totals[COST] += total(a, y, setting)
        else:
            for i in range(a.shape[0]):
                weight = weight_of_row(weights, order, place, i)
                totals[COST] += weight * total(a[i : i + 1], y[i : i + 1], setting)

    @kernel("differentiate_cost", slope)
    @named(f"{value.__name__}_differentiate")
    def differentiate(a: Matrix, y: Matrix, shares: Vector, setting: float) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                y[i, j] = slope(a[i, j], y[i, j], setting) * shares[i]

    return Cost(add, total, differentiate, to_input, outputs)


COSTS: dict[CostName, Cost] = {
    "quadratic": _elementwise(quadratic, error),
    "mean_absolute": _elementwise(mean_absolute, mean_absolute_slope),
    "huber": _elementwise(huber, huber_slope),
    "poisson": _elementwise(poisson, poisson_slope, outputs=("softplus",)),
    "binary_cross_entropy": _elementwise(binary_cross_entropy, error, to_input=True, outputs=("sigmoid",)),
    "categorical_cross_entropy": _elementwise(categorical_cross_entropy, error, to_input=True, outputs=("softmax",)),
}
