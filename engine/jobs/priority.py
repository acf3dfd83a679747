"""Whose turn it is on a core: answering requests goes first, reading files next, and training and
predicting datasets, which is what there is always more of, last.

A thread of Linux's policy SCHED_IDLE makes room at once for any other that wakes up, and gets next to nothing of a core
that others want all the time. At the lowest of the ordinary priorities it would get three parts in a hundred, in slices
of some 4 ms, for which one in a hundred answers would wait.
"""

import os
from contextlib import suppress
from pathlib import Path

_READING = 10


def give_way_to_answers() -> None:
    """Put this process, which has no other threads yet, behind those that answer requests, and before training."""
    os.nice(_READING)


def give_way() -> None:
    """Put every thread of this process behind all others that want a core. Where Linux does not grant it they go on as
    they are."""
    for thread in (int(path.name) for path in Path("/proc/self/task").iterdir()):
        with suppress(OSError):  # it may have ended
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
