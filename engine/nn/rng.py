"""Random numbers that depend on nothing but their place: (seed, stream, counter) → 64 bits.

There is no generator state to save, so a run resumed in the middle draws exactly what the uninterrupted run
would have drawn, on every device and whatever the version of NumPy.

Source: SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

import math

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.jit import entry, formula

# What the numbers are used for. Streams never overlap.
WEIGHTS = 1
BIASES = 2
SPLIT = 3
SHUFFLE = 4
DROPOUT = 5
BLOCKS = 6
WINDOWS = 7

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


@formula
def _mix(state: np.uint64) -> np.uint64:
    z = (state ^ (state >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@formula
def key(seed: int, stream: int, index: int) -> np.uint64:
    """The start of one sequence: layer `index` of the weights, epoch `index` of the shuffles."""
    state = _mix(np.uint64(seed) + _GOLDEN)
    state = _mix(state ^ (np.uint64(stream) * _MIX_1 + _GOLDEN))
    return _mix(state ^ (np.uint64(index) * _MIX_2 + _GOLDEN))


@formula
def unit(start: np.uint64, counter: int) -> float:
    """Uniform in [0, 1), 53 bits."""
    bits = _mix(start + np.uint64(counter + 1) * _GOLDEN)
    return float(bits >> np.uint64(11)) * _TO_UNIT


@entry
def fill_uniform(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, limit: float) -> None:
    """Fill the vector `out` with numbers uniform in [−limit, limit)."""
    start = key(seed, stream, index)
    for i in range(out.size):
        out[i] = (2.0 * unit(start, i) - 1.0) * limit


@entry
def fill_normal(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, deviation: float) -> None:
    """Fill the vector `out` with normal numbers of mean 0 (Box and Muller, 1958)."""
    start = key(seed, stream, index)
    for i in range(out.size):
        radius = math.sqrt(-2.0 * math.log(1.0 - unit(start, 2 * i)))
        out[i] = deviation * radius * math.cos(2.0 * math.pi * unit(start, 2 * i + 1))


@entry
def shuffle(rows: npt.NDArray[np.int64], seed: int, stream: int, index: int) -> None:
    """Put `rows` into random order, in place (Fisher and Yates)."""
    start = key(seed, stream, index)
    for i in range(rows.size - 1, 0, -1):
        j = int(unit(start, i) * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]
