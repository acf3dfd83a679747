"""Weight initializers: each draws from a normal or a uniform distribution with the variance of its paper."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import InitializerName
from nabla.engine.nn import rng


@dataclass(frozen=True)
class Initializer:
    """The distribution of a layer's initial weights and biases.

    Attributes:
        uniform: Whether weights are uniform; otherwise they are normal.
        variance: `variance(inputs, units)` returns the variance of the weights.
        biases: Whether biases are standard normal; otherwise they are 0.
    """

    uniform: bool
    variance: Callable[[int, int], float]
    biases: bool = False

    def initialize(self, w: npt.NDArray[np.floating], b: npt.NDArray[np.floating], seed: int, layer: int) -> None:
        """Draw w (units, inputs) and b (units) of a layer from the random stream of (seed, layer)."""
        units, inputs = w.shape
        deviation = math.sqrt(self.variance(inputs, units))
        if self.uniform:  # a uniform distribution over ±r has variance r²/3
            rng.fill_uniform(w.reshape(-1), seed, rng.WEIGHTS, layer, math.sqrt(3.0) * deviation)
        else:
            rng.fill_normal(w.reshape(-1), seed, rng.WEIGHTS, layer, deviation)
        if self.biases:
            rng.fill_normal(b, seed, rng.BIASES, layer, 1.0)
        else:
            b[:] = 0


def _glorot(inputs: int, units: int) -> float:
    """Return 2 / (inputs + units).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    return 2.0 / (inputs + units)


def _he(inputs: int, units: int) -> float:
    """Return 2 / inputs. Source: He et al., "Delving deep into rectifiers", 2015."""
    return 2.0 / inputs


def _lecun(inputs: int, units: int) -> float:
    """Return 1 / inputs. Source: LeCun et al., "Efficient BackProp", 1998; Nielsen, chapter 3."""
    return 1.0 / inputs


def _standard(inputs: int, units: int) -> float:
    """Return 1. Source: Nielsen, chapter 1: the large start, with standard normal weights and biases."""
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
