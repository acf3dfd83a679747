"""CuPy's RawModule: kernels by name, whose launches are checked as CUDA checks them, and where it does not, as well."""

import ctypes
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _allocations, _host, _queues, accounts
from ._arrays import ndarray
from ._failures import (
    DRIVER_INVALID_VALUE,
    DRIVER_NOT_FOUND,
    DRIVER_OUT_OF_RESOURCES,
    ILLEGAL_ADDRESS,
    LAUNCH_FAILURE,
    CUDADriverError,
    failure,
)
from .cuda.stream import get_current_stream

_NOTHING, _SIGNED, _UNSIGNED, _FLOATING, _RECORD = range(5)
_KINDS = {"i": _SIGNED, "u": _UNSIGNED, "f": _FLOATING}
_DONE, _BARRIER_MISSED, _NO_STACK, _STRAY_ACCESS = range(4)
_MOST_BLOCKS = (2**31 - 1, 65535, 65535)
_MOST_THREADS = (1024, 1024, 64)

# Each launch runs its threads in an order of its own, and a process the same orders every time.
_launches = itertools.count()


@dataclass(frozen=True)
class _Parameter:
    pointer: bool
    kind: int
    size: int

    def __str__(self) -> str:
        names = ("void", f"int{8 * self.size}", f"uint{8 * self.size}", f"float{8 * self.size}", "a struct")
        return f"a pointer to {names[self.kind]}" if self.pointer else names[self.kind]

    def takes(self, value: object) -> Any:
        """The value as C has it, or TypeError: CUDA would take any bits for what the kernel expects."""
        if isinstance(value, ndarray) and self.pointer and self._holds(value):
            if value.nbytes and not _allocations.lies_in_one(value.data.ptr, value.nbytes):
                raise failure(ILLEGAL_ADDRESS, "The memory of an array does not live any more.")
            return ctypes.c_void_p(value.data.ptr)
        if type(value) is int and not self.pointer and self.size == 8 and self.kind in (_SIGNED, _UNSIGNED):
            low, high, kind = (
                (0, 2**64, ctypes.c_uint64) if self.kind == _UNSIGNED else (-(2**63), 2**63, ctypes.c_int64)
            )
            if not low <= value < high:
                raise OverflowError(f"{value} is no {self}.")
            return kind(value)
        if type(value) is float and not self.pointer and (self.kind, self.size) == (_FLOATING, 8):
            return ctypes.c_double(value)
        if isinstance(value, np.generic) and not self.pointer and self._is(value.dtype):
            return (ctypes.c_char * self.size).from_buffer_copy(value.tobytes())
        what = f"an array of {value.dtype}" if isinstance(value, ndarray) else f"{type(value).__name__}"
        raise TypeError(f"Unsupported type: the kernel takes {self} and was given {what}.")

    def _is(self, dtype: np.dtype[Any]) -> bool:
        return (_KINDS.get(dtype.kind), dtype.itemsize) == (self.kind, self.size)

    def _holds(self, array: ndarray) -> bool:
        return self.kind == _NOTHING or self.size == array.itemsize or (self.kind == _RECORD and self.size != 2)


class RawKernel:
    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self._enter = getattr(library, f"nabla_enter_{name}")
        self._launch = library.nabla_launch
        self._bound: int = getattr(library, f"nabla_bound_{name}")()
        signature = getattr(library, f"nabla_signature_{name}")
        signature.restype = ctypes.POINTER(ctypes.c_int)
        table = signature()
        self._parameters = [_Parameter(bool(code & 1), code >> 1 & 127, code >> 8) for code in table[1 : 1 + table[0]]]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0) -> None:
        if shared_mem:
            raise TypeError("The stand-in knows no dynamic shared memory.")
        blocks, threads = _extent(grid, _MOST_BLOCKS), _extent(block, _MOST_THREADS)
        if math.prod(threads) > 1024:
            raise CUDADriverError(DRIVER_INVALID_VALUE)
        if math.prod(threads) > self._bound:
            raise CUDADriverError(DRIVER_OUT_OF_RESOURCES)
        if len(args) != len(self._parameters):
            raise TypeError(f"{self.name} takes {len(self._parameters)} arguments and was given {len(args)}.")
        values = [parameter.takes(value) for parameter, value in zip(self._parameters, args, strict=True)]
        accounts.counters.launches += 1
        seed = ctypes.c_uint64(next(_launches))

        def run() -> None:
            addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            sizes = ctypes.c_uint * 3
            outcome = self._launch(self._enter, sizes(*blocks), sizes(*threads), addresses, seed)
            if outcome == _BARRIER_MISSED:
                reason = f"Some threads of a block of {self.name} ended while others were at a barrier."
                raise failure(LAUNCH_FAILURE, reason)
            if outcome == _STRAY_ACCESS:
                raise failure(ILLEGAL_ADDRESS, f"{self.name} touched memory that is not the device's.")
            if outcome == _NO_STACK:
                raise MemoryError("The stand-in found no room for the threads of a block.")

        _queues.enqueue(get_current_stream()._queue, run)


def _extent(given: tuple[int, ...], most: tuple[int, int, int]) -> tuple[int, ...]:
    if not isinstance(given, tuple):
        raise TypeError(f"Argument has incorrect type (expected tuple, got {type(given).__name__})")
    sizes = (*given, 1, 1)[:3]
    if any(not isinstance(n, int | np.integer) for n in sizes):
        raise TypeError("A grid and a block have whole sizes.")
    if len(given) > 3 or any(not 1 <= n <= limit for n, limit in zip(sizes, most, strict=True)):
        raise CUDADriverError(DRIVER_INVALID_VALUE)
    return tuple(int(n) for n in sizes)


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        if backend != "nvrtc":
            raise ValueError("The stand-in compiles in the place of NVRTC only.")
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("A source is a str, and its options are a tuple.")
        self.code, self.options, self.backend = code, options, backend
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> RawKernel:
        # As in CuPy, the first call compiles.
        if self._library is None:
            self._library = _host.library(self.code, self.options)
        if not hasattr(self._library, f"nabla_enter_{name}"):
            raise CUDADriverError(DRIVER_NOT_FOUND)
        return RawKernel(self._library, name)
