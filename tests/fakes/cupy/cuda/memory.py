"""Accounting of the fake device's memory, with the interface of CuPy's pool."""

import os

from .. import monitor

__all__ = ["MemoryPool", "OutOfMemoryError"]

# As in CuPy, the pool rounds allocations up to a multiple of this.
ALLOCATION_UNIT = 512
CAPACITY = int(os.environ.get("NABLA_FAKE_CUPY_MEMORY", str(2 << 30)))
# Memory that other processes use.
USED_BY_OTHERS = int(os.environ.get("NABLA_FAKE_CUPY_USED_MEMORY", "0"))


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        limit_text = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limit_text}).")


class MemoryPool:
    """Counts bytes. Freed bytes stay in the pool until they are allocated again or `free_all_blocks` is called."""

    def __init__(self) -> None:
        self._used = self._total = self._limit = 0

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._total

    def free_all_blocks(self) -> None:
        monitor.count("frees", "The memory pool was emptied")
        self._total = self._used

    def set_limit(self, size: int | None = None) -> None:
        self._limit = size or 0

    def _allocate(self, size: int) -> None:
        size = -(-size // ALLOCATION_UNIT) * ALLOCATION_UNIT
        if self._used + size > min(self._limit or CAPACITY, CAPACITY - USED_BY_OTHERS):
            raise OutOfMemoryError(size, self._used, self._limit)
        self._used += size
        self._total = max(self._total, self._used)

    def _free(self, size: int) -> None:
        self._used -= -(-size // ALLOCATION_UNIT) * ALLOCATION_UNIT


_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    return _pool
