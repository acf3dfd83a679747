"""What keeps weights and gradients small: penalties in the cost, and limits on norms."""

import numpy as np
import numpy.typing as npt

from engine.nn.activations import Vector
from engine.nn.compiling import formula, scalar
from engine.nn.plan import INPUTS, UNITS, WEIGHTS_AT

Layers = npt.NDArray[np.int64]


@formula
def penalize(parameters: Vector, gradient: Vector, layers: Layers, l1: float, l2: float) -> float:
    """l1 Σ|w| + ½ l2 Σw² over all weights (not over biases and scales); its gradient is added to `gradient`.

    l1 and l2 are λ/n. Nielsen, "Neural Networks and Deep Learning", chapter 3.
    """
    by_sign, by_weight = scalar(l1, parameters[0]), scalar(l2, parameters[0])
    one, zero = scalar(1.0, parameters[0]), scalar(0.0, parameters[0])
    absolute, squared = 0.0, 0.0
    for layer in range(layers.shape[0]):
        first = layers[layer, WEIGHTS_AT]
        for i in range(first, first + layers[layer, UNITS] * layers[layer, INPUTS]):
            w = parameters[i]
            sign = one if w > zero else (-one if w < zero else zero)
            gradient[i] += by_weight * w + by_sign * sign
            absolute += abs(float(w))
            squared += float(w) * float(w)
    return l1 * absolute + 0.5 * l2 * squared


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
            first = layers[layer, WEIGHTS_AT] + unit * inputs
            w = parameters[first : first + inputs]
            length = norm(w)
            if length > limit:
                share = scalar(limit / length, w[0])
                for i in range(w.size):
                    w[i] *= share
