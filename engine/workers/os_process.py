"""Child processes as the operating system sees them: started, limited, prioritized, killed.

Cores go to requests first, to file tasks second, and last to training and batch predictions, which always have work.
The scheduler prefers a waking thread that wants a shorter time slice than the running one (Linux 6.12 and later; see
EEVDF in the kernel's documentation). Without that, one in a hundred requests waits some 4 ms for the end of a training
slice, even at the lowest priority. SCHED_IDLE takes a fifth of that time from a busy core, but there a waking thread is
sometimes not eligible before the next tick: of single requests, one in a hundred takes three times as long.
"""

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic

from nabla.engine.workers.ipc import Channel, Received

_FILE_TASK_NICENESS = 10
_MAX_NICENESS = 19
_MAX_SLICE_NANOSECONDS = 100_000_000  # the most that Linux accepts
# sched_setattr(2) has no wrapper in Python, nor in most C libraries: its number, and `struct sched_attr`.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
_PR_SET_PDEATHSIG = 1


class ChildProcess(Generic[Received]):
    """A child of the service that runs a Python module, and the channel to it."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[object],
        receives: Any,
        *,
        environment: Mapping[str, str],
        timeout: float,
    ) -> None:
        """Start the process.

        Args:
            module: Run as `python -m MODULE ARGUMENTS… DESCRIPTOR`, with the descriptor of its end of the channel.
            arguments: Command-line arguments, before the descriptor.
            receives: The union of the message types that the process sends.
            environment: Variables besides those of the service.
            timeout: Seconds after which sending and receiving give up on a process that hangs.
        """
        service_end, child_end = socket.socketpair()
        with child_end:
            descriptor = child_end.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments), str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                # PYTHONSAFEPATH: a directory named `nabla` in the working directory must not shadow the package.
                env={**os.environ, **environment, "PYTHONSAFEPATH": "1"},
            )
        service_end.settimeout(timeout)
        self.channel: Channel[Received] = Channel(service_end, receives)

    @property
    def pid(self) -> int:
        """The process id, also of a process that has ended."""
        return self._process.pid

    def kill(self) -> None:
        """Send SIGKILL; a process that has ended is left alone."""
        self._process.kill()

    def has_exited(self) -> bool:
        """Reap the process if it has ended."""
        return self._process.poll() is not None

    def close(self, timeout: float | None = None) -> int | None:
        """Close the channel, kill the process, and reap it.

        Returns:
            The exit code, negative for a signal; None if the process has not ended within `timeout` seconds. It may be
            waiting for a device, where no signal reaches it.
        """
        self.channel.close()
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None


def describe_exit(exit_code: int) -> str:
    """Return how a process ended, for use after "ended": "by signal 9", "with exit code 1"."""
    return f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"


def ignore_interrupts() -> None:
    """Ignore SIGINT: Ctrl-C reaches the whole process group, and the service decides which processes end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def prioritize_as_file_task() -> None:
    """Put this process, which has no other threads yet, behind requests and before training."""
    os.nice(_FILE_TASK_NICENESS)


def prioritize_as_background() -> None:
    """Put every thread of this process behind all others. A thread for which Linux rejects this keeps its priority."""
    for thread in (int(path.name) for path in Path("/proc/self/task").iterdir()):
        with suppress(OSError):  # the thread may have ended
            os.setpriority(os.PRIO_PROCESS, thread, _MAX_NICENESS)
        if _SCHED_SETATTR is not None:
            attributes = (_SCHED_ATTR.size, os.SCHED_OTHER, 0, _MAX_NICENESS, 0, _MAX_SLICE_NANOSECONDS, 0, 0)
            ctypes.CDLL(None).syscall(_SCHED_SETATTR, thread, _SCHED_ATTR.pack(*attributes), 0)


def limit_memory(extra_bytes: int) -> None:
    """Limit memory (RLIMIT_DATA) to what the process has now plus `extra_bytes`. Mapped files do not count."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    limit = int(line.split()[1]) * 1024 + extra_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """Have the kernel send a signal to this process when its parent ends.

    This works even if this process is stopped, or the parent was killed. To the kernel, the parent is the thread that
    started this process.

    Args:
        parent: The process id of the parent.
        death_signal: The signal to send.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it ended before prctl
        os.kill(os.getpid(), death_signal)
