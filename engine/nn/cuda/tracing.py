"""Traces a training step into a list of kernel calls by running it with traced arrays.

Whatever varies between steps (position in the epoch, η, dropout mask) is in device memory, so that one trace is valid
for all steps with the same number of rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.cuda.codegen import KERNEL_CODES, MAX_ARRAYS, MAX_BLOCKS, MAX_SCALARS, THREADS, WIDTH
from nabla.engine.nn.jit import KERNELS, Kernel

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


def _per_element(array_index: int) -> Callable[["Call"], int]:
    """Return a function for the number of blocks with a thread per element of one of the call's arrays."""
    return lambda call: -(-call.arrays[array_index].size // THREADS)


def _per_column(array_index: int) -> Callable[["Call"], int]:
    return lambda call: -(-call.arrays[array_index].shape[1] // WIDTH)


def _per_row(array_index: int) -> Callable[["Call"], int]:
    return lambda call: -(-call.arrays[array_index].shape[0] // (THREADS // WIDTH))


def _single(call: "Call") -> int:
    return 1


# Number of blocks to launch, by template.
_BLOCKS: dict[str, Callable[["Call"], int]] = {
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


class StepTrace:
    """The kernel calls of a step, in their order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def array(self, device_array: Any) -> "TracedArray":
        """Return the traced array of a device array."""
        return TracedArray(self, device_array.data.ptr, device_array.shape, device_array.itemsize)

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Append the call of a kernel."""
        kernel = KERNELS[name]
        typed_arguments = list(zip(arguments, kernel.argument_types, strict=True))
        self.calls.append(
            Call(
                kernel,
                tuple(argument for argument, type_ in typed_arguments if type_ is None),
                tuple(int(argument) for argument, type_ in typed_arguments if type_ is int),
                tuple(float(argument) for argument, type_ in typed_arguments if type_ is float),
            )
        )

    def encode(self) -> npt.NDArray[np.void]:
        """Return the calls as an array of the structs that kernels read."""
        encoded = np.zeros(len(self.calls), CALL)
        for entry, call in zip(encoded, self.calls, strict=True):
            entry["code"] = KERNEL_CODES[call.kernel.name]
            for index, array in enumerate(call.arrays):
                rows, columns = array.shape if len(array.shape) == 2 else (1, array.size)
                entry["arrays"][index] = (array.pointer, rows, columns)
            entry["integers"][: len(call.integers)] = call.integers
            entry["floats"][: len(call.floats)] = call.floats
        return encoded


class TracedArray:
    """Represents an array in device memory by its address and shape; views are traced arrays too."""

    def __init__(self, trace: StepTrace, pointer: int, shape: tuple[int, ...], itemsize: int) -> None:
        self.pointer = pointer
        self.shape = shape
        self._trace = trace
        self._itemsize = itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, index: slice) -> "TracedArray":
        """Return a view of adjacent elements of a vector."""
        first, last = int(index.start), int(index.stop)
        if len(self.shape) != 1 or not 0 <= first <= last <= self.shape[0] or index.step is not None:
            raise IndexError(f"The slice {index} is not a view of a vector of shape {self.shape}.")
        return TracedArray(self._trace, self.pointer + first * self._itemsize, (last - first,), self._itemsize)

    def reshape(self, *shape: int) -> "TracedArray":
        """Return a view with another shape of the same size."""
        sizes = tuple(int(size) for size in shape)
        if sizes == (-1,):
            sizes = (self.size,)
        if np.prod(sizes) != self.size:
            raise ValueError(f"Cannot reshape {self.shape} to {sizes}.")
        return TracedArray(self._trace, self.pointer, sizes, self._itemsize)

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Append the call of a kernel to the trace."""
        self._trace.record(name, arguments)


class Call(NamedTuple):
    """A kernel and its arguments: arrays, integers and floats, each in the order of the arguments."""

    kernel: Kernel
    arrays: tuple[TracedArray, ...]
    integers: tuple[int, ...]
    floats: tuple[float, ...]

    @property
    def blocks(self) -> int:
        """Number of blocks to launch."""
        return max(1, min(_BLOCKS[self.kernel.template](self), MAX_BLOCKS))
