"""Runs traced steps on a GPU: kernel by kernel with cuBLAS for matrix products, or many steps in one kernel."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import DtypeName, Precision
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.cuda.codegen import (
    KERNEL_CODES,
    MAX_ARRAYS,
    MAX_BLOCKS,
    MAX_SCALARS,
    RUN_STEPS,
    STEP_THREADS,
    THREADS,
    WIDTH,
    source,
)
from nabla.engine.nn.tracing import ArrayReference, Call, StepTrace, TracedArray

# Layouts of the structs in kernels/types.cuh.
_ARRAY = np.dtype([("data", np.uint64), ("rows", np.int64), ("columns", np.int64)])
CALL = np.dtype(
    [
        ("code", np.int64),
        ("arrays", _ARRAY, (MAX_ARRAYS,)),
        ("integers", np.int64, (MAX_SCALARS,)),
        ("floats", np.float64, (MAX_SCALARS,)),
    ]
)
SCRATCH_BYTES = 8 * MAX_BLOCKS + 8


def _per_element(array_index: int) -> Callable[[Call], int]:
    """Return a function for the number of blocks with a thread per element of one of the call's arrays."""
    return lambda call: -(-call.arrays[array_index].size // THREADS)


def _per_column(array_index: int) -> Callable[[Call], int]:
    return lambda call: -(-call.arrays[array_index].shape[1] // WIDTH)


def _per_row(array_index: int) -> Callable[[Call], int]:
    return lambda call: -(-call.arrays[array_index].shape[0] // (THREADS // WIDTH))


def _single(call: Call) -> int:
    return 1


# Number of blocks to launch, by template.
_BLOCKS: dict[str, Callable[[Call], int]] = {
    "forward_from_output": _per_element(0),
    "backward_from_output": _per_element(1),
    "forward_from_input": _per_element(0),
    "backward_from_input": _per_element(0),
    "softmax_forward": _per_row(0),
    "softmax_backward": _per_row(1),
    "add_cost": _per_element(0),
    "differentiate_cost": _per_element(0),
    "count_categorical_correct": _per_element(0),
    "count_binary_correct": _per_element(0),
    "add_absolute_errors": _per_element(0),
    "add_squared_errors": _per_column(0),
    "advance_cursor": _single,
    "gather_rows": _per_element(3),
    "smooth_labels": _per_element(0),
    "compute_batch_weights": _per_element(0),
    "apply_dropout": _per_element(2),
    "sum_rows": _per_column(0),
    "normalize_batch": _per_column(0),
    "update_running_stats": _per_element(0),
    "normalize_with_running_stats": _per_element(0),
    "scale_by_gamma": _per_element(0),
    "batch_norm_backward": _per_column(0),
    "matmul_nt": _per_element(2),
    "matmul_tn": _per_element(2),
    "matmul_nn": _per_element(2),
    "penalize": _per_element(0),
    "compute_norm": _per_element(0),
    "clip_by_value": _per_element(0),
    "clip_by_norm": _per_element(0),
    "clip_row_norms": _per_row(0),
    "prepare": _single,
    "update_without_moments": _per_element(0),
    "update_with_one_moment": _per_element(0),
    "update_with_two_moments": _per_element(0),
    "round_to_half": _per_element(0),
}


def count_blocks(call: Call) -> int:
    """Return the number of blocks to launch for a call."""
    assert call.kernel.template is not None
    return max(1, min(_BLOCKS[call.kernel.template](call), MAX_BLOCKS))


def encode_calls(calls: list[Call]) -> npt.NDArray[np.void]:
    """Return calls as an array of the structs that kernels read."""
    encoded = np.zeros(len(calls), CALL)
    for entry, call in zip(encoded, calls, strict=True):
        entry["code"] = KERNEL_CODES[call.kernel.name]
        for index, array in enumerate(call.arrays):
            rows, columns = array.shape if len(array.shape) == 2 else (1, array.size)
            entry["arrays"][index] = (array.pointer, rows, columns)
        entry["integers"][: len(call.integers)] = call.integers
        entry["floats"][: len(call.floats)] = call.floats
    return encoded


# For each kernel and operand of outᵀ: the index of its array, and whether cuBLAS transposes it.
MATMULS = {
    "matmul_nt": ((1, True), (0, False)),
    "matmul_tn": ((1, False), (0, True)),
    "matmul_nn": ((1, False), (0, False)),
}


class CublasMatmul:
    """Runs traced matrix products in one precision."""

    def __init__(self, cupy: Any, dtype: DtypeName, precision: Precision) -> None:
        cublas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        types = {"float32": runtime.CUDA_R_32F, "float64": runtime.CUDA_R_64F}
        compute_types = {
            "full": cublas.CUBLAS_COMPUTE_32F if dtype == "float32" else cublas.CUBLAS_COMPUTE_64F,
            "tf32": cublas.CUBLAS_COMPUTE_32F_FAST_TF32,
            "half": cublas.CUBLAS_COMPUTE_32F,
        }
        self._gemm = cublas.gemmEx
        self._handle = cupy.cuda.device.get_cublas_handle()
        self._operations = (cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T)
        self._type = types[dtype]
        self._operand_type = runtime.CUDA_R_16F if precision == "half" else self._type
        self._compute_type = compute_types[precision]
        self._algorithm = cublas.CUBLAS_GEMM_DEFAULT
        self._dtype = dtype
        # Factors of the product and of the result's previous value: host memory, which cuBLAS reads during the call.
        self._zero = np.zeros(1, dtype)
        self._factors: dict[float, Any] = {}

    def arguments(self, call: Call, operands: tuple[ArrayReference, ArrayReference], scale: float) -> tuple[Any, ...]:
        """Return the arguments of `run` for a traced product.

        Args:
            call: The traced product.
            operands: The operands, in place of the first two arrays of the call and with the same shapes.
            scale: Factor by which the product of these operands is larger than the result.
        """
        out = call.arrays[2]
        (left, left_transposed), (right, right_transposed) = MATMULS[call.kernel.name]
        first, second = operands[left], operands[right]
        rows, columns = out.shape
        inner = first.shape[1] if left_transposed else first.shape[0]
        factor = self._factors.setdefault(scale, np.array([1.0 / scale], self._dtype))
        return (
            self._handle,
            self._operations[left_transposed],
            self._operations[right_transposed],
            columns,
            rows,
            inner,
            factor.ctypes.data,
            first.pointer,
            self._operand_type,
            first.shape[1],
            second.pointer,
            self._operand_type,
            second.shape[1],
            self._zero.ctypes.data,
            out.pointer,
            self._type,
            columns,
            self._compute_type,
            self._algorithm,
        )

    def run(self, arguments: tuple[Any, ...]) -> None:
        """Run a product on the current stream."""
        self._gemm(*arguments)


# Up to this many multiply-adds, one block runs a step faster than the host can launch the step's kernels. An estimate:
# each needs two numbers, of which a block loads 32 per clock cycle if they are adjacent.
MAX_SINGLE_BLOCK_MULTIPLY_ADDS = 500_000
# So that the host gets control back in between, for example to pause the run.
_MAX_STEPS_PER_LAUNCH = 1000


class CompiledStep(NamedTuple):
    """A traced step on the device, both for the kernel that runs whole steps and kernel by kernel.

    Attributes:
        calls: The encoded calls, in device memory.
        length: Number of calls.
        launches: Each call's launch function and its arguments.
    """

    calls: Any
    length: int
    launches: tuple[tuple[Any, tuple[Any, ...]], ...]


class Launcher:
    """Runs traced steps of networks of one architecture on the current stream."""

    def __init__(
        self, cupy: Any, architecture: Architecture, rows: int, precision: Precision, single_block: bool | None
    ) -> None:
        """Compile the kernels.

        Args:
            cupy: The CuPy module.
            architecture: The architecture whose steps are run.
            rows: Largest number of rows of a step.
            precision: Precision of the matrix products.
            single_block: Whether one kernel of one block runs whole steps. By default it does for small networks.
        """
        self._cupy = cupy
        self._module = cupy.RawModule(code=source(architecture.dtype), options=("-std=c++17",))
        self._matmul = CublasMatmul(cupy, architecture.dtype, precision)
        self._run_steps = self._module.get_function(RUN_STEPS)
        self._scratch = cupy.zeros(SCRATCH_BYTES, np.uint8)
        self._half_precision = precision == "half"
        sizes = operand_sizes(architecture, rows) if self._half_precision else (0, 0)
        self._half_buffers = [cupy.zeros(size, np.uint16) for size in sizes]
        if single_block is None:
            single_block = architecture.multiply_adds(rows) <= MAX_SINGLE_BLOCK_MULTIPLY_ADDS
        self._single_block = single_block and precision == "full"

    def compile(self, trace: StepTrace) -> CompiledStep:
        """Upload a traced step, and prepare the launches of its kernels."""
        if self._half_precision:
            trace = self._with_half_operands(trace)
        encoded = encode_calls(trace.calls)
        calls = self._cupy.empty(encoded.nbytes, np.uint8)
        calls.set(encoded.view(np.uint8))
        launches = tuple(self._build_launch(call, calls, index) for index, call in enumerate(trace.calls))
        return CompiledStep(calls, len(encoded), launches)

    def run(self, step: CompiledStep, times: int) -> None:
        """Run the step `times` times."""
        if self._single_block:
            for start in range(0, times, _MAX_STEPS_PER_LAUNCH):
                steps = min(_MAX_STEPS_PER_LAUNCH, times - start)
                self._run_steps((1,), (STEP_THREADS,), (step.calls, step.length, steps, self._scratch))
            return
        for _ in range(times):
            for launch, arguments in step.launches:
                launch(*arguments)

    def _build_launch(self, call: Call, calls: Any, index: int) -> tuple[Any, tuple[Any, ...]]:
        if call.kernel.name not in MATMULS:
            kernel = self._module.get_function(call.kernel.name)
            return kernel, ((count_blocks(call),), (THREADS,), (calls, index, self._scratch))
        operands, scale = (call.arrays[0], call.arrays[1]), 1.0
        if self._half_precision:
            operands = self._half_operand(operands[0], 0), self._half_operand(operands[1], 1)
            scale = _scale(call, 0)
        return self._matmul.run, (self._matmul.arguments(call, operands, scale),)

    def _half_operand(self, operand: ArrayReference, index: int) -> TracedArray:
        """Return the buffer for an operand's half-precision copy, in the operand's shape."""
        buffer = self._half_buffers[index]
        traced: TracedArray = StepTrace().array(buffer)
        return traced[0 : operand.size].reshape(*operand.shape)

    def _with_half_operands(self, trace: StepTrace) -> StepTrace:
        """Return a trace in which calls that round the operands precede each matrix product."""
        extended = StepTrace()
        for call in trace.calls:
            if call.kernel.name in MATMULS:
                for index, operand in enumerate(call.arrays[:2]):
                    half = self._half_operand(operand, index)
                    extended.record("round_to_half", (operand, half, _scale(call, index)))
            extended.calls.append(call)
        return extended


def _scale(call: Call, operand: int) -> float:
    """Return the power of two by which an operand is scaled before rounding: about m for deltas, else 1.

    Deltas have the factor 1/m, which would take small ones below the range of float16.
    """
    is_delta = operand == 0 and call.kernel.name != "matmul_nt"
    return float(2 ** (call.arrays[0].shape[0] - 1).bit_length()) if is_delta else 1.0


def operand_sizes(architecture: Architecture, rows: int) -> tuple[int, int]:
    """Return the sizes of the largest first and the largest second operand of a step's matrix products."""
    largest_batch = rows * max(itertools.chain.from_iterable(architecture.shapes))
    largest_weights = max(inputs * units for inputs, units in architecture.shapes)
    return largest_batch, max(largest_batch, largest_weights)
