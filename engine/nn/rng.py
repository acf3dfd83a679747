"""Counter-based random numbers: (seed, stream, counter) → 64 bits.

There is no generator state to save: a resumed run draws exactly what the uninterrupted run would have drawn, on every
device and with every version of NumPy.

Source: SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

import math

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.jit import jit_entry, jit_inline

# Streams, one per purpose. They never overlap.
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


@jit_inline
def _mix(state: np.uint64) -> np.uint64:
    z = (state ^ (state >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@jit_inline
def stream_key(seed: int, stream: int, index: int) -> np.uint64:
    """Return the key of a sequence, such as that of the weights of layer `index` or of the shuffle of epoch `index`."""
    state = _mix(np.uint64(seed) + _GOLDEN)
    state = _mix(state ^ (np.uint64(stream) * _MIX_1 + _GOLDEN))
    return _mix(state ^ (np.uint64(index) * _MIX_2 + _GOLDEN))


@jit_inline
def uniform(key: np.uint64, counter: int) -> float:
    """Return the number of a sequence that `counter` selects: uniform in [0, 1), with 53 random bits."""
    bits = _mix(key + np.uint64(counter + 1) * _GOLDEN)
    return float(bits >> np.uint64(11)) * _TO_UNIT


@jit_entry
def fill_uniform(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, limit: float) -> None:
    """Fill the vector `out` with numbers uniform in [−limit, limit)."""
    key = stream_key(seed, stream, index)
    for i in range(out.size):
        out[i] = (2.0 * uniform(key, i) - 1.0) * limit


@jit_entry
def fill_normal(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, deviation: float) -> None:
    """Fill the vector `out` with normally distributed numbers of mean 0. Source: Box and Muller, 1958."""
    key = stream_key(seed, stream, index)
    for i in range(out.size):
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform(key, 2 * i)))
        out[i] = deviation * radius * math.cos(2.0 * math.pi * uniform(key, 2 * i + 1))


@jit_entry
def shuffle(rows: npt.NDArray[np.int64], seed: int, stream: int, index: int) -> None:
    """Shuffle `rows` in place. Source: Fisher and Yates."""
    key = stream_key(seed, stream, index)
    for i in range(rows.size - 1, 0, -1):
        j = int(uniform(key, i) * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]
