"""Regularization: l1 and l2 penalties, gradient clipping, max-norm and dropout.

Dropout sets each input of a layer to 0 with a given probability and scales the others up by 1 / (1 − probability):
in training, where the paper scales weights down in predictions. The mask is drawn from (seed, step, position) and
drawn again in the backward pass, so it is never stored, and a resumed run draws the same one. Source: Srivastava et
al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
"""

from collections.abc import Callable, Iterable

import numpy as np

from nabla.engine.nn.array_views import matrix_view, vector_view
from nabla.engine.nn.jit import device_kernel, jit_inline, scalar, with_name
from nabla.engine.nn.layout import COST, LayerLayout
from nabla.engine.nn.optimizers import STEP
from nabla.engine.nn.rng import DROPOUT, stream_key, uniform
from nabla.engine.typing import Float64Array, Matrix, Vector


@jit_inline
def l1_derivative(w: float, strength: float) -> float:
    """Return λ sign(w)."""
    derivative, zero = scalar(strength, w), scalar(0.0, w)
    return derivative if w > zero else (-derivative if w < zero else zero)


@jit_inline
def l1_penalty(w: float) -> float:
    """Return |w| in float64."""
    return abs(float(w))


@jit_inline
def l2_derivative(w: float, strength: float) -> float:
    """Return λ w."""
    return scalar(strength, w) * w


@jit_inline
def l2_penalty(w: float) -> float:
    """Return ½ w² in float64."""
    return 0.5 * float(w) * float(w)


Penalize = Callable[[Vector, Vector, Float64Array, float, int], None]


def _build_penalty(
    name: str, derivative: Callable[[float, float], float], penalty: Callable[[float], float]
) -> Penalize:
    @device_kernel("penalize", derivative, penalty)
    @with_name(f"penalize_{name}")
    def penalize(weights: Vector, gradient: Vector, metric_sums: Float64Array, strength: float, m: int) -> None:
        total = 0.0
        for i in range(weights.size):
            gradient[i] += derivative(weights[i], strength)
            total += penalty(weights[i])
        metric_sums[COST] += m * (strength * total)

    return penalize


penalize_l1 = _build_penalty("l1", l1_derivative, l1_penalty)
penalize_l2 = _build_penalty("l2", l2_derivative, l2_penalty)


def penalize(
    parameters: Vector,
    gradient: Vector,
    layers: Iterable[LayerLayout],
    metric_sums: Float64Array,
    l1: float,
    l2: float,
    m: int,
) -> None:
    """Add m (l1 Σ|w| + ½ l2 Σw²) to the cost in the metric sums, and the gradient of the parenthesis to `gradient`.

    The sums run over all weights, not over biases and scales. l1 and l2 are λ/n.
    Source: Nielsen, "Neural Networks and Deep Learning", chapter 3.
    """
    for layer in layers:
        size = layer.units * layer.inputs
        weights = vector_view(parameters, layer.weights_offset, size)
        weight_gradient = vector_view(gradient, layer.weights_offset, size)
        if l1 > 0.0:
            penalize_l1(weights, weight_gradient, metric_sums, l1, m)
        if l2 > 0.0:
            penalize_l2(weights, weight_gradient, metric_sums, l2, m)


@jit_inline
def euclidean_norm(vector: Vector) -> float:
    """Return √Σv², summed in float64."""
    squared = 0.0
    for i in range(vector.size):
        squared += float(vector[i]) * float(vector[i])
    return float(np.sqrt(squared))


@device_kernel("compute_norm")
def compute_norm(vector: Vector, norm: Float64Array) -> None:
    """Set norm[0] to √Σv²."""
    norm[0] = euclidean_norm(vector)


@jit_inline
def clip_value_to(g: float, limit: float) -> float:
    """Return g clipped to ±limit. A NaN stays a NaN."""
    bound = scalar(limit, g)
    return bound if g > bound else (-bound if g < -bound else g)


@device_kernel("clip_by_value")
def clip_by_value(gradient: Vector, limit: float) -> None:
    """Clip every component to ±limit."""
    for i in range(gradient.size):
        gradient[i] = clip_value_to(gradient[i], limit)


@jit_inline
def norm_scale(norm: float, limit: float) -> float:
    """Return the factor that scales a vector with this norm down to a norm of at most `limit`."""
    return limit / norm if norm > limit else 1.0


@device_kernel("clip_by_norm")
def clip_by_norm(gradient: Vector, norm: Float64Array, limit: float) -> None:
    """Scale a gradient whose norm exceeds `limit` down to it.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    scale = scalar(norm_scale(norm[0], limit), gradient[0])
    if scale < scalar(1.0, gradient[0]):
        for i in range(gradient.size):
            gradient[i] *= scale


def apply_max_norm(parameters: Vector, layers: Iterable[LayerLayout], limit: float) -> None:
    """Limit the norm of the weights into each unit. Source: Srivastava et al., "Dropout", 2014, section 5.1."""
    for layer in layers:
        clip_row_norms(matrix_view(parameters, layer.weights_offset, layer.units, layer.inputs), limit)


@device_kernel("clip_row_norms")
def clip_row_norms(w: Matrix, limit: float) -> None:
    """Scale the rows of w whose norm exceeds `limit` down to it."""
    for i in range(w.shape[0]):
        scale = scalar(norm_scale(euclidean_norm(w[i]), limit), w[0, 0])
        if scale < scalar(1.0, w[0, 0]):
            for j in range(w.shape[1]):
                w[i, j] *= scale


@jit_inline
def dropout_value(value: float, key: np.uint64, counter: int, probability: float, scale: float) -> float:
    """Return 0 with the given probability, else value · scale; `counter` selects the random number."""
    return value * (scale if uniform(key, counter) >= probability else scalar(0.0, value))


@device_kernel("apply_dropout")
def apply_dropout(
    source: Matrix, optimizer_state: Float64Array, out: Matrix, seed: int, first_counter: int, probability: float
) -> None:
    """Set out to source ⊙ mask / (1 − probability); `first_counter` is the counter of the first element."""
    key = stream_key(seed, DROPOUT, int(optimizer_state[STEP]))
    scale = scalar(1.0 / (1.0 - probability), source[0, 0])
    for i in range(source.shape[0]):
        counter = first_counter + i * source.shape[1]
        for j in range(source.shape[1]):
            out[i, j] = dropout_value(source[i, j], key, counter + j, probability, scale)
