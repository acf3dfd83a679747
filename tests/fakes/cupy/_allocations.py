"""Device memory: pages of the host between pages that nobody may touch, each allocation in a place of its own.

What was never written reads as NaN. The bytes around an allocation are looked at whenever somebody waits for the
device; an access beyond them, or to memory that was given back, ends the kernel as an illegal access does on a GPU.
"""

import bisect
import ctypes
import mmap
import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

from . import _queues, accounts
from .cuda.memory import UNIT, get_default_memory_pool

Bytes = npt.NDArray[np.uint8]

_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NOBODY = 0
_UNWRITTEN, _AROUND = 0xFF, 0xCD
_WATCHED = UNIT
# Pages that nobody may touch, on both sides.
_MOAT = 64 * mmap.PAGESIZE
_PATTERN = bytes([_AROUND]) * UNIT

_living: dict[int, "Allocation"] = {}
_starts: list[int] = []
# Places that were given back stay closed until so many others were: a late access to them is then noticed.
_closed: deque[mmap.mmap] = deque(maxlen=512)


def host_view(ptr: int, size: int) -> Bytes:
    """Memory as NumPy sees it; whoever calls keeps it alive."""
    view: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(ptr))
    return view


class Allocation:
    """Memory that lives as long as this; no bytes have the address 0."""

    def __init__(self, size: int) -> None:
        accounts.count("allocations", "Device memory was allocated")
        self.size, self.ptr = size, 0
        if not size:
            return
        with _queues.lock:
            get_default_memory_pool()._take(size)
        held = -(-size // UNIT) * UNIT
        inner = -(-held // mmap.PAGESIZE) * mmap.PAGESIZE
        place = mmap.mmap(-1, inner + 2 * _MOAT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        base = np.frombuffer(place, np.uint8).ctypes.data
        _mprotect(base, _MOAT, _NOBODY)
        _mprotect(base + _MOAT + inner, _MOAT, _NOBODY)
        # At the end of its pages: kernels that go too far do so upwards.
        self.ptr = base + _MOAT + inner - held
        self._place = place
        host_view(self.ptr, size)[:] = _UNWRITTEN
        self._fence = (self.ptr - min(_WATCHED, self.ptr - base - _MOAT), self.ptr + held)
        self.restore()
        with _queues.lock:
            _living[self.ptr] = self
            bisect.insort(_starts, self.ptr)

    def is_whole(self) -> bool:
        (first, last), end = self._fence, self.ptr + self.size
        before, behind = ctypes.string_at(first, self.ptr - first), ctypes.string_at(end, last - end)
        return before == _PATTERN[: len(before)] and behind == _PATTERN[: len(behind)]

    def restore(self) -> None:
        (first, last), end = self._fence, self.ptr + self.size
        ctypes.memset(first, _AROUND, self.ptr - first)
        ctypes.memset(end, _AROUND, last - end)


class Owner:
    """Gives an allocation back when no array refers to it any more."""

    def __init__(self, size: int) -> None:
        self.allocation = Allocation(size)
        if size:
            weakref.finalize(self, _release, self.allocation).atexit = False


def _release(allocation: Allocation) -> None:
    with _queues.lock:
        get_default_memory_pool()._give_back(allocation.size)
    accounts.count("frees", "Device memory was freed", heard=False)
    # CuPy hands memory on in the order of the stream: what is queued by now may still use it.
    _queues.when_idle(lambda: _close(allocation))


def _close(allocation: Allocation) -> None:
    del _living[allocation.ptr]
    _starts.remove(allocation.ptr)
    place = allocation._place
    base = np.frombuffer(place, np.uint8).ctypes.data
    place.madvise(mmap.MADV_DONTNEED)
    _mprotect(base, len(place), _NOBODY)
    _closed.append(place)


def lies_in_one(ptr: int, size: int) -> bool:
    """Whether so many bytes from an address on belong to one living allocation."""
    with _queues.lock:
        i = bisect.bisect_right(_starts, ptr) - 1
        return i >= 0 and ptr + size <= _starts[i] + _living[_starts[i]].size


def check() -> None:
    """Raises where something was written beside an allocation."""
    with _queues.lock:
        for allocation in _living.values():
            if not allocation.is_whole():
                allocation.restore()
                raise accounts.Refused(f"Something was written beside the {allocation.size} bytes of an allocation.")
