"""Pool of training workers: one process per slot, watched by one thread.

A worker has died when its end of the channel is closed; messages that it sent before are delivered first.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Literal

from nabla.engine.literals import DeviceKind
from nabla.engine.workers.os_process import ChildProcess
from nabla.engine.workers.training_protocol import Ready, Released, Shutdown, WorkerCommand, WorkerEvent

log = logging.getLogger(__name__)

SlotState = Literal["starting", "ready", "lost"]

# Delays before a worker is restarted, by the number of starts that failed in a row; the last one repeats.
_RESTART_DELAYS_SECONDS = (0.0, 0.5, 2.0, 10.0)
# A GPU's kernels are compiled before a worker is ready.
_START_TIMEOUT = 600.0
_SEND_TIMEOUT = 5.0
_TICK_INTERVAL = 0.5
_KILL_TIMEOUT = 0.5


@dataclass(eq=False)
class Slot:
    """Some cores, or one GPU, on which one job runs at a time.

    Attributes:
        name: Unique name, such as cpu-0.
        cores: How many cores the worker uses.
        gpu: Index among the GPUs that the service sees; None on the CPU.
        memory_free: Free bytes of the GPU as last reported by the worker.
        state: State of the worker: "lost" from the moment it is killed, however long it takes to end.
        failed_starts: How many workers in a row died before they were ready.
        restart_at: When the next worker may start, on the monotonic clock.
        started_at: When the current worker was started.
        process: The current worker, or the last one.
        connected: Whether the channel to `process` is open.
    """

    name: str
    cores: int
    gpu: int | None = None
    memory_free: int | None = None
    state: SlotState = "lost"
    failed_starts: int = 0
    restart_at: float = 0.0
    started_at: float = 0.0
    process: ChildProcess[WorkerEvent] | None = field(default=None, repr=False)
    connected: bool = False

    @property
    def kind(self) -> DeviceKind:
        """The kind of device that jobs need for this slot."""
        return "cpu" if self.gpu is None else "cuda"

    @property
    def device(self) -> str:
        """The name of the device, as the API shows it."""
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


class WorkerPool:
    """Keeps a worker running in every slot, and passes messages.

    All callbacks run in the watching thread, one at a time. All messages of a worker are delivered before its exit, and
    all messages that have arrived before a tick.
    """

    def __init__(
        self,
        slots: list[Slot],
        *,
        on_message: Callable[[Slot, WorkerEvent], None],
        on_exit: Callable[[Slot, int], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Prepare the pool; `start` starts the workers.

        Args:
            slots: The slots to keep a worker in.
            on_message: Called with each message of a slot's worker.
            on_exit: Called with the exit code of a slot's worker when it has ended.
            on_tick: Called at least twice a second.
        """
        self.slots = slots
        self._on_message = on_message
        self._on_exit = on_exit
        self._on_tick = on_tick
        self._stopping = False
        # Killed workers that have not ended yet.
        self._zombies: list[ChildProcess[WorkerEvent]] = []
        self._thread = threading.Thread(target=self._watch, name="worker-pool", daemon=True)

    def start(self) -> None:
        """Start the workers and the thread that watches them."""
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._thread.start()

    def send(self, slot: Slot, message: WorkerCommand) -> None:
        """Send a message to a slot's worker; kill a worker that does not read it."""
        if slot.process is not None and slot.connected:
            try:
                slot.process.channel.send(message)
            except OSError as error:
                log.warning("cannot send to the worker of slot %s: %s", slot.name, error)
                self.kill(slot)  # half of the message may have been sent

    def kill(self, slot: Slot) -> None:
        """Kill a slot's worker. Its exit is reported, and another one started."""
        slot.state = "lost"
        if slot.process is not None:
            slot.process.kill()

    def replace(self, slot: Slot) -> None:
        """Kill a slot's worker and drop the messages that it has not delivered. For use in the watching thread."""
        if slot.connected:
            self._remove_worker(slot)

    def stop(self, timeout: float) -> None:
        """Let every worker save its job and exit; kill those that need longer than `timeout` seconds."""
        self._stopping = True
        for slot in self.slots:
            self.send(slot, Shutdown())
        self._wake_sender.send(b"!")
        self._thread.join(timeout)
        for slot in self.slots:
            self.kill(slot)
        self._thread.join()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _watch(self) -> None:
        while True:
            self._start_workers()
            slots = {slot.process.channel.fileno(): slot for slot in self.slots if slot.process and slot.connected}
            if self._stopping and not slots:
                return
            for descriptor in wait([self._wake_receiver.fileno(), *slots], self._seconds_to_tick()):
                if descriptor == self._wake_receiver.fileno():
                    self._wake_receiver.recv(1)
                elif isinstance(descriptor, int) and slots[descriptor].connected:
                    self._receive(slots[descriptor])
            self._zombies = [process for process in self._zombies if not process.has_exited()]
            self._replace_stuck_starts()
            self._on_tick()

    def _seconds_to_tick(self) -> float:
        restarts = [slot.restart_at for slot in self.slots if not slot.connected and not self._stopping]
        return max(0.0, min([*(at - time.monotonic() for at in restarts), _TICK_INTERVAL]))

    def _replace_stuck_starts(self) -> None:
        for slot in self.slots:
            if slot.state == "starting" and time.monotonic() - slot.started_at > _START_TIMEOUT:
                log.error("the worker of slot %s did not start; replacing it", slot.name)
                self.replace(slot)

    def _receive(self, slot: Slot) -> None:
        assert slot.process is not None
        try:
            messages = slot.process.channel.receive_available()
        except (EOFError, OSError):
            self._remove_worker(slot)
            return
        for message in messages:
            if isinstance(message, Ready) and slot.state == "starting":
                slot.state, slot.failed_starts = "ready", 0
            if isinstance(message, Ready | Released):
                slot.memory_free = message.memory_free
            self._on_message(slot, message)

    def _remove_worker(self, slot: Slot) -> None:
        assert slot.process is not None
        slot.connected = False
        exit_code = slot.process.close(_KILL_TIMEOUT)
        if exit_code is None:
            exit_code = -signal.SIGKILL
            self._zombies.append(slot.process)
        if slot.state == "starting":
            slot.failed_starts += 1
        slot.state = "lost"
        delay = _RESTART_DELAYS_SECONDS[min(slot.failed_starts, len(_RESTART_DELAYS_SECONDS) - 1)]
        slot.restart_at = time.monotonic() + delay
        if not self._stopping:
            log.warning("worker of slot %s (process %d) ended with %d", slot.name, slot.process.pid, exit_code)
        self._on_exit(slot, exit_code)

    def _start_workers(self) -> None:
        for slot in self.slots:
            if not slot.connected and not self._stopping and slot.restart_at <= time.monotonic():
                slot.process = ChildProcess(
                    "nabla.engine.workers.training_main",
                    (slot.kind, slot.cores, os.getpid()),
                    WorkerEvent,
                    environment=_environment(slot),
                    timeout=_SEND_TIMEOUT,
                )
                slot.state, slot.started_at, slot.connected = "starting", time.monotonic(), True


def _environment(slot: Slot) -> dict[str, str]:
    """Return variables that libraries read when they load: BLAS fixes its maximum of threads then, CUDA its GPUs."""
    gpus = "" if slot.gpu is None else _cuda_name(slot.gpu)
    return {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpus}


def _cuda_name(gpu: int) -> str:
    """Return CUDA's name of a GPU, given its index among those that the service sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[gpu].strip() if visible else str(gpu)
