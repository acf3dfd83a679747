"""The start of a network's weights: each rule is the deviation of a normal or the limit of a uniform distribution."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import InitializerName
from nabla.engine.nn import rng


@dataclass(frozen=True)
class Initializer:
    """`variance(inputs, units)` of the weights of a layer; biases start at 0 or, if `biases`, like the weights."""

    uniform: bool
    variance: Callable[[int, int], float]
    biases: bool = False

    def fill(self, w: npt.NDArray[np.floating], b: npt.NDArray[np.floating], seed: int, layer: int) -> None:
        """Fill w (units, inputs) and b (units) of a layer from the random stream of (seed, layer)."""
        units, inputs = w.shape
        deviation = math.sqrt(self.variance(inputs, units))
        if self.uniform:  # uniform in ±r has the variance r²/3
            rng.fill_uniform(w.reshape(-1), seed, rng.WEIGHTS, layer, math.sqrt(3.0) * deviation)
        else:
            rng.fill_normal(w.reshape(-1), seed, rng.WEIGHTS, layer, deviation)
        if self.biases:
            rng.fill_normal(b, seed, rng.BIASES, layer, 1.0)
        else:
            b[:] = 0


def _glorot(inputs: int, units: int) -> float:
    """Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010."""
    return 2.0 / (inputs + units)


def _he(inputs: int, units: int) -> float:
    """He et al., "Delving deep into rectifiers", 2015."""
    return 2.0 / inputs


def _lecun(inputs: int, units: int) -> float:
    """LeCun et al., "Efficient BackProp", 1998; Nielsen's small start, chapter 3."""
    return 1.0 / inputs


def _standard(inputs: int, units: int) -> float:
    """Nielsen's large start, chapter 1: weights and biases normal with deviation 1."""
    return 1.0


INITIALIZERS: dict[InitializerName, Initializer] = {
    "glorot_uniform": Initializer(uniform=True, variance=_glorot),
    "glorot_normal": Initializer(uniform=False, variance=_glorot),
    "he_uniform": Initializer(uniform=True, variance=_he),
    "he_normal": Initializer(uniform=False, variance=_he),
    "lecun_uniform": Initializer(uniform=True, variance=_lecun),
    "lecun_normal": Initializer(uniform=False, variance=_lecun),
    "standard_normal": Initializer(uniform=False, variance=_standard, biases=True),
}
