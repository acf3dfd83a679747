"""Whose turn it is on a core: answering requests goes first, reading files next, and training and
predicting datasets, which is what there is always more of, last.

The scheduler lets a thread that wakes up go first if it wants a shorter slice of time than the one that runs (Linux
6.12 and later; "EEVDF" in the kernel's documentation). Without that one in a hundred answers waits for the end of a
slice of training, some 4 ms, even at the lowest priority.

Under SCHED_IDLE training takes a fifth of that from a core that others want all the time. But there a thread that wakes
up is now and then not eligible before the next tick, so that of single requests one in a hundred takes three times as
long.
"""

import ctypes
import os
import platform
import signal
import struct
from contextlib import suppress
from pathlib import Path

_READING = 10
_LOWEST = 19
_LONGEST_SLICE = 100_000_000  # nanoseconds; the most that Linux takes
# sched_setattr(2) has no function in Python, nor in most C libraries: its number, and `struct sched_attr`.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def give_way_to_answers() -> None:
    """Put this process, which has no other threads yet, behind those that answer requests, and before training."""
    os.nice(_READING)


def give_way() -> None:
    """Put every thread of this process behind all others that want a core. Where Linux does not grant it they go on as
    they are."""
    for thread in (int(path.name) for path in Path("/proc/self/task").iterdir()):
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, thread, _LOWEST)
        if _SCHED_SETATTR is not None:
            attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, _LOWEST, 0, _LONGEST_SLICE, 0, 0)
            ctypes.CDLL(None).syscall(_SCHED_SETATTR, thread, attributes, 0)


_PR_SET_PDEATHSIG = 1


def end_with(parent: int, by: signal.Signals) -> None:
    """Have this process get the signal `by` when the process `parent`, which started it, is gone: also where this one
    is stopped, and where that one was killed. (The kernel counts a thread that started it as the parent.)"""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # gone before the kernel had been told
        os.kill(os.getpid(), by)
