"""Steps of a GPU, written down: the step that the CPU compiles is run once by Python with recorded arrays.

What depends on the step (its place in the epoch, η, the mask) is in the device's memory, so that one recording is right
for all steps of as many rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.cuda.codegen import CODES, MOST_ARRAYS, MOST_BLOCKS, MOST_NUMBERS, THREADS, WIDTH
from nabla.engine.nn.jit import KERNELS, Kernel

# The layouts of kernels/types.cuh.
_ARRAY = np.dtype([("data", np.uint64), ("rows", np.int64), ("columns", np.int64)])
CALL = np.dtype(
    [
        ("code", np.int64),
        ("arrays", _ARRAY, (MOST_ARRAYS,)),
        ("whole", np.int64, (MOST_NUMBERS,)),
        ("numbers", np.float64, (MOST_NUMBERS,)),
    ]
)
SCRATCH_BYTES = 8 * MOST_BLOCKS + 8


def _each(place: int) -> Callable[["Call"], int]:
    """A thread for each element of the array at this place."""
    return lambda call: -(-call.arrays[place].size // THREADS)


def _each_column(place: int) -> Callable[["Call"], int]:
    return lambda call: -(-call.arrays[place].shape[1] // WIDTH)


def _each_row(place: int) -> Callable[["Call"], int]:
    return lambda call: -(-call.arrays[place].shape[0] // (THREADS // WIDTH))


def _once(call: "Call") -> int:
    return 1


# How many blocks a pattern is worth.
_BLOCKS: dict[str, Callable[["Call"], int]] = {
    "forward_from_output": _each(0),
    "backward_from_output": _each(1),
    "forward_from_input": _each(0),
    "backward_from_input": _each(0),
    "softmax_forward": _each_row(0),
    "softmax_backward": _each_row(1),
    "add_cost": _each(0),
    "differentiate_cost": _each(0),
    "count_classes": _each(0),
    "count_sides": _each(0),
    "add_absolute_errors": _each(0),
    "add_squared_errors": _each_column(0),
    "advance": _once,
    "gather": _each(3),
    "smooth": _each(0),
    "divide": _each(0),
    "drop": _each(2),
    "sum_rows": _each_column(0),
    "standardize": _each_column(0),
    "remember": _each(0),
    "standardize_as_remembered": _each(0),
    "multiply": _each(0),
    "through_batch_norm": _each_column(0),
    "multiply_by_transpose": _each(2),
    "multiply_transpose": _each(2),
    "multiply_plainly": _each(2),
    "penalize": _each(0),
    "measure_length": _each(0),
    "clip_values": _each(0),
    "shorten": _each(0),
    "limit_rows": _each_row(0),
    "prepare": _once,
    "update_without_moments": _each(0),
    "update_with_one_moment": _each(0),
    "update_with_two_moments": _each(0),
    "round_to_half": _each(0),
}


class Recording:
    """The calls of a step, in their order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def array(self, device_array: Any) -> "Recorded":
        """A device's array, for the step to be run with."""
        return Recorded(self, device_array.data.ptr, device_array.shape, device_array.itemsize)

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """What a kernel does when it is called with recorded arrays."""
        kernel = KERNELS[name]
        given = list(zip(arguments, kernel.kinds, strict=True))
        self.calls.append(
            Call(
                kernel,
                tuple(argument for argument, kind in given if kind is None),
                tuple(int(argument) for argument, kind in given if kind is int),
                tuple(float(argument) for argument, kind in given if kind is float),
            )
        )

    def program(self) -> npt.NDArray[np.void]:
        """The calls as kernels read them."""
        program = np.zeros(len(self.calls), CALL)
        for entry, call in zip(program, self.calls, strict=True):
            entry["code"] = CODES[call.kernel.name]
            for place, array in enumerate(call.arrays):
                rows, columns = array.shape if len(array.shape) == 2 else (1, array.size)
                entry["arrays"][place] = (array.pointer, rows, columns)
            entry["whole"][: len(call.whole)] = call.whole
            entry["numbers"][: len(call.numbers)] = call.numbers
        return program


class Recorded:
    """An array in a device's memory, as far as a step looks at it: its shape, and its parts as other arrays."""

    def __init__(self, recording: Recording, pointer: int, shape: tuple[int, ...], itemsize: int) -> None:
        self.pointer = pointer
        self.shape = shape
        self._recording = recording
        self._itemsize = itemsize

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, part: slice) -> "Recorded":
        """Elements of a vector that lie beside each other."""
        first, last = int(part.start), int(part.stop)
        if len(self.shape) != 1 or not 0 <= first <= last <= self.shape[0] or part.step is not None:
            raise IndexError(f"There is no part {part} of {self.shape}.")
        return Recorded(self._recording, self.pointer + first * self._itemsize, (last - first,), self._itemsize)

    def reshape(self, *shape: int) -> "Recorded":
        wanted = tuple(int(size) for size in shape)
        if wanted == (-1,):
            wanted = (self.size,)
        if np.prod(wanted) != self.size:
            raise ValueError(f"{self.shape} cannot become {wanted}.")
        return Recorded(self._recording, self.pointer, wanted, self._itemsize)

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Write down that a kernel was called."""
        self._recording.record(name, arguments)


class Call(NamedTuple):
    """Of a kernel: its arrays, whole numbers and other numbers, each in the order of its arguments."""

    kernel: Kernel
    arrays: tuple[Recorded, ...]
    whole: tuple[int, ...]
    numbers: tuple[float, ...]

    @property
    def blocks(self) -> int:
        return max(1, min(_BLOCKS[self.kernel.pattern](self), MOST_BLOCKS))
