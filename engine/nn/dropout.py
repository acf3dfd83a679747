"""Dropout: in training each input of a layer is 0 with a given probability, and larger by as much otherwise.

The mask is drawn from (seed, step, place) and drawn again on the way back, so that it is neither stored nor lost when a
run is resumed. Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014;
outputs are scaled in training rather than in predictions.
"""

import numpy as np

from engine.nn.compiling import formula, scalar
from engine.nn.kernel import kernel
from engine.nn.optimizers import STEP, Settings
from engine.nn.random import DROPOUT, key, unit
from engine.nn.views import Matrix


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
