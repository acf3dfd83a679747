"""Counter-based random numbers: (seed, stream, counter) → 64 bits.

There is no generator state to save: a resumed run draws exactly what the uninterrupted run would have drawn, on every
device and with every version of NumPy.

Source: SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

import math

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import DtypeName
from nabla.engine.nn.compiled_step import CompiledStep, run_compiled
from nabla.engine.nn.jit import device_kernel, jit_inline
from nabla.engine.nn.tracing import StepTrace

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


def fill_uniform(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, limit: float) -> None:
    """Fill the vector `out` with numbers uniform in [−limit, limit)."""
    run_compiled(_fill_uniform, out, seed, stream, index, limit)


def fill_normal(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, deviation: float) -> None:
    """Fill the vector `out` with normally distributed numbers of mean 0. Source: Box and Muller, 1958."""
    run_compiled(_fill_normal, out, seed, stream, index, deviation)


def shuffle(rows: npt.NDArray[np.int64], seed: int, stream: int, index: int) -> None:
    """Shuffle `rows` in place. Source: Fisher and Yates."""
    run_compiled(_shuffle, rows, seed, stream, index)


def compile_kernels(dtype: DtypeName) -> None:
    """Compile the functions above for vectors of a dtype."""
    trace = StepTrace()
    vector, rows = trace.array(np.empty(1, dtype)), trace.array(np.empty(1, np.int64))
    _fill_uniform(vector, 0, 0, 0, 0.0)
    _fill_normal(vector, 0, 0, 0, 0.0)
    _shuffle(rows, 0, 0, 0)
    CompiledStep(trace)


@device_kernel(None)
def _fill_uniform(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, limit: float) -> None:
    key = stream_key(seed, stream, index)
    for i in range(out.size):
        out[i] = (2.0 * uniform(key, i) - 1.0) * limit


@device_kernel(None)
def _fill_normal(out: npt.NDArray[np.floating], seed: int, stream: int, index: int, deviation: float) -> None:
    key = stream_key(seed, stream, index)
    for i in range(out.size):
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform(key, 2 * i)))
        out[i] = deviation * radius * math.cos(2.0 * math.pi * uniform(key, 2 * i + 1))


@device_kernel(None)
def _shuffle(rows: npt.NDArray[np.int64], seed: int, stream: int, index: int) -> None:
    key = stream_key(seed, stream, index)
    for i in range(rows.size - 1, 0, -1):
        j = int(uniform(key, i) * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]
