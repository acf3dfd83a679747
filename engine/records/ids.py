"""Ids that sort by creation time: a prefix, 10 characters of milliseconds and 16 random ones, as in a ULID."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NETWORK, DATASET, JOB, BATCH = "net_", "ds_", "job_", "bp_"
PREFIXES = (NETWORK, DATASET, JOB, BATCH)

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a new id. It sorts after all that this process has returned before.

    This holds also within a millisecond, and after the clock was set back.
    """
    global _last  # noqa: PLW0603  # the order of ids is one for the whole process
    with _lock:
        _last = max(time.time_ns() // 1_000_000 << 80 | secrets.randbits(80), _last + 1)
        return prefix + "".join(_ALPHABET[_last >> shift & 31] for shift in range(125, -1, -5))
