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

from engine.jobs.messages import FromWorker, Ready, Released, Stop, ToWorker, receive_in_service, send
from engine.training.choice import DeviceKind

log = logging.getLogger(__name__)

SlotState = Literal["starting", "ready", "lost"]

# A worker that cannot even start is tried again after so many seconds, the last again and again.
_RETRY_SECONDS = (0.0, 0.5, 2.0, 10.0)


def _environment(slot: "Slot") -> dict[str, str]:
    """The most threads a BLAS library may ever use is fixed when it is loaded, and the GPUs that CUDA sees when it is.
    And a folder called `engine` where the service was started is not taken for ours."""
    cores = str(slot.cores)
    threads = {"OPENBLAS_NUM_THREADS": cores, "OMP_NUM_THREADS": cores}
    gpus = {"CUDA_VISIBLE_DEVICES": "" if slot.gpu is None else _visible_name(slot.gpu)}
    return {**os.environ, **threads, **gpus, "PYTHONSAFEPATH": "1"}


def _visible_name(gpu: int) -> str:
    """What CUDA calls the GPU that is this one of those that the service sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[gpu].strip() if visible else str(gpu)


@dataclass(eq=False)
class Slot:
    """A place where one job runs: some cores, or the GPU of this number. `state` tells of its worker; `starts_failed`
    counts those that died before ready. `memory_free`: bytes of the GPU, as the worker last said."""

    name: str
    cores: int
    gpu: int | None = None
    memory_free: int | None = None
    state: SlotState = "lost"
    starts_failed: int = 0
    start_at: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = field(default=None, repr=False)

    @property
    def kind(self) -> DeviceKind:
        return "cpu" if self.gpu is None else "cuda"

    @property
    def device(self) -> str:
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


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
        if isinstance(message, Ready | Released):
            slot.memory_free = message.memory_free
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
                [sys.executable, "-m", "engine.jobs.worker", str(theirs.fileno()), slot.kind, str(slot.cores)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(slot),
            )
        slot.connection = Connection(ours.detach())
        slot.state = "starting"
