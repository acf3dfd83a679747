"""Ids that sort by the time they were made: a prefix, 10 characters of milliseconds, 16 of chance (as in ULID)."""

import secrets
import time

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
NETWORK, DATASET, JOB = "net_", "ds_", "job_"
PREFIXES = (NETWORK, DATASET, JOB)


def new_id(prefix: str) -> str:
    return prefix + _in_base_32(time.time_ns() // 1_000_000, 10) + _in_base_32(secrets.randbits(80), 16)


def _in_base_32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
