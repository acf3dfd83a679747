"""What keeps weights and gradients small: penalties in the cost, and limits on norms."""

import numpy as np
import numpy.typing as npt

from engine.nn.compiling import formula, scalar
from engine.nn.plan import INPUTS, UNITS, WEIGHTS_AT
from engine.nn.views import Vector, span

Layers = npt.NDArray[np.int64]


@formula
def penalize(parameters: Vector, gradient: Vector, layers: Layers, l1: float, l2: float) -> float:
    """l1 Σ|w| + ½ l2 Σw² over all weights (not over biases and scales); its gradient is added to `gradient`.

    l1 and l2 are λ/n. Nielsen, "Neural Networks and Deep Learning", chapter 3.
    """
    total = 0.0
    for layer in range(layers.shape[0]):
        first, size = layers[layer, WEIGHTS_AT], layers[layer, UNITS] * layers[layer, INPUTS]
        if l1 > 0.0:
            total += _penalize_magnitudes(span(parameters, first, size), span(gradient, first, size), l1)
        if l2 > 0.0:
            total += _penalize_squares(span(parameters, first, size), span(gradient, first, size), l2)
    return total


@formula
def _penalize_magnitudes(weights: Vector, gradient: Vector, strength: float) -> float:
    share, zero = scalar(strength, weights[0]), scalar(0.0, weights[0])
    total = 0.0
    for i in range(weights.size):
        w = weights[i]
        gradient[i] += share if w > zero else (-share if w < zero else zero)
        total += abs(float(w))
    return strength * total


@formula
def _penalize_squares(weights: Vector, gradient: Vector, strength: float) -> float:
    share = scalar(strength, weights[0])
    total = 0.0
    for i in range(weights.size):
        w = weights[i]
        gradient[i] += share * w
        total += float(w) * float(w)
    return 0.5 * strength * total


@formula
def norm(vector: Vector) -> float:
    """√Σv², summed in float64."""
    squared = 0.0
    for i in range(vector.size):
        squared += float(vector[i]) * float(vector[i])
    return float(np.sqrt(squared))


@formula
def clip_values(gradient: Vector, limit: float) -> None:
    """Every component is kept within ±limit."""
    most = scalar(limit, gradient[0])
    for i in range(gradient.size):
        g = gradient[i]  # compared so that a NaN stays one
        gradient[i] = most if g > most else (-most if g < -most else g)


@formula
def clip_norm(gradient: Vector, limit: float) -> None:
    """A gradient that is longer than `limit` is shortened to it.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    length = norm(gradient)
    if length > limit:
        share = scalar(limit / length, gradient[0])
        for i in range(gradient.size):
            gradient[i] *= share


@formula
def limit_norms(parameters: Vector, layers: Layers, limit: float) -> None:
    """The weights into a unit, as a vector, are at most `limit` long. Srivastava et al., "Dropout", 2014, 5.1."""
    for layer in range(layers.shape[0]):
        inputs = layers[layer, INPUTS]
        for unit in range(layers[layer, UNITS]):
            w = span(parameters, layers[layer, WEIGHTS_AT] + unit * inputs, inputs)
            length = norm(w)
            if length > limit:
                share = scalar(limit / length, w[0])
                for i in range(w.size):
                    w[i] *= share
