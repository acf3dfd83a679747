"""CuPy's RawModule: kernels by name. Launches are checked as CUDA checks them, arguments more strictly."""

import ctypes
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _allocations, _host_compiler, _queues, monitor
from ._arrays import ndarray
from ._errors import (
    DRIVER_INVALID_VALUE,
    DRIVER_NOT_FOUND,
    DRIVER_OUT_OF_RESOURCES,
    ILLEGAL_ADDRESS,
    LAUNCH_FAILURE,
    CUDADriverError,
    runtime_error,
)
from .cuda.stream import get_current_stream

# Kinds of parameters and outcomes of launches, as in include/.
_VOID, _SIGNED, _UNSIGNED, _FLOATING, _STRUCT = range(5)
_KINDS = {"i": _SIGNED, "u": _UNSIGNED, "f": _FLOATING}
_DONE, _BARRIER_MISSED, _NO_STACK, _ILLEGAL_ACCESS = range(4)
_MAX_GRID = (2**31 - 1, 65535, 65535)
_MAX_BLOCK = (1024, 1024, 64)

# Seeds of the order in which a launch runs its threads: reproducible in every process, and different per launch.
_launch_seeds = itertools.count()


@dataclass(frozen=True)
class _Parameter:
    is_pointer: bool
    kind: int
    size: int

    def __str__(self) -> str:
        names = ("void", f"int{8 * self.size}", f"uint{8 * self.size}", f"float{8 * self.size}", "a struct")
        return f"a pointer to {names[self.kind]}" if self.is_pointer else names[self.kind]

    def convert(self, value: object) -> Any:
        """Return an argument as a C value. Raises TypeError if it is of another type, whose bits CUDA would accept."""
        if isinstance(value, ndarray) and self.is_pointer and self._points_to(value):
            if value.nbytes and not _allocations.is_allocated(value.data.ptr, value.nbytes):
                raise runtime_error(ILLEGAL_ADDRESS, "The memory of an array has been freed.")
            return ctypes.c_void_p(value.data.ptr)
        if type(value) is int and not self.is_pointer and self.size == 8 and self.kind in (_SIGNED, _UNSIGNED):
            low, high, c_type = (
                (0, 2**64, ctypes.c_uint64) if self.kind == _UNSIGNED else (-(2**63), 2**63, ctypes.c_int64)
            )
            if not low <= value < high:
                raise OverflowError(f"{value} is out of the range of {self}.")
            return c_type(value)
        if type(value) is float and not self.is_pointer and (self.kind, self.size) == (_FLOATING, 8):
            return ctypes.c_double(value)
        if isinstance(value, np.generic) and not self.is_pointer and self._has_dtype(value.dtype):
            return (ctypes.c_char * self.size).from_buffer_copy(value.tobytes())
        actual = f"an array of {value.dtype}" if isinstance(value, ndarray) else f"{type(value).__name__}"
        raise TypeError(f"Unsupported type: the kernel takes {self}, got {actual}.")

    def _has_dtype(self, dtype: np.dtype[Any]) -> bool:
        return (_KINDS.get(dtype.kind), dtype.itemsize) == (self.kind, self.size)

    def _points_to(self, array: ndarray) -> bool:
        return self.kind == _VOID or self.size == array.itemsize or (self.kind == _STRUCT and self.size != 2)


class RawKernel:
    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self._enter = getattr(library, f"nabla_enter_{name}")
        self._launch = library.nabla_launch
        self._max_threads: int = getattr(library, f"nabla_bound_{name}")()
        signature = getattr(library, f"nabla_signature_{name}")
        signature.restype = ctypes.POINTER(ctypes.c_int)
        table = signature()
        self._parameters = [_Parameter(bool(code & 1), code >> 1 & 127, code >> 8) for code in table[1 : 1 + table[0]]]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0) -> None:
        if shared_mem:
            raise TypeError("The fake does not support dynamic shared memory.")
        blocks, threads = _validate_extent(grid, _MAX_GRID), _validate_extent(block, _MAX_BLOCK)
        if math.prod(threads) > 1024:
            raise CUDADriverError(DRIVER_INVALID_VALUE)
        if math.prod(threads) > self._max_threads:
            raise CUDADriverError(DRIVER_OUT_OF_RESOURCES)
        if len(args) != len(self._parameters):
            raise TypeError(f"{self.name} takes {len(self._parameters)} arguments, got {len(args)}.")
        values = [parameter.convert(value) for parameter, value in zip(self._parameters, args, strict=True)]
        monitor.counters.launches += 1
        seed = ctypes.c_uint64(next(_launch_seeds))

        def run() -> None:
            addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            sizes = ctypes.c_uint * 3
            outcome = self._launch(self._enter, sizes(*blocks), sizes(*threads), addresses, seed)
            if outcome == _BARRIER_MISSED:
                reason = f"Some threads of a block of {self.name} ended while others were at a barrier."
                raise runtime_error(LAUNCH_FAILURE, reason)
            if outcome == _ILLEGAL_ACCESS:
                raise runtime_error(ILLEGAL_ADDRESS, f"{self.name} accessed memory that is not on the device.")
            if outcome == _NO_STACK:
                raise MemoryError("The fake could not allocate the stacks of a block's threads.")

        _queues.enqueue(get_current_stream()._queue, run)


def _validate_extent(extent: tuple[int, ...], limits: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the three sizes of a grid or a block."""
    if not isinstance(extent, tuple):
        raise TypeError(f"Argument has incorrect type (expected tuple, got {type(extent).__name__})")
    sizes = (*extent, 1, 1)[:3]
    if any(not isinstance(n, int | np.integer) for n in sizes):
        raise TypeError("The sizes of a grid or a block must be integers.")
    if len(extent) > 3 or any(not 1 <= n <= limit for n, limit in zip(sizes, limits, strict=True)):
        raise CUDADriverError(DRIVER_INVALID_VALUE)
    return tuple(int(n) for n in sizes)


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        if backend != "nvrtc":
            raise ValueError("The fake replaces only NVRTC.")
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("The source must be a str, and its options a tuple.")
        self.code, self.options, self.backend = code, options, backend
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> RawKernel:
        # As in CuPy, the first call compiles.
        if self._library is None:
            self._library = _host_compiler.compile_library(self.code, self.options)
        if not hasattr(self._library, f"nabla_enter_{name}"):
            raise CUDADriverError(DRIVER_NOT_FOUND)
        return RawKernel(self._library, name)
