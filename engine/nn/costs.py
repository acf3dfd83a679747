"""Each cost once: its value, and its gradient with respect to the network's output.

Costs are means over the rows of a mini-batch of the sum over the outputs of `value(a, y)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from engine.nn.activations import ActivationName, Matrix
from engine.nn.compiling import formula

CostName = Literal["quadratic", "binary_cross_entropy", "categorical_cross_entropy"]

# Logarithms are taken of at least this much, so that a saturated output that is wrong has a large cost and not
# an infinite one. Only the reported cost is touched: deltas do not pass through here.
_FLOOR = 1e-30


@formula
def quadratic(a: float, y: float) -> float:
    """½ (a − y)². Nielsen, "Neural Networks and Deep Learning", chapter 2."""
    return 0.5 * float(a - y) * float(a - y)


@formula
def binary_cross_entropy(a: float, y: float) -> float:
    """−y ln a − (1 − y) ln(1 − a). Nielsen, chapter 3."""
    at_one = y * math.log(max(float(a), _FLOOR))
    at_zero = (1.0 - y) * math.log(max(1.0 - float(a), _FLOOR))
    return -(at_one + at_zero)


@formula
def categorical_cross_entropy(a: float, y: float) -> float:
    """−y ln a, over outputs that sum to one. Bishop, "Pattern Recognition and Machine Learning", 4.3.4."""
    if y == 0.0:
        return 0.0
    return -y * math.log(max(float(a), _FLOOR))


@formula
def error(a: float, y: float) -> float:
    """a − y: ∂C/∂a of the quadratic cost, and ∂C/∂z of a cross-entropy whose output activation is its own.

    For cross-entropy with sigmoid or softmax the slope of the activation cancels (Nielsen, chapter 3), and the
    cancelled form is exact where a saturates and the quotient would be 0/0.
    """
    return a - y


@dataclass(frozen=True)
class Cost:
    """A cost as compiled code uses it, over a whole mini-batch.

    `total(a, y)`: the sum over rows and outputs, in float64; a and y are (rows, outputs).
    `differentiate(a, y)`: y becomes the derivative of that sum, element by element.
    `to_input`: that derivative is ∂C/∂z already; else it is ∂C/∂a and goes back through the activation.
    `outputs`: the output activations for which this is right.
    """

    total: Callable[[Matrix, Matrix], float]
    differentiate: Callable[[Matrix, Matrix], None]
    to_input: bool
    outputs: tuple[ActivationName, ...]


def _elementwise(
    value: Callable[[float, float], float],
    slope: Callable[[float, float], float],
    *,
    to_input: bool,
    outputs: tuple[ActivationName, ...],
) -> Cost:
    @formula
    def total(a: Matrix, y: Matrix) -> float:
        summed = 0.0
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                summed += value(a[i, j], y[i, j])
        return summed

    @formula
    def differentiate(a: Matrix, y: Matrix) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                y[i, j] = slope(a[i, j], y[i, j])

    return Cost(total, differentiate, to_input, outputs)


COSTS: dict[CostName, Cost] = {
    "quadratic": _elementwise(quadratic, error, to_input=False, outputs=get_args(ActivationName)),
    "binary_cross_entropy": _elementwise(binary_cross_entropy, error, to_input=True, outputs=("sigmoid",)),
    "categorical_cross_entropy": _elementwise(categorical_cross_entropy, error, to_input=True, outputs=("softmax",)),
}
