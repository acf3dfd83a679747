"""How much of the pretended memory is taken, in the words of CuPy's pool."""

import os

from .. import accounts

__all__ = ["MemoryPool", "OutOfMemoryError"]

# CuPy's pool hands memory out in multiples of it.
UNIT = 512
CAPACITY = int(os.environ.get("NABLA_STANDIN_MEMORY", str(2 << 30)))
# By other processes.
TAKEN = int(os.environ.get("NABLA_STANDIN_TAKEN", "0"))


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        bounds = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{bounds}).")


class MemoryPool:
    """Bytes given back stay with the pool until they are taken again or released."""

    def __init__(self) -> None:
        self._used = self._held = self._limit = 0

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._held

    def free_all_blocks(self) -> None:
        accounts.count("frees", "The memory pool was emptied")
        self._held = self._used

    def set_limit(self, size: int | None = None) -> None:
        self._limit = size or 0

    def _take(self, size: int) -> None:
        size = -(-size // UNIT) * UNIT
        if self._used + size > min(self._limit or CAPACITY, CAPACITY - TAKEN):
            raise OutOfMemoryError(size, self._used, self._limit)
        self._used += size
        self._held = max(self._held, self._used)

    def _give_back(self, size: int) -> None:
        self._used -= -(-size // UNIT) * UNIT


_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    return _pool
