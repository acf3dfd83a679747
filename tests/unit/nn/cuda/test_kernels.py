"""Every kernel does what the compiled CPU engine does, to rounding, over random and extreme numbers.

The kernels' own source runs: compiled by the host's compiler where there is no GPU.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import numba
import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.literals import DtypeName
from nabla.engine.nn import training_step
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.compiled_layout import ERRORS
from nabla.engine.nn.cuda.launcher import Launcher
from nabla.engine.nn.cuda.tracing import Recording
from nabla.engine.nn.jit import KERNELS, OPTIONS
from nabla.engine.nn.optimizers import COEFFICIENTS
from tests.unit.nn.cuda.devices import DEVICES, cupy_of

assert training_step  # it registers the kernels
Arrays = list[Any]
ROWS, COLUMNS = 37, 45
ARCHITECTURE = Architecture(COLUMNS, (Layer(COLUMNS, "identity"),), "quadratic")

# Of the largest number of a result. Exponentials, logarithms and powers of the two differ by a few units in the last
# place, and sums are taken in another order.
TOLERANCE = {"float32": 2e-6, "float64": 4e-14}


class Cases:
    """Arguments for a kernel of each pattern. Arrays that have a place among the results are compared."""

    def __init__(self, dtype: DtypeName) -> None:
        self.dtype = dtype
        self.random = np.random.default_rng(4)

    def matrix(self, rows: int = ROWS, columns: int = COLUMNS, scale: float = 1.0) -> npt.NDArray[Any]:
        return np.array(self.random.normal(scale=scale, size=(rows, columns)), self.dtype)

    def vector(self, size: int = COLUMNS) -> npt.NDArray[Any]:
        return self.matrix(1, size).reshape(size)

    def extreme(self) -> npt.NDArray[Any]:
        """Zeros of both signs, subnormal, small and large numbers among random ones."""
        numbers = self.matrix(scale=4.0)
        tiny = np.finfo(self.dtype).smallest_subnormal
        row = [0.0, -0.0, tiny, -tiny, 1e-20, -1e-20, 1e-6, -1e-6, 20.0, -20.0, 90.0, -90.0, 800.0, -800.0, 1e30, -1e30]
        numbers[3, : len(row)] = row
        return numbers

    def shares(self) -> npt.NDArray[Any]:
        """Numbers strictly between 0 and 1, and both of these."""
        numbers = self.random.uniform(0.01, 0.99, (ROWS, COLUMNS)).astype(self.dtype)
        numbers[5, :4] = 0.0, 1.0, 1e-30, 0.5
        return numbers

    def order(self) -> npt.NDArray[np.int64]:
        return self.random.permutation(2 * ROWS)

    def place(self) -> npt.NDArray[np.int64]:
        return np.array([7, 7 + ROWS])

    def totals(self) -> npt.NDArray[np.float64]:
        return self.random.uniform(size=ERRORS + 2 * COLUMNS)

    def coefficients(self) -> npt.NDArray[np.float64]:
        return self.random.uniform(0.1, 0.9, COEFFICIENTS)

    def forward_from_output(self) -> Arrays:
        z = self.extreme()
        return [z, self.vector(), z]

    def forward_from_input(self) -> Arrays:
        return [self.extreme(), self.vector(), self.matrix()]

    def backward_from_output(self) -> Arrays:
        a = self.shares() * np.where(self.matrix() > 0, 1, -1).astype(self.dtype)
        return [a, a, self.matrix()]

    def backward_from_input(self) -> Arrays:
        return [self.extreme().clip(-1e4, 1e4), self.matrix(), self.matrix()]

    def softmax_forward(self) -> Arrays:
        return self.forward_from_output()

    softmax_backward = backward_from_output

    def add_cost(self) -> Arrays:
        weights = self.random.uniform(size=2 * ROWS)
        return [self.shares(), self.shares(), weights, self.order(), self.place(), self.totals(), 0.3]

    def differentiate_cost(self) -> Arrays:
        return [self.shares().clip(1e-3), self.shares(), self.vector(ROWS), 0.3]

    def count_classes(self) -> Arrays:
        return [self.shares(), self.shares(), self.totals()]

    count_sides = add_absolute_errors = add_squared_errors = count_classes

    def advance(self) -> Arrays:
        return [self.place(), ROWS]

    def gather(self) -> Arrays:
        return [self.matrix(2 * ROWS), self.order(), self.place(), self.matrix()]

    def smooth(self) -> Arrays:
        return [self.shares(), 0.1]

    def divide(self) -> Arrays:
        return [self.vector(ROWS), self.random.uniform(size=2 * ROWS), self.order(), self.place()]

    def drop(self) -> Arrays:
        return [self.matrix(), np.array([3.0, 1.0]), self.matrix(), 2**63 - 1, 1000, 0.3]

    def sum_rows(self) -> Arrays:
        return [self.matrix(), self.vector()]

    def standardize(self) -> Arrays:
        return [self.matrix(scale=3.0), np.zeros(COLUMNS), np.zeros(COLUMNS)]

    def remember(self) -> Arrays:
        return [self.random.normal(size=COLUMNS), self.random.uniform(0.1, 3, COLUMNS), self.vector(2 * COLUMNS), ROWS]

    def standardize_as_remembered(self) -> Arrays:
        mean, scale = np.zeros(COLUMNS), np.zeros(COLUMNS)
        return [self.matrix(), mean, scale, np.abs(self.vector(2 * COLUMNS))]

    def multiply(self) -> Arrays:
        return [self.matrix(), self.vector(), self.matrix()]

    def through_batch_norm(self) -> Arrays:
        scale = self.random.uniform(0.1, 3, COLUMNS)
        return [self.matrix(), self.vector(), scale, self.vector(), self.vector(), self.matrix()]

    def multiply_by_transpose(self) -> Arrays:
        return [self.matrix(ROWS, COLUMNS), self.matrix(11, COLUMNS), self.matrix(ROWS, 11)]

    def multiply_transpose(self) -> Arrays:
        return [self.matrix(ROWS, 11), self.matrix(ROWS, COLUMNS), self.matrix(11, COLUMNS)]

    def multiply_plainly(self) -> Arrays:
        return [self.matrix(ROWS, 11), self.matrix(11, COLUMNS), self.matrix(ROWS, COLUMNS)]

    def penalize(self) -> Arrays:
        return [self.vector(5000), self.vector(5000), self.totals(), 0.1, ROWS]

    def measure_length(self) -> Arrays:
        return [self.vector(300_000), np.zeros(1)]

    def clip_values(self) -> Arrays:
        return [self.extreme().reshape(-1), 0.7]

    def shorten(self) -> Arrays:
        return [self.vector(5000), np.array([3.0]), 2.0]

    def limit_rows(self) -> Arrays:
        return [self.matrix(), 6.5]

    def prepare(self) -> Arrays:
        settings, memory = np.array([0.9, 0.99, 1e-8, 0.01]), np.array([41.0, 0.7])
        return [np.zeros(COEFFICIENTS), settings, np.array([0.1, 0.2, 0.3]), memory, np.array([2 * ROWS, 0]), ROWS]

    def update_without_moments(self) -> Arrays:
        return [self.extreme().reshape(-1), self.extreme().reshape(-1), self.matrix(0, 0), self.coefficients()]

    def update_with_one_moment(self) -> Arrays:
        w, g = self.vector(3000), self.vector(3000)
        return [w, g, np.abs(self.matrix(1, 3100)), self.coefficients()]

    def update_with_two_moments(self) -> Arrays:
        w, g = self.vector(3000), self.vector(3000)
        return [w, g, np.abs(self.matrix(2, 3100)), self.coefficients()]

    def round_to_half(self) -> Arrays:
        source = self.extreme()
        return [source, np.zeros(source.shape, np.uint16), 4.0]


def arguments_of(name: str, dtype: DtypeName) -> Arrays:
    cases: Callable[[], Arrays] = getattr(Cases(dtype), KERNELS[name].pattern)
    return cases()


def on_cpu(name: str, dtype: DtypeName) -> Arrays:
    """What the arguments are after the compiled kernel. Arrays that are the same stay so."""
    copies = copied(arguments_of(name, dtype))
    loop = inspect.unwrap(KERNELS[name].function)
    # With the options that a step's compilation has for it. What a GPU alone does is not compiled.
    (loop if name == "round_to_half" else numba.njit(**OPTIONS)(loop))(*copies)
    return copies


def copied(arguments: Arrays) -> Arrays:
    copies = {id(argument): argument.copy() for argument in arguments if isinstance(argument, np.ndarray)}
    return [copies.get(id(argument), argument) for argument in arguments]


def on_device(device: str, name: str, dtype: DtypeName, arguments: Arrays, *, in_one_block: bool) -> Arrays:
    cupy = cupy_of(device)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        architecture = Architecture(COLUMNS, (Layer(COLUMNS, "identity"),), "quadratic", dtype=dtype)
        launcher = Launcher(cupy, architecture, ROWS, "full", in_one_block)
        arrays: dict[int, Any] = {}
        for argument in arguments:
            if isinstance(argument, np.ndarray) and id(argument) not in arrays:
                arrays[id(argument)] = cupy.empty(argument.shape, argument.dtype)
                if argument.size:
                    arrays[id(argument)].set(argument)
        recording = Recording()
        there: Arrays = [arrays.get(id(argument), argument) for argument in arguments]
        shown = [
            argument if one is argument else recording.array(one)
            for one, argument in zip(there, arguments, strict=True)
        ]
        KERNELS[name].function(*shown)
        launcher.run(launcher.program(recording), 1)
        return [
            one if one is argument else one.get(stream=stream) for one, argument in zip(there, arguments, strict=True)
        ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", get_args(DtypeName))
@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name: str, dtype: DtypeName, device: str) -> None:
    arguments = arguments_of(name, dtype)
    expected = on_cpu(name, dtype)
    changed = False
    for in_one_block in (False, True):
        found = on_device(device, name, dtype, arguments, in_one_block=in_one_block)
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            if not isinstance(other, np.ndarray) or (name == "standardize_as_remembered" and place in (1, 2)):
                continue  # room that a GPU has no need of
            changed = changed or not np.array_equal(other, arguments[place])
            finite = np.isfinite(other)
            np.testing.assert_array_equal(np.isfinite(one), finite)
            np.testing.assert_array_equal(one[~finite], other[~finite])
            largest = np.maximum(np.abs(other[finite]), 1.0)
            assert (np.abs(one[finite].astype(np.float64) - other[finite]) <= TOLERANCE[dtype] * largest).all()
    assert changed or name == "identity_backward"
