"""Ids that sort in the order they were made: a prefix, 10 characters of milliseconds, 16 of chance (as in ULID)."""

import secrets
import threading
import time

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
NETWORK, DATASET, JOB, BATCH = "net_", "ds_", "job_", "bp_"
PREFIXES = (NETWORK, DATASET, JOB, BATCH)

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Larger than every id this process has made before, also within a millisecond or after the clock was set back."""
    global _last  # noqa: PLW0603  # the order of ids is one for the whole process
    with _lock:
        _last = max(time.time_ns() // 1_000_000 << 80 | secrets.randbits(80), _last + 1)
        return prefix + "".join(_DIGITS[_last >> shift & 31] for shift in range(125, -1, -5))
