"""Processes that are of no use without the one that started them."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, by: signal.Signals) -> None:
    """Have this process get the signal `by` when the process `parent`, which started it, is gone: also where this one
    is stopped, and where that one was killed. (The kernel counts a thread that started it as the parent.)"""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # gone before the kernel had been told
        os.kill(os.getpid(), by)
