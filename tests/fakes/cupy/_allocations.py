"""Device memory: host pages between inaccessible guard pages, with a mapping of its own for each allocation.

Memory that was never written reads as NaN. The bytes around allocations are checked whenever the host waits for the
device. An access beyond them, or to freed memory, aborts the kernel as an illegal access does on a GPU.
"""

import bisect
import ctypes
import mmap
import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

from . import _queues, monitor
from .cuda.memory import ALLOCATION_UNIT, get_default_memory_pool

Bytes = npt.NDArray[np.uint8]

_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_PROT_NONE = 0
_UNINITIALIZED_BYTE, _GUARD_BYTE = 0xFF, 0xCD
_MAX_GUARD_BYTES = ALLOCATION_UNIT
# Size of the inaccessible pages on both sides of an allocation.
_GUARD_PAGES_BYTES = 64 * mmap.PAGESIZE
_GUARD_PATTERN = bytes([_GUARD_BYTE]) * ALLOCATION_UNIT

_live_allocations: dict[int, "Allocation"] = {}
_sorted_addresses: list[int] = []
# Freed mappings stay inaccessible until this many others have been freed, so that late accesses are noticed.
_quarantine: deque[mmap.mmap] = deque(maxlen=512)


def host_view(ptr: int, size: int) -> Bytes:
    """Return memory as a NumPy array; the caller keeps the memory alive."""
    view: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(ptr))
    return view


class Allocation:
    """Device memory that lives as long as this object. An empty allocation has the address 0."""

    def __init__(self, size: int) -> None:
        monitor.count("allocations", "Device memory was allocated")
        self.size, self.ptr = size, 0
        if not size:
            return
        with _queues.lock:
            get_default_memory_pool()._allocate(size)
        padded_size = -(-size // ALLOCATION_UNIT) * ALLOCATION_UNIT
        accessible_size = -(-padded_size // mmap.PAGESIZE) * mmap.PAGESIZE
        mapping = mmap.mmap(-1, accessible_size + 2 * _GUARD_PAGES_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        base = np.frombuffer(mapping, np.uint8).ctypes.data
        _mprotect(base, _GUARD_PAGES_BYTES, _PROT_NONE)
        _mprotect(base + _GUARD_PAGES_BYTES + accessible_size, _GUARD_PAGES_BYTES, _PROT_NONE)
        # At the end of its pages, because kernels that go out of bounds mostly do so at the upper end.
        self.ptr = base + _GUARD_PAGES_BYTES + accessible_size - padded_size
        self._mapping = mapping
        host_view(self.ptr, size)[:] = _UNINITIALIZED_BYTE
        guard_size = min(_MAX_GUARD_BYTES, self.ptr - base - _GUARD_PAGES_BYTES)
        self._guard_bounds = (self.ptr - guard_size, self.ptr + padded_size)
        self.reset_guards()
        with _queues.lock:
            _live_allocations[self.ptr] = self
            bisect.insort(_sorted_addresses, self.ptr)

    def guards_are_intact(self) -> bool:
        (first, last), end = self._guard_bounds, self.ptr + self.size
        before, after = ctypes.string_at(first, self.ptr - first), ctypes.string_at(end, last - end)
        return before == _GUARD_PATTERN[: len(before)] and after == _GUARD_PATTERN[: len(after)]

    def reset_guards(self) -> None:
        (first, last), end = self._guard_bounds, self.ptr + self.size
        ctypes.memset(first, _GUARD_BYTE, self.ptr - first)
        ctypes.memset(end, _GUARD_BYTE, last - end)


class Owner:
    """Frees an allocation when no array refers to it any more."""

    def __init__(self, size: int) -> None:
        self.allocation = Allocation(size)
        if size:
            weakref.finalize(self, _free, self.allocation).atexit = False


def _free(allocation: Allocation) -> None:
    with _queues.lock:
        get_default_memory_pool()._free(allocation.size)
    monitor.count("frees", "Device memory was freed", can_raise=False)
    # CuPy reuses memory in the order of the stream: operations that are queued already may still access it.
    _queues.when_idle(lambda: _unmap(allocation))


def _unmap(allocation: Allocation) -> None:
    del _live_allocations[allocation.ptr]
    _sorted_addresses.remove(allocation.ptr)
    mapping = allocation._mapping
    base = np.frombuffer(mapping, np.uint8).ctypes.data
    mapping.madvise(mmap.MADV_DONTNEED)
    _mprotect(base, len(mapping), _PROT_NONE)
    _quarantine.append(mapping)


def is_allocated(ptr: int, size: int) -> bool:
    """Return whether `size` bytes from an address on belong to one live allocation."""
    with _queues.lock:
        i = bisect.bisect_right(_sorted_addresses, ptr) - 1
        return i >= 0 and ptr + size <= _sorted_addresses[i] + _live_allocations[_sorted_addresses[i]].size


def check_guards() -> None:
    """Raise Misuse if bytes next to an allocation have been overwritten."""
    with _queues.lock:
        for allocation in _live_allocations.values():
            if not allocation.guards_are_intact():
                allocation.reset_guards()
                raise monitor.Misuse(f"A write went out of the bounds of an allocation of {allocation.size} bytes.")
