"""Pinned host memory, which the device copies from and to without the host waiting."""

import mmap
import weakref
from typing import Self

import numpy as np

from .. import monitor

__all__ = ["PinnedMemoryPointer", "PinnedMemoryPool", "alloc_pinned_memory"]

# As in CuPy, a buffer may be longer than requested, so that arrays created from it must specify their length.
_UNIT = 512


class PinnedMemoryPointer(mmap.mmap):
    ptr: int

    def __new__(cls, size: int) -> Self:
        return super().__new__(cls, -1, (size // _UNIT + 1) * _UNIT)

    def __init__(self, size: int) -> None:
        self.ptr = np.frombuffer(self, np.uint8).ctypes.data
        _live_buffers.add(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_live_buffers: weakref.WeakSet[PinnedMemoryPointer] = weakref.WeakSet()


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    monitor.count("allocations", "Pinned memory was allocated")
    return PinnedMemoryPointer(size)


class PinnedMemoryPool:
    """A pool that keeps nothing: memory is freed with its last reference."""

    def free_all_blocks(self) -> None:
        monitor.count("frees", "The pool of pinned memory was emptied")


_pool = PinnedMemoryPool()


def get_default_pinned_memory_pool() -> PinnedMemoryPool:
    return _pool


def is_pinned(ptr: int, size: int) -> bool:
    return any(memory.ptr <= ptr and ptr + size <= memory.ptr + len(memory) for memory in list(_live_buffers))
