"""The seam where runs execute: here one worker process per slot, watched by one thread.

A worker's pipe reaching its end is the sign that it died; what it said before is heard first.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Literal

from engine.jobs.messages import FromWorker, Ready, Stop, ToWorker, receive_in_service, send

log = logging.getLogger(__name__)

SlotState = Literal["starting", "ready", "lost"]

# A worker that cannot even start is tried again after so many seconds, the last again and again.
_RETRY_SECONDS = (0.0, 0.5, 2.0, 10.0)


def _environment(cores: int) -> dict[str, str]:
    """The most threads a BLAS library may ever use is fixed when it is loaded. And a folder called `engine` where the
    service was started is not taken for ours."""
    threads = {"OPENBLAS_NUM_THREADS": str(cores), "OMP_NUM_THREADS": str(cores)}
    return {**os.environ, **threads, "PYTHONSAFEPATH": "1"}


@dataclass(eq=False)
class Slot:
    """A place where one job runs. `state` tells of its worker; `starts_failed` counts those that died before ready."""

    name: str
    device: str
    cores: int
    state: SlotState = "lost"
    starts_failed: int = 0
    start_at: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = field(default=None, repr=False)


class ProcessExecutor:
    """Keeps a worker alive in every slot and carries messages to and from it.

    `heard(slot, message)` and `died(slot, exit_code)` are called in the watching thread, one at a time; every message
    of a worker comes before its death.
    """

    def __init__(
        self,
        slots: list[Slot],
        *,
        heard: Callable[[Slot, FromWorker], None],
        died: Callable[[Slot, int], None],
    ) -> None:
        self.slots = slots
        self._heard = heard
        self._died = died
        self._stopping = False
        self._woken, self._wake = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._watch, name="executor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, slot: Slot, message: ToWorker) -> None:
        """To a worker that may just have died; then its death is reported as any other."""
        if slot.connection is not None:
            try:
                send(slot.connection, message)
            except OSError:
                log.info("worker of slot %s is gone already", slot.name)

    def kill(self, slot: Slot) -> None:
        """End a slot's worker at once. Its death is reported, and another one started."""
        if slot.process is not None:
            slot.process.kill()

    def stop(self, seconds: float) -> None:
        """Let every worker save its run and end; kill those that need longer than `seconds`."""
        self._stopping = True
        for slot in self.slots:
            self.send(slot, Stop())
        self._wake.send_bytes(b"")
        self._thread.join(seconds)
        for slot in self.slots:
            self.kill(slot)
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._start_workers()
            pipes: dict[Connection, Slot] = {slot.connection: slot for slot in self.slots if slot.connection}
            if self._stopping and not pipes:
                return
            for pipe in wait([*pipes, self._woken], self._seconds_to_next_start()):
                if pipe is self._woken:
                    self._woken.recv_bytes()
                else:
                    assert isinstance(pipe, Connection)
                    self._listen(pipes[pipe], pipe)

    def _seconds_to_next_start(self) -> float | None:
        if self._stopping:
            return None
        waiting = [slot.start_at for slot in self.slots if slot.connection is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _listen(self, slot: Slot, pipe: Connection) -> None:
        try:
            message = receive_in_service(pipe)
        except (EOFError, OSError):
            self._bury(slot)
            return
        if isinstance(message, Ready):
            slot.state, slot.starts_failed = "ready", 0
        self._heard(slot, message)

    def _bury(self, slot: Slot) -> None:
        assert slot.process is not None
        assert slot.connection is not None
        slot.connection.close()
        slot.connection = None
        slot.process.kill()  # its pipe is closed, so that whatever is left of it is of no use
        exit_code = slot.process.wait()
        if slot.state == "starting":
            slot.starts_failed += 1
        slot.state = "lost"
        slot.start_at = time.monotonic() + _RETRY_SECONDS[min(slot.starts_failed, len(_RETRY_SECONDS) - 1)]
        if not self._stopping:
            log.warning("worker of slot %s (process %d) ended with %d", slot.name, slot.process.pid, exit_code)
        self._died(slot, exit_code)

    def _start_workers(self) -> None:
        for slot in self.slots:
            if slot.connection is None and not self._stopping and slot.start_at <= time.monotonic():
                self._start_worker(slot)

    def _start_worker(self, slot: Slot) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            slot.process = subprocess.Popen(
                [sys.executable, "-m", "engine.jobs.worker", str(theirs.fileno()), str(slot.cores)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(slot.cores),
            )
        slot.connection = Connection(ours.detach())
        slot.state = "starting"
