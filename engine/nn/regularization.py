"""What keeps weights and gradients small: penalties in the cost, and limits on norms."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.array_views import Matrix, Vector, block, span
from nabla.engine.nn.compiled_layout import COST, INPUTS, UNITS, WEIGHTS_AT
from nabla.engine.nn.jit import formula, kernel, named, scalar
from nabla.engine.nn.optimizers import STEP, Settings
from nabla.engine.nn.rng import DROPOUT, key, unit

Layers = npt.NDArray[np.int64]
Totals = npt.NDArray[np.float64]


@formula
def magnitude_slope(w: float, strength: float) -> float:
    share, zero = scalar(strength, w), scalar(0.0, w)
    return share if w > zero else (-share if w < zero else zero)


@formula
def magnitude_penalty(w: float) -> float:
    return abs(float(w))


@formula
def square_slope(w: float, strength: float) -> float:
    return scalar(strength, w) * w


@formula
def square_penalty(w: float) -> float:
    return 0.5 * float(w) * float(w)


Penalize = Callable[[Vector, Vector, Totals, float, int], None]


def _penalizing(name: str, slope: Callable[[float, float], float], penalty: Callable[[float], float]) -> Penalize:
    @kernel("penalize", slope, penalty)
    @named(f"penalize_{name}")
    def penalize(weights: Vector, gradient: Vector, totals: Totals, strength: float, m: int) -> None:
        total = 0.0
        for i in range(weights.size):
            gradient[i] += slope(weights[i], strength)
            total += penalty(weights[i])
        totals[COST] += m * (strength * total)

    return penalize


penalize_magnitudes = _penalizing("magnitudes", magnitude_slope, magnitude_penalty)
penalize_squares = _penalizing("squares", square_slope, square_penalty)


@formula
def penalize(
    parameters: Vector, gradient: Vector, layers: Layers, totals: Totals, l1: float, l2: float, m: int
) -> None:
    """Add m (l1 Σ|w| + ½ l2 Σw²) over all weights (not over biases and scales) to the cost in the totals, and the
    gradient of what is in brackets to `gradient`.

    l1 and l2 are λ/n. Nielsen, "Neural Networks and Deep Learning", chapter 3.
    """
    for layer in range(layers.shape[0]):
        first, size = layers[layer, WEIGHTS_AT], layers[layer, UNITS] * layers[layer, INPUTS]
        if l1 > 0.0:
            penalize_magnitudes(span(parameters, first, size), span(gradient, first, size), totals, l1, m)
        if l2 > 0.0:
            penalize_squares(span(parameters, first, size), span(gradient, first, size), totals, l2, m)


@formula
def length_of(vector: Vector) -> float:
    """√Σv², summed in float64."""
    squared = 0.0
    for i in range(vector.size):
        squared += float(vector[i]) * float(vector[i])
    return float(np.sqrt(squared))


@kernel("measure_length")
def measure_length(vector: Vector, length: Totals) -> None:
    """Its one number becomes √Σv²."""
    length[0] = length_of(vector)


@formula
def clipped(g: float, limit: float) -> float:
    """g within ±limit; compared so that a NaN stays one."""
    most = scalar(limit, g)
    return most if g > most else (-most if g < -most else g)


@kernel("clip_values")
def clip_values(gradient: Vector, limit: float) -> None:
    """Every component is kept within ±limit."""
    for i in range(gradient.size):
        gradient[i] = clipped(gradient[i], limit)


@formula
def share_kept(length: float, limit: float) -> float:
    """What a vector is multiplied by to be no longer than `limit`."""
    return limit / length if length > limit else 1.0


@kernel("shorten")
def shorten(gradient: Vector, length: Totals, limit: float) -> None:
    """A gradient that is longer than `limit` is shortened to it.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    share = scalar(share_kept(length[0], limit), gradient[0])
    if share < scalar(1.0, gradient[0]):
        for i in range(gradient.size):
            gradient[i] *= share


@formula
def limit_norms(parameters: Vector, layers: Layers, limit: float) -> None:
    """The weights into a unit, as a vector, are at most `limit` long. Srivastava et al., "Dropout", 2014, 5.1."""
    for layer in range(layers.shape[0]):
        units, inputs = layers[layer, UNITS], layers[layer, INPUTS]
        limit_rows(block(parameters, layers[layer, WEIGHTS_AT], units, inputs), limit)


@kernel("limit_rows")
def limit_rows(w: Matrix, limit: float) -> None:
    for i in range(w.shape[0]):
        share = scalar(share_kept(length_of(w[i]), limit), w[0, 0])
        if share < scalar(1.0, w[0, 0]):
            for j in range(w.shape[1]):
                w[i, j] *= share


@formula
def dropped(value: float, mask: np.uint64, at: int, share: float, scale: float) -> float:
    """0 with probability `share`, else value · scale; `at` is the number of the draw."""
    return value * (scale if unit(mask, at) >= share else scalar(0.0, value))


@kernel("drop")
def drop(source: Matrix, memory: Settings, out: Matrix, seed: int, first: int, share: float) -> None:
    """out = source ⊙ mask / (1 − share), element by element; `first` is the number of the first element's draw."""
    mask = key(seed, DROPOUT, int(memory[STEP]))
    scale = scalar(1.0 / (1.0 - share), source[0, 0])
    for i in range(source.shape[0]):
        at = first + i * source.shape[1]
        for j in range(source.shape[1]):
            out[i, j] = dropped(source[i, j], mask, at + j, share, scale)
