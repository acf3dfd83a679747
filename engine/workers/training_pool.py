"""The seam where runs execute: here one worker process per slot, watched by one thread.

A worker's pipe reaching its end is the sign that it died; what it said before is heard first.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Literal

from nabla.engine.literals import DeviceKind
from nabla.engine.workers.ipc import Channel
from nabla.engine.workers.training_protocol import FromWorker, Ready, Released, Stop, ToWorker, channel_to_worker

log = logging.getLogger(__name__)

SlotState = Literal["starting", "ready", "lost"]

# A worker that cannot even start is tried again after so many seconds, the last again and again.
_RETRY_SECONDS = (0.0, 0.5, 2.0, 10.0)
# The very first start on a machine compiles for up to a minute; one that takes longer than this hangs.
_SECONDS_TO_START = 600.0
# How often whoever watches is called, at least.
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_DIE = 0.5


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
    started_at: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    channel: Channel[FromWorker] | None = field(default=None, repr=False)

    @property
    def kind(self) -> DeviceKind:
        return "cpu" if self.gpu is None else "cuda"

    @property
    def device(self) -> str:
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


class ProcessExecutor:
    """Keeps a worker alive in every slot and carries messages to and from it.

    `heard(slot, message)`, `died(slot, exit_code)` and, every now and then, `look()` are called in the watching thread,
    one at a time; every message of a worker comes before its death, and all that have come before a look.
    """

    def __init__(
        self,
        slots: list[Slot],
        *,
        heard: Callable[[Slot, FromWorker], None],
        died: Callable[[Slot, int], None],
        look: Callable[[], None],
    ) -> None:
        self.slots = slots
        self._heard = heard
        self._died = died
        self._look = look
        self._stopping = False
        # Killed and not gone yet.
        self._dying: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._watch, name="executor", daemon=True)

    def start(self) -> None:
        self._woken, self._wake = socket.socketpair()
        self._thread.start()

    def send(self, slot: Slot, message: ToWorker) -> None:
        """To a worker that may just have died; then its death is reported as any other."""
        if slot.channel is not None:
            try:
                slot.channel.send(message)
            except OSError as problem:
                log.warning("the worker of slot %s does not take a message: %s", slot.name, problem)
                self.kill(slot)  # if it is not dead already: half a message may have gone

    def kill(self, slot: Slot) -> None:
        """End a slot's worker at once. Its death is reported, and another one started."""
        slot.state = "lost"  # from now on, however long it takes to be gone
        if slot.process is not None:
            slot.process.kill()

    def replace(self, slot: Slot) -> None:
        """As `kill`, from the watching thread and without waiting for the worker to end, which may be late or never.
        What it still says is not heard."""
        if slot.channel is not None:
            self._bury(slot)

    def stop(self, seconds: float) -> None:
        """Let every worker save its run and end; kill those that need longer than `seconds`."""
        self._stopping = True
        for slot in self.slots:
            self.send(slot, Stop())
        self._wake.send(b"!")
        self._thread.join(seconds)
        for slot in self.slots:
            self.kill(slot)
        self._thread.join()
        self._woken.close()
        self._wake.close()

    def _watch(self) -> None:
        while True:
            self._start_workers()
            slots = {slot.channel.fileno(): slot for slot in self.slots if slot.channel}
            if self._stopping and not slots:
                return
            for speaking in wait([self._woken.fileno(), *slots], self._seconds_to_wait()):
                if speaking == self._woken.fileno():
                    self._woken.recv(1)
                elif isinstance(speaking, int) and slots[speaking].channel is not None:
                    self._listen(slots[speaking])
            self._dying = [process for process in self._dying if process.poll() is None]
            self._replace_those_that_do_not_start()
            self._look()

    def _seconds_to_wait(self) -> float:
        waiting = [slot.start_at for slot in self.slots if slot.channel is None and not self._stopping]
        return max(0.0, min([*(at - time.monotonic() for at in waiting), _SECONDS_BETWEEN_LOOKS]))

    def _replace_those_that_do_not_start(self) -> None:
        for slot in self.slots:
            if slot.state == "starting" and time.monotonic() - slot.started_at > _SECONDS_TO_START:
                log.error("worker of slot %s does not start; it is replaced", slot.name)
                self.replace(slot)

    def _listen(self, slot: Slot) -> None:
        assert slot.channel is not None
        try:
            messages = slot.channel.received()
        except (EOFError, OSError):
            self._bury(slot)
            return
        for message in messages:
            if isinstance(message, Ready) and slot.state == "starting":
                slot.state, slot.starts_failed = "ready", 0
            if isinstance(message, Ready | Released):
                slot.memory_free = message.memory_free
            self._heard(slot, message)

    def _bury(self, slot: Slot) -> None:
        assert slot.process is not None
        assert slot.channel is not None
        slot.channel.close()
        slot.channel = None
        slot.process.kill()  # its pipe is closed, so that whatever is left of it is of no use
        try:
            exit_code = slot.process.wait(_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:  # it waits for a device, where no signal reaches it
            exit_code = -signal.SIGKILL
            self._dying.append(slot.process)
        if slot.state == "starting":
            slot.starts_failed += 1
        slot.state = "lost"
        slot.start_at = time.monotonic() + _RETRY_SECONDS[min(slot.starts_failed, len(_RETRY_SECONDS) - 1)]
        if not self._stopping:
            log.warning("worker of slot %s (process %d) ended with %d", slot.name, slot.process.pid, exit_code)
        self._died(slot, exit_code)

    def _start_workers(self) -> None:
        for slot in self.slots:
            if slot.channel is None and not self._stopping and slot.start_at <= time.monotonic():
                self._start_worker(slot)

    def _start_worker(self, slot: Slot) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            slot.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "nabla.engine.workers.training_main",
                    str(theirs.fileno()),
                    slot.kind,
                    str(slot.cores),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(slot),
            )
        slot.channel = channel_to_worker(ours)
        slot.state, slot.started_at = "starting", time.monotonic()
