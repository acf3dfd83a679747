"""What a process does that carries out errands of the service, one after the other, so that whatever is in them takes
no more than its own memory, and ends no more than its own life.

Started by `Child` as `python -m MODULE DESCRIPTOR BYTES`.
"""

import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine import durable
from engine.data.sources import Progress
from engine.errors import NablaError
from engine.jobs.channel import Channel
from engine.jobs.errands import Advanced, Errand, Failed, FromChild, Result

Advance = Callable[[Progress], None]
CarryOut = Callable[[Errand, Advance], Result]

# Progress is told so often.
_SECONDS_BETWEEN_SIGNS = 0.2


class _Loop:
    """One errand at a time; a thread of its own listens, so that the end of the service is noticed meanwhile."""

    def __init__(self, channel: Channel[Errand], carry_out: CarryOut) -> None:
        self._channel = channel
        self._carry_out = carry_out
        self._errands: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        self._said_at = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._errands.put(self._channel.receive())
            except (EOFError, OSError):
                os._exit(0)  # the service is gone

    def work(self) -> None:
        """As long as the service lives."""
        while True:
            self._say(self._answer(self._errands.get()))

    def _say(self, message: FromChild) -> None:
        try:
            self._channel.send(message)
        except OSError:
            os._exit(0)

    def _answer(self, errand: Errand) -> FromChild:
        """Everything that can go wrong ends here, as a kind and a sentence."""
        try:
            for folder in errand.folders:
                durable.remove_unfinished(folder)  # of a process that died of this errand
            return self._carry_out(errand, self._advanced)
        except NablaError as problem:
            return Failed.because_of(problem)
        except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this errand and not the process
            sys.excepthook(type(problem), problem, problem.__traceback__)  # onto the service's standard error
            return Failed("internal", "The service met an error of its own; its log has the details.")

    def _advanced(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SECONDS_BETWEEN_SIGNS:
            self._said_at = now
            self._say(Advanced(progress))


def _limit_memory(bytes_more: int) -> None:
    """No more than so much on top of what the process has now. Files that are mapped do not count."""
    now = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    most = int(now.split()[1]) * 1024 + bytes_more
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def work(carry_out: CarryOut, give_way: Callable[[], None]) -> None:
    """Carry out errands, as the command line says. `give_way`: lets those go first that do before this process."""
    descriptor, memory = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    give_way()
    _limit_memory(memory)
    _Loop(Channel(socket.socket(fileno=descriptor), Errand), carry_out).work()
