"""Activation functions: the value a = σ(z) and the derivative σ′ of each, written once.

If the derivative is a function of a, a layer overwrites z with a and needs nothing else for its backward pass;
otherwise it keeps z too.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from nabla.engine.literals import ActivationName
from nabla.engine.nn import vector_math
from nabla.engine.nn.array_views import flatten
from nabla.engine.nn.jit import device_kernel, jit_inline, scalar, with_name
from nabla.engine.typing import Matrix, Vector


@jit_inline
def identity(z: float) -> float:
    """Return z."""
    return z


@jit_inline
def identity_derivative(a: float) -> float:
    """Return σ′ = 1."""
    return scalar(1.0, a)


@jit_inline
def sigmoid(z: float) -> float:
    """Return 1 / (1 + e⁻ᶻ), computed as ½ + ½ tanh(z/2), which cannot overflow."""
    half = scalar(0.5, z)
    return half + half * vector_math.tanh(half * z)


@jit_inline
def sigmoid_derivative(a: float) -> float:
    """Return σ′ = a (1 − a)."""
    return a * (scalar(1.0, a) - a)


@jit_inline
def tanh(z: float) -> float:
    """Return tanh z."""
    return vector_math.tanh(z)


@jit_inline
def tanh_derivative(a: float) -> float:
    """Return σ′ = 1 − a²."""
    return scalar(1.0, a) - a * a


@jit_inline
def relu(z: float) -> float:
    """Return max(z, 0). A NaN stays a NaN, so that divergence is detected."""
    return scalar(0.0, z) if z < scalar(0.0, z) else z


@jit_inline
def relu_derivative(a: float) -> float:
    """Return 1 where a > 0, else 0."""
    return scalar(1.0, a) if a > scalar(0.0, a) else scalar(0.0, a)


NEGATIVE_SLOPE = 0.01
"""Derivative of leaky_relu below 0."""


@jit_inline
def leaky_relu(z: float) -> float:
    """Return z, or 0.01 z below 0.

    Source: Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """
    return scalar(NEGATIVE_SLOPE, z) * z if z < scalar(0.0, z) else z


@jit_inline
def leaky_relu_derivative(a: float) -> float:
    """Return 1 where a > 0, else 0.01."""
    return scalar(1.0, a) if a > scalar(0.0, a) else scalar(NEGATIVE_SLOPE, a)


@jit_inline
def elu(z: float) -> float:
    """Return z, or eᶻ − 1 below 0.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning", 2016.
    """
    negative = vector_math.expm1(z)
    return negative if z < scalar(0.0, z) else z


@jit_inline
def elu_derivative(a: float) -> float:
    """Return 1 where a > 0, else a + 1."""
    return scalar(1.0, a) if a > scalar(0.0, a) else a + scalar(1.0, a)


# λ and α of selu, with which activations keep mean 0 and variance 1 from layer to layer.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


@jit_inline
def selu(z: float) -> float:
    """Return λ z, or λ α (eᶻ − 1) below 0.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    negative = scalar(SELU_SCALE * SELU_ALPHA, z) * vector_math.expm1(z)
    return negative if z < scalar(0.0, z) else scalar(SELU_SCALE, z) * z


@jit_inline
def selu_derivative(a: float) -> float:
    """Return λ where a > 0, else a + λ α."""
    return scalar(SELU_SCALE, a) if a > scalar(0.0, a) else a + scalar(SELU_SCALE * SELU_ALPHA, a)


@jit_inline
def gelu(z: float) -> float:
    """Return z Φ(z), where Φ is the cumulative normal distribution.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    half = scalar(0.5, z)
    return half * z * (scalar(1.0, z) + math.erf(z * scalar(math.sqrt(0.5), z)))


@jit_inline
def gelu_derivative(z: float) -> float:
    """Return Φ(z) + z φ(z), where φ is the normal density."""
    half = scalar(0.5, z)
    cumulative = half * (scalar(1.0, z) + math.erf(z * scalar(math.sqrt(0.5), z)))
    return cumulative + z * scalar(1 / math.sqrt(2 * math.pi), z) * vector_math.exp(-half * z * z)


@jit_inline
def silu(z: float) -> float:
    """Return z s(z), where s is the sigmoid.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2018.
    """
    return z * sigmoid(z)


@jit_inline
def silu_derivative(z: float) -> float:
    """Return s (1 + z (1 − s)), where s is the sigmoid of z."""
    s = sigmoid(z)
    return s * (scalar(1.0, z) + z * (scalar(1.0, z) - s))


@jit_inline
def softplus(z: float) -> float:
    """Return ln(1 + eᶻ), computed so that eᶻ cannot overflow.

    Source: Dugas et al., "Incorporating second-order functional knowledge for better option pricing", 2000.
    """
    linear = scalar(0.0, z) if z < scalar(0.0, z) else z
    return linear + math.log1p(vector_math.exp(-abs(z)))


@jit_inline
def softplus_derivative(a: float) -> float:
    """Return σ′ = 1 − e⁻ᵃ, the sigmoid of z."""
    return -vector_math.expm1(-a)


@jit_inline
def sin(z: float) -> float:
    """Return sin z.

    Source: Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020.
    """
    return math.sin(z)


@jit_inline
def sin_derivative(z: float) -> float:
    """Return cos z."""
    return math.cos(z)


class Activation(NamedTuple):
    """An activation applied to a mini-batch. z, a and delta have shape (rows, units), b has shape (units).

    Attributes:
        forward: `forward(z, b, a)` sets z to z + b and a to σ(z + b).
        backward: `backward(z, a, delta)` replaces ∂C/∂a in delta by ∂C/∂z.
        keeps_input: Whether z and a are separate arrays; otherwise they are the same array, which ends up holding a.
    """

    forward: Callable[[Matrix, Vector, Matrix], None]
    backward: Callable[[Matrix, Matrix, Matrix], None]
    keeps_input: bool


@jit_inline
def _add_bias(z: Matrix, b: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]


# The loops below treat matrices as flat vectors: short rows, of ten outputs for example, would leave most SIMD lanes
# empty.


def _build_from_output(value: Callable[[float], float], derivative: Callable[[float], float]) -> Activation:
    """Build an activation whose derivative is a function of its output; it works in place."""

    @device_kernel("forward_from_output", value)
    @with_name(f"{value.__name__}_forward")
    def forward(z: Matrix, b: Vector, a: Matrix) -> None:
        _add_bias(z, b)
        flat = flatten(z)
        for k in range(flat.size):
            flat[k] = value(flat[k])

    @device_kernel("backward_from_output", derivative)
    @with_name(f"{value.__name__}_backward")
    def backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
        flat, outputs = flatten(delta), flatten(a)
        for k in range(flat.size):
            flat[k] *= derivative(outputs[k])

    return Activation(forward, backward, keeps_input=False)


def _build_from_input(value: Callable[[float], float], derivative: Callable[[float], float]) -> Activation:
    """Build an activation whose derivative is a function of its input."""

    @device_kernel("forward_from_input", value)
    @with_name(f"{value.__name__}_forward")
    def forward(z: Matrix, b: Vector, a: Matrix) -> None:
        _add_bias(z, b)
        inputs, outputs = flatten(z), flatten(a)
        for k in range(inputs.size):
            outputs[k] = value(inputs[k])

    @device_kernel("backward_from_input", derivative)
    @with_name(f"{value.__name__}_backward")
    def backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
        flat, inputs = flatten(delta), flatten(z)
        for k in range(flat.size):
            flat[k] *= derivative(inputs[k])

    return Activation(forward, backward, keeps_input=True)


@jit_inline
def softmax_exp(z: float, row_max: float) -> float:
    """Return e^(z − max z), in which the row's maximum is subtracted to avoid overflow."""
    return vector_math.exp(z - row_max)


@jit_inline
def softmax_delta(a: float, delta: float, weighted_sum: float) -> float:
    """Return ∂C/∂zₖ = aₖ (∂C/∂aₖ − Σⱼ aⱼ ∂C/∂aⱼ), since ∂aⱼ/∂zₖ = aⱼ (1{j=k} − aₖ)."""
    return a * (delta - weighted_sum)


@device_kernel("softmax_forward")
def _softmax_forward(z: Matrix, b: Vector, a: Matrix) -> None:
    """Set aⱼ = e^(zⱼ − max z) / Σₖ e^(zₖ − max z)."""
    for i in range(z.shape[0]):
        row_max = z[i, 0] + b[0]
        for j in range(z.shape[1]):
            z[i, j] += b[j]
            row_max = max(row_max, z[i, j])
        total = scalar(0.0, row_max)
        for j in range(z.shape[1]):
            z[i, j] = softmax_exp(z[i, j], row_max)
            total += z[i, j]
        inverse = scalar(1.0, total) / total
        for j in range(z.shape[1]):
            z[i, j] *= inverse


@device_kernel("softmax_backward")
def _softmax_backward(z: Matrix, a: Matrix, delta: Matrix) -> None:
    for i in range(a.shape[0]):
        weighted_sum = scalar(0.0, a[i, 0])
        for j in range(a.shape[1]):
            weighted_sum += a[i, j] * delta[i, j]
        for j in range(a.shape[1]):
            delta[i, j] = softmax_delta(a[i, j], delta[i, j], weighted_sum)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "identity": _build_from_output(identity, identity_derivative),
    "sigmoid": _build_from_output(sigmoid, sigmoid_derivative),
    "tanh": _build_from_output(tanh, tanh_derivative),
    "relu": _build_from_output(relu, relu_derivative),
    "leaky_relu": _build_from_output(leaky_relu, leaky_relu_derivative),
    "elu": _build_from_output(elu, elu_derivative),
    "selu": _build_from_output(selu, selu_derivative),
    "gelu": _build_from_input(gelu, gelu_derivative),
    "silu": _build_from_input(silu, silu_derivative),
    "softplus": _build_from_output(softplus, softplus_derivative),
    "sin": _build_from_input(sin, sin_derivative),
    "softmax": Activation(_softmax_forward, _softmax_backward, keeps_input=False),
}
