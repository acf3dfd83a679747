"""Every kernel computes what the compiled CPU loop computes, up to rounding, for random and extreme numbers.

The source of the kernels is the same everywhere: without a GPU, the host's compiler compiles it.
"""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.literals import DtypeName
from nabla.engine.nn import training_step
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.compiled_step import CompiledStep
from nabla.engine.nn.cuda.codegen import KERNEL_CODES
from nabla.engine.nn.cuda.launcher import Launcher
from nabla.engine.nn.jit import KERNELS
from nabla.engine.nn.layout import ERRORS
from nabla.engine.nn.optimizers import MAX_COEFFICIENTS
from nabla.engine.nn.tracing import StepTrace
from tests.unit.nn.cuda.devices import DEVICES, import_cupy

assert training_step  # imported because it registers the kernels
Arguments = list[Any]
ROWS, COLUMNS = 37, 45
ARCHITECTURE = Architecture(COLUMNS, (Layer(COLUMNS, "identity"),), "quadratic")

# Relative to each element, or to 1 if it is smaller. Exponentials, logarithms and powers of CPU and GPU differ by a few
# units in the last place, and sums are computed in different orders.
TOLERANCE = {"float32": 2e-6, "float64": 4e-14}


class ArgumentFactory:
    """Creates arguments for a kernel of each template."""

    def __init__(self, dtype: DtypeName) -> None:
        self.dtype = dtype
        self.random = np.random.default_rng(4)

    def matrix(self, rows: int = ROWS, columns: int = COLUMNS, scale: float = 1.0) -> npt.NDArray[Any]:
        return np.array(self.random.normal(scale=scale, size=(rows, columns)), self.dtype)

    def vector(self, size: int = COLUMNS) -> npt.NDArray[Any]:
        return self.matrix(1, size).reshape(size)

    def extreme(self) -> npt.NDArray[Any]:
        """Return random numbers with zeros of both signs, subnormal, small and large numbers among them."""
        numbers = self.matrix(scale=4.0)
        tiny = np.finfo(self.dtype).smallest_subnormal
        row = [0.0, -0.0, tiny, -tiny, 1e-20, -1e-20, 1e-6, -1e-6, 20.0, -20.0, 90.0, -90.0, 800.0, -800.0, 1e30, -1e30]
        numbers[3, : len(row)] = row
        return numbers

    def probabilities(self) -> npt.NDArray[Any]:
        """Return numbers from 0 to 1, including both."""
        numbers = self.random.uniform(0.01, 0.99, (ROWS, COLUMNS)).astype(self.dtype)
        numbers[5, :4] = 0.0, 1.0, 1e-30, 0.5
        return numbers

    def order(self) -> npt.NDArray[np.int64]:
        return self.random.permutation(2 * ROWS)

    def cursor(self) -> npt.NDArray[np.int64]:
        return np.array([7, 7 + ROWS])

    def metric_sums(self) -> npt.NDArray[np.float64]:
        return self.random.uniform(size=ERRORS + 2 * COLUMNS)

    def coefficients(self) -> npt.NDArray[np.float64]:
        return self.random.uniform(0.1, 0.9, MAX_COEFFICIENTS)

    def forward_from_output(self) -> Arguments:
        z = self.extreme()
        return [z, self.vector(), z]

    def forward_from_input(self) -> Arguments:
        return [self.extreme(), self.vector(), self.matrix()]

    def backward_from_output(self) -> Arguments:
        a = self.probabilities() * np.where(self.matrix() > 0, 1, -1).astype(self.dtype)
        return [a, a, self.matrix()]

    def backward_from_input(self) -> Arguments:
        return [self.extreme().clip(-1e4, 1e4), self.matrix(), self.matrix()]

    def softmax_forward(self) -> Arguments:
        return self.forward_from_output()

    softmax_backward = backward_from_output

    def add_cost(self) -> Arguments:
        weights = self.random.uniform(size=2 * ROWS)
        return [
            self.probabilities(),
            self.probabilities(),
            weights,
            self.order(),
            self.cursor(),
            self.metric_sums(),
            0.3,
        ]

    def differentiate_cost(self) -> Arguments:
        return [self.probabilities().clip(1e-3), self.probabilities(), self.vector(ROWS), 0.3]

    def count_categorical_correct(self) -> Arguments:
        return [self.probabilities(), self.probabilities(), self.metric_sums()]

    count_binary_correct = add_absolute_errors = add_squared_errors = count_categorical_correct

    def advance_cursor(self) -> Arguments:
        return [self.cursor(), ROWS]

    def gather_rows(self) -> Arguments:
        return [self.matrix(2 * ROWS), self.order(), self.cursor(), self.matrix()]

    def smooth_labels(self) -> Arguments:
        return [self.probabilities(), 0.1]

    def compute_batch_weights(self) -> Arguments:
        return [self.vector(ROWS), self.random.uniform(size=2 * ROWS), self.order(), self.cursor()]

    def apply_dropout(self) -> Arguments:
        return [self.matrix(), np.array([3.0, 1.0]), self.matrix(), 2**63 - 1, 1000, 0.3]

    def sum_rows(self) -> Arguments:
        return [self.matrix(), self.vector()]

    def normalize_batch(self) -> Arguments:
        return [self.matrix(scale=3.0), np.zeros(COLUMNS), np.zeros(COLUMNS)]

    def update_running_stats(self) -> Arguments:
        return [self.random.normal(size=COLUMNS), self.random.uniform(0.1, 3, COLUMNS), self.vector(2 * COLUMNS), ROWS]

    def normalize_with_running_stats(self) -> Arguments:
        mean, scale = np.zeros(COLUMNS), np.zeros(COLUMNS)
        return [self.matrix(), mean, scale, np.abs(self.vector(2 * COLUMNS))]

    def scale_by_gamma(self) -> Arguments:
        return [self.matrix(), self.vector(), self.matrix()]

    def batch_norm_backward(self) -> Arguments:
        scale = self.random.uniform(0.1, 3, COLUMNS)
        return [self.matrix(), self.vector(), scale, self.vector(), self.vector(), self.matrix()]

    def matmul_nt(self) -> Arguments:
        return [self.matrix(ROWS, COLUMNS), self.matrix(11, COLUMNS), self.matrix(ROWS, 11)]

    def matmul_tn(self) -> Arguments:
        return [self.matrix(ROWS, 11), self.matrix(ROWS, COLUMNS), self.matrix(11, COLUMNS)]

    def matmul_nn(self) -> Arguments:
        return [self.matrix(ROWS, 11), self.matrix(11, COLUMNS), self.matrix(ROWS, COLUMNS)]

    def penalize(self) -> Arguments:
        return [self.vector(5000), self.vector(5000), self.metric_sums(), 0.1, ROWS]

    def compute_norm(self) -> Arguments:
        return [self.vector(300_000), np.zeros(1)]

    def clip_by_value(self) -> Arguments:
        return [self.extreme().reshape(-1), 0.7]

    def clip_by_norm(self) -> Arguments:
        return [self.vector(5000), np.array([3.0]), 2.0]

    def clip_row_norms(self) -> Arguments:
        return [self.matrix(), 6.5]

    def prepare(self) -> Arguments:
        settings, optimizer_state = np.array([0.9, 0.99, 1e-8, 0.01]), np.array([41.0, 0.7])
        return [
            np.zeros(MAX_COEFFICIENTS),
            settings,
            np.array([0.1, 0.2, 0.3]),
            optimizer_state,
            np.array([2 * ROWS, 0]),
            ROWS,
        ]

    def update_without_moments(self) -> Arguments:
        return [self.extreme().reshape(-1), self.extreme().reshape(-1), self.matrix(0, 0), self.coefficients()]

    def update_with_one_moment(self) -> Arguments:
        w, g = self.vector(3000), self.vector(3000)
        return [w, g, np.abs(self.matrix(1, 3100)), self.coefficients()]

    def update_with_two_moments(self) -> Arguments:
        w, g = self.vector(3000), self.vector(3000)
        return [w, g, np.abs(self.matrix(2, 3100)), self.coefficients()]

    def round_to_half(self) -> Arguments:
        source = self.extreme()
        return [source, np.zeros(source.shape, np.uint16), 4.0]


def create_arguments(name: str, dtype: DtypeName) -> Arguments:
    create: Callable[[], Arguments] = getattr(ArgumentFactory(dtype), str(KERNELS[name].template))
    return create()


def run_on_cpu(name: str, dtype: DtypeName) -> Arguments:
    """Return the arguments after running the compiled loop."""
    copies = copy_arguments(create_arguments(name, dtype))
    if name == "round_to_half":  # only a GPU uses it, so it is not compiled
        KERNELS[name].loop(*copies)
        return copies
    trace = StepTrace()
    trace.record(name, trace.arrays(tuple(copies)))
    CompiledStep(trace).run()
    return copies


def copy_arguments(arguments: Arguments) -> Arguments:
    """Copy arrays; arguments that are the same array stay the same array."""
    copies = {id(argument): argument.copy() for argument in arguments if isinstance(argument, np.ndarray)}
    return [copies.get(id(argument), argument) for argument in arguments]


def run_on_device(device: str, name: str, dtype: DtypeName, arguments: Arguments, *, single_block: bool) -> Arguments:
    """Return the arguments after running the kernel."""
    cupy = import_cupy(device)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        architecture = Architecture(COLUMNS, (Layer(COLUMNS, "identity"),), "quadratic", dtype=dtype)
        launcher = Launcher(cupy, architecture, ROWS, "full", single_block)
        arrays: dict[int, Any] = {}
        for argument in arguments:
            if isinstance(argument, np.ndarray) and id(argument) not in arrays:
                arrays[id(argument)] = cupy.empty(argument.shape, argument.dtype)
                if argument.size:
                    arrays[id(argument)].set(argument)
        trace = StepTrace()
        traced = [trace.array(arrays[id(argument)]) if id(argument) in arrays else argument for argument in arguments]
        trace.record(name, tuple(traced))
        launcher.run(launcher.compile(trace), 1)
        return [
            arrays[id(argument)].get(stream=stream) if id(argument) in arrays else argument for argument in arguments
        ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", get_args(DtypeName))
@pytest.mark.parametrize("name", KERNEL_CODES)
def test_kernel_matches_compiled_loop(name: str, dtype: DtypeName, device: str) -> None:
    arguments = create_arguments(name, dtype)
    expected = run_on_cpu(name, dtype)
    is_changed = False
    for single_block in (False, True):
        results = run_on_device(device, name, dtype, arguments, single_block=single_block)
        for index, (actual, desired) in enumerate(zip(results, expected, strict=True)):
            if not isinstance(desired, np.ndarray) or (name == "normalize_with_running_stats" and index in (1, 2)):
                continue  # scratch space that the GPU kernel does not use
            is_changed = is_changed or not np.array_equal(desired, arguments[index])
            finite = np.isfinite(desired)
            np.testing.assert_array_equal(np.isfinite(actual), finite)
            np.testing.assert_array_equal(actual[~finite], desired[~finite])
            scale = np.maximum(np.abs(desired[finite]), 1.0)
            assert (np.abs(actual[finite].astype(np.float64) - desired[finite]) <= TOLERANCE[dtype] * scale).all()
    assert is_changed or name == "identity_backward"
