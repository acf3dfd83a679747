"""Traces a step into a list of kernel calls by running it with traced arrays.

Whatever varies between steps (position in the epoch, η, dropout mask) is in memory, so that one trace is valid for all
steps with the same number of rows.
"""

import math
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.jit import KERNELS, Kernel

Values = TypeVar("Values", bound=tuple[Any, ...])


class StepTrace:
    """The kernel calls of a step, in their order.

    Attributes:
        calls: The calls.
        owners: The arrays whose memory they use.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.owners: list[Any] = []

    def array(self, array: Any) -> Any:
        """Return the traced array, typed as an array, of a NumPy or CuPy array.

        Raises:
            ValueError: A NumPy array is not contiguous.
        """
        self.owners.append(array)
        if not isinstance(array, np.ndarray):
            return TracedArray(self, array.data.ptr, array.shape, array.dtype)
        if not array.flags.c_contiguous:
            raise ValueError("A step needs contiguous arrays.")
        return TracedArray(self, array.ctypes.data, array.shape, array.dtype)

    def arrays(self, values: Values) -> Values:
        """Return a tuple, named or not, with all arrays in it traced."""
        make = getattr(values, "_make", tuple)
        return cast(Values, make(map(self._trace_value, values)))

    def _trace_value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return self.arrays(value)
        is_array = hasattr(value, "shape") and not isinstance(value, np.generic)
        return self.array(value) if is_array else value

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Append the call of a kernel."""
        kernel = KERNELS[name]
        typed_arguments = list(zip(arguments, kernel.argument_types, strict=True))
        self.calls.append(
            Call(
                kernel,
                # Not the traced arrays: these refer to the trace, and the cycle would keep all arrays for a while.
                tuple(
                    ArrayReference(argument.pointer, argument.shape, argument.dtype)
                    for argument, type_ in typed_arguments
                    if type_ is None
                ),
                tuple(int(argument) for argument, type_ in typed_arguments if type_ is int),
                tuple(float(argument) for argument, type_ in typed_arguments if type_ is float),
            )
        )


class ArrayReference:
    """The address, shape and dtype of an array."""

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.pointer = pointer
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class TracedArray(ArrayReference):
    """Represents an array in memory: kernels that are called with it record the call. Views are traced arrays too."""

    def __init__(self, trace: StepTrace, pointer: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        super().__init__(pointer, shape, dtype)
        self._trace = trace

    def __getitem__(self, index: slice) -> "TracedArray":
        """Return a view of adjacent elements of a vector."""
        first, last = int(index.start), int(index.stop)
        if len(self.shape) != 1 or not 0 <= first <= last <= self.shape[0] or index.step is not None:
            raise IndexError(f"The slice {index} is not a view of a vector of shape {self.shape}.")
        return TracedArray(self._trace, self.pointer + first * self.dtype.itemsize, (last - first,), self.dtype)

    def reshape(self, *shape: int) -> "TracedArray":
        """Return a view with another shape of the same size."""
        sizes = tuple(int(size) for size in shape)
        if sizes == (-1,):
            sizes = (self.size,)
        if math.prod(sizes) != self.size:
            raise ValueError(f"Cannot reshape {self.shape} to {sizes}.")
        return TracedArray(self._trace, self.pointer, sizes, self.dtype)

    def record(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Append the call of a kernel to the trace."""
        self._trace.record(name, arguments)


class Call(NamedTuple):
    """A kernel and its arguments: arrays, integers and floats, each in the order of the arguments."""

    kernel: Kernel
    arrays: tuple[ArrayReference, ...]
    integers: tuple[int, ...]
    floats: tuple[float, ...]
