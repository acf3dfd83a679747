"""Each activation once: its value a = σ(z), and its slope σ′.

Where the slope can be written in terms of a, a layer overwrites z with a and still runs backwards; the others keep z.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from nabla.engine.literals import ActivationName
from nabla.engine.nn import vector_math
from nabla.engine.nn.array_views import Matrix, Vector, whole
from nabla.engine.nn.jit import formula, kernel, named, scalar


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
    return half + half * vector_math.tanh(half * z)


@formula
def sigmoid_slope(a: float) -> float:
    return a * (scalar(1.0, a) - a)


@formula
def tanh(z: float) -> float:
    return vector_math.tanh(z)


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


# What leaky_relu lets through below 0.
LEAK = 0.01


@formula
def leaky_relu(z: float) -> float:
    """z, or 0.01 z below 0. Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models"."""
    return scalar(LEAK, z) * z if z < scalar(0.0, z) else z


@formula
def leaky_relu_slope(a: float) -> float:
    return scalar(1.0, a) if a > scalar(0.0, a) else scalar(LEAK, a)


@formula
def elu(z: float) -> float:
    """z, or eᶻ − 1 below 0. Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning", 2016."""
    below = vector_math.expm1(z)
    return below if z < scalar(0.0, z) else z


@formula
def elu_slope(a: float) -> float:
    return scalar(1.0, a) if a > scalar(0.0, a) else a + scalar(1.0, a)


# λ and α of selu, which keep mean 0 and variance 1 from layer to layer.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


@formula
def selu(z: float) -> float:
    """λ z, or λ α (eᶻ − 1) below 0. Klambauer et al., "Self-normalizing neural networks", 2017."""
    below = scalar(SELU_SCALE * SELU_ALPHA, z) * vector_math.expm1(z)
    return below if z < scalar(0.0, z) else scalar(SELU_SCALE, z) * z


@formula
def selu_slope(a: float) -> float:
    return scalar(SELU_SCALE, a) if a > scalar(0.0, a) else a + scalar(SELU_SCALE * SELU_ALPHA, a)


@formula
def gelu(z: float) -> float:
    """z Φ(z), Φ the normal distribution. Hendrycks and Gimpel, "Gaussian error linear units", 2016."""
    half = scalar(0.5, z)
    return half * z * (scalar(1.0, z) + math.erf(z * scalar(math.sqrt(0.5), z)))


@formula
def gelu_slope(z: float) -> float:
    half = scalar(0.5, z)
    share = half * (scalar(1.0, z) + math.erf(z * scalar(math.sqrt(0.5), z)))
    return share + z * scalar(1 / math.sqrt(2 * math.pi), z) * vector_math.exp(-half * z * z)


@formula
def silu(z: float) -> float:
    """z σ(z) with the sigmoid σ. Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2018."""
    return z * sigmoid(z)


@formula
def silu_slope(z: float) -> float:
    share = sigmoid(z)
    return share * (scalar(1.0, z) + z * (scalar(1.0, z) - share))


@formula
def softplus(z: float) -> float:
    """ln(1 + eᶻ), written so that eᶻ cannot overflow. Dugas et al., 2000."""
    linear = scalar(0.0, z) if z < scalar(0.0, z) else z
    return linear + math.log1p(vector_math.exp(-abs(z)))


@formula
def softplus_slope(a: float) -> float:
    """σ(z) = 1 − e⁻ᵃ."""
    return -vector_math.expm1(-a)


@formula
def sin(z: float) -> float:
    """Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020."""
    return math.sin(z)


@formula
def sin_slope(z: float) -> float:
    return math.cos(z)


class Activation(NamedTuple):
    """What a layer needs of an activation, over a whole mini-batch. z, a and delta are (rows, units), b is (units).

    `forward(z, b, a)`: a becomes σ(z + b), and z becomes z + b.
    `backward(z, a, delta)`: delta holds ∂C/∂a and becomes ∂C/∂z.
    `keeps_input`: z and a are different memory; else they are the same, and hold a.
    """

    forward: Callable[[Matrix, Vector, Matrix], None]
    backward: Callable[[Matrix, Matrix, Matrix], None]
    keeps_input: bool


@formula
def _add_bias(z: Matrix, b: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]


# What follows goes through matrices as if they were vectors: rows of ten outputs would leave most of a processor's
# lanes empty.


def _from_output(value: Callable[[float], float], slope: Callable[[float], float]) -> Activation:
    """An activation whose slope is a function of its output, worked out in place."""

    @kernel("forward_from_output", value)
    @named(f"{value.__name__}_forward")
    def forward(z: Matrix, b: Vector, a: Matrix) -> None:
        _add_bias(z, b)
        flat = whole(z)
        for k in range(flat.size):
            flat[k] = value(flat[k])

    @kernel("backward_from_output", slope)
    @named(f"{value.__name__}_backward")
    def backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
        flat, outputs = whole(delta), whole(a)
        for k in range(flat.size):
            flat[k] *= slope(outputs[k])

    return Activation(forward, backward, keeps_input=False)


def _from_input(value: Callable[[float], float], slope: Callable[[float], float]) -> Activation:
    """An activation whose slope is a function of its input."""

    @kernel("forward_from_input", value)
    @named(f"{value.__name__}_forward")
    def forward(z: Matrix, b: Vector, a: Matrix) -> None:
        _add_bias(z, b)
        inputs, outputs = whole(z), whole(a)
        for k in range(inputs.size):
            outputs[k] = value(inputs[k])

    @kernel("backward_from_input", slope)
    @named(f"{value.__name__}_backward")
    def backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
        flat, inputs = whole(delta), whole(z)
        for k in range(flat.size):
            flat[k] *= slope(inputs[k])

    return Activation(forward, backward, keeps_input=True)


@formula
def softmax_power(z: float, largest: float) -> float:
    """e^(z − max z): the largest of the row is subtracted so that nothing overflows."""
    return vector_math.exp(z - largest)


@formula
def softmax_delta(a: float, delta: float, mean: float) -> float:
    """∂aⱼ/∂zₖ = aⱼ (1{j=k} − aₖ), so ∂C/∂zₖ = aₖ (∂C/∂aₖ − Σⱼ aⱼ ∂C/∂aⱼ)."""
    return a * (delta - mean)


@kernel("softmax_forward")
def _softmax_forward(z: Matrix, b: Vector, a: Matrix) -> None:
    """aⱼ = e^(zⱼ − max z) / Σ e^(zₖ − max z)."""
    for i in range(z.shape[0]):
        largest = z[i, 0] + b[0]
        for j in range(z.shape[1]):
            z[i, j] += b[j]
            largest = max(largest, z[i, j])
        total = scalar(0.0, largest)
        for j in range(z.shape[1]):
            z[i, j] = softmax_power(z[i, j], largest)
            total += z[i, j]
        share = scalar(1.0, total) / total
        for j in range(z.shape[1]):
            z[i, j] *= share


@kernel("softmax_backward")
def _softmax_backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
    for i in range(a.shape[0]):
        mean = scalar(0.0, a[i, 0])
        for j in range(a.shape[1]):
            mean += a[i, j] * delta[i, j]
        for j in range(a.shape[1]):
            delta[i, j] = softmax_delta(a[i, j], delta[i, j], mean)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "identity": _from_output(identity, identity_slope),
    "sigmoid": _from_output(sigmoid, sigmoid_slope),
    "tanh": _from_output(tanh, tanh_slope),
    "relu": _from_output(relu, relu_slope),
    "leaky_relu": _from_output(leaky_relu, leaky_relu_slope),
    "elu": _from_output(elu, elu_slope),
    "selu": _from_output(selu, selu_slope),
    "gelu": _from_input(gelu, gelu_slope),
    "silu": _from_input(silu, silu_slope),
    "softplus": _from_output(softplus, softplus_slope),
    "sin": _from_input(sin, sin_slope),
    "softmax": Activation(_softmax_forward, _softmax_backward, keeps_input=False),
}
