"""Each activation once: its value, and its slope as a function of its output.

Writing the slope σ′ in terms of a = σ(z) lets a layer overwrite z with a and still run backwards.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.nn.compiling import formula, scalar

ActivationName = Literal["identity", "sigmoid", "tanh", "relu", "softmax"]
Matrix = npt.NDArray[np.floating]
Vector = npt.NDArray[np.floating]


@formula
def identity(z: float) -> float:
    return z


@formula
def identity_slope(a: float) -> float:
    return scalar(1.0, a)


@formula
def sigmoid(z: float) -> float:
    """1 / (1 + e⁻ᶻ), written so that it cannot overflow: ½ + ½ tanh(z/2)."""
    half = scalar(0.5, z)
    return half + half * math.tanh(half * z)


@formula
def sigmoid_slope(a: float) -> float:
    return a * (scalar(1.0, a) - a)


@formula
def tanh(z: float) -> float:
    return math.tanh(z)


@formula
def tanh_slope(a: float) -> float:
    return scalar(1.0, a) - a * a


@formula
def relu(z: float) -> float:
    """max(z, 0); a NaN stays one, so that divergence is seen."""
    return scalar(0.0, z) if z < scalar(0.0, z) else z


@formula
def relu_slope(a: float) -> float:
    return scalar(1.0, a) if a > scalar(0.0, a) else scalar(0.0, a)


class Activation(NamedTuple):
    """What a layer needs of an activation, over a whole mini-batch and in place.

    `forward(z, b)`: z (rows, units) becomes σ(z + b), b (units).
    `backward(a, delta)`: delta (rows, units) holds ∂C/∂a and becomes ∂C/∂z.
    """

    forward: Callable[[Matrix, Vector], None]
    backward: Callable[[Matrix, Matrix], None]


def _elementwise(value: Callable[[float], float], slope: Callable[[float], float]) -> Activation:
    @formula
    def forward(z: Matrix, b: Vector) -> None:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = value(z[i, j] + b[j])

    @formula
    def backward(a: Matrix, delta: Matrix) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                delta[i, j] *= slope(a[i, j])

    return Activation(forward, backward)


@formula
def _softmax_forward(z: Matrix, b: Vector) -> None:
    """aⱼ = e^(zⱼ − max z) / Σ e^(zₖ − max z): the largest is subtracted so that nothing overflows."""
    for i in range(z.shape[0]):
        largest = z[i, 0] + b[0]
        for j in range(z.shape[1]):
            z[i, j] += b[j]
            largest = max(largest, z[i, j])
        total = scalar(0.0, largest)
        for j in range(z.shape[1]):
            z[i, j] = math.exp(z[i, j] - largest)
            total += z[i, j]
        share = scalar(1.0, total) / total
        for j in range(z.shape[1]):
            z[i, j] *= share


@formula
def _softmax_backward(a: Matrix, delta: Matrix) -> None:
    """∂aⱼ/∂zₖ = aⱼ (1{j=k} − aₖ), so ∂C/∂zₖ = aₖ (∂C/∂aₖ − Σⱼ aⱼ ∂C/∂aⱼ)."""
    for i in range(a.shape[0]):
        mean = scalar(0.0, a[i, 0])
        for j in range(a.shape[1]):
            mean += a[i, j] * delta[i, j]
        for j in range(a.shape[1]):
            delta[i, j] = a[i, j] * (delta[i, j] - mean)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "identity": _elementwise(identity, identity_slope),
    "sigmoid": _elementwise(sigmoid, sigmoid_slope),
    "tanh": _elementwise(tanh, tanh_slope),
    "relu": _elementwise(relu, relu_slope),
    "softmax": Activation(_softmax_forward, _softmax_backward),
}
