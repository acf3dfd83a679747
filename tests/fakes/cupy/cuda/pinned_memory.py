"""Host memory that the device reads and writes by itself, so that the host need not wait for a copy."""

import mmap
import weakref
from typing import Self

import numpy as np

from .. import accounts

__all__ = ["PinnedMemoryPointer", "PinnedMemoryPool", "alloc_pinned_memory"]

# As in CuPy, the buffer may be longer than what was asked for: a count must be given where an array is made of it.
_UNIT = 512


class PinnedMemoryPointer(mmap.mmap):
    ptr: int

    def __new__(cls, size: int) -> Self:
        return super().__new__(cls, -1, (size // _UNIT + 1) * _UNIT)

    def __init__(self, size: int) -> None:
        self.ptr = np.frombuffer(self, np.uint8).ctypes.data
        _living.add(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_living: weakref.WeakSet[PinnedMemoryPointer] = weakref.WeakSet()


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    accounts.count("allocations", "Pinned memory was allocated")
    return PinnedMemoryPointer(size)


class PinnedMemoryPool:
    """Keeps nothing: memory goes back where it is dropped."""

    def free_all_blocks(self) -> None:
        accounts.count("frees", "The pool of pinned memory was emptied")


_pool = PinnedMemoryPool()


def get_default_pinned_memory_pool() -> PinnedMemoryPool:
    return _pool


def is_pinned(ptr: int, size: int) -> bool:
    return any(memory.ptr <= ptr and ptr + size <= memory.ptr + len(memory) for memory in list(_living))
