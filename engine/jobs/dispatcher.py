"""Gives waiting jobs to free slots of their kind, and turns what the workers say into events of jobs."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from engine.errors import StorageFailed
from engine.jobs import messages
from engine.jobs.executor import ProcessExecutor, Slot
from engine.jobs.folder import DataFolder
from engine.jobs.job import (
    EpochsDone,
    ErrorKind,
    Failed,
    Interrupted,
    Job,
    JobError,
    Paused,
    Saved,
    Started,
    Succeeded,
)
from engine.jobs.registry import Registry, Version
from engine.training.spec import StopReason

log = logging.getLogger(__name__)

# A worker whose job was cancelled gets so long to notice before it is replaced.
_SECONDS_TO_RELEASE = 0.8
# A job whose worker died so many times is not started again: it may well be the cause.
_DEATHS_ALLOWED = 1


class Dispatcher:
    """Knows which slot is busy with what. Those who call it hold the registry's lock."""

    def __init__(self, registry: Registry, folder: DataFolder, slots: list[Slot], checkpoint_seconds: float) -> None:
        self.failure: str | None = None
        """Why nothing is started any more, in a sentence; None while all is well."""
        self.ready = threading.Event()
        """Set when the first worker has been ready."""
        self._registry = registry
        self._folder = folder
        self._checkpoint_seconds = checkpoint_seconds
        self._executor = ProcessExecutor(slots, heard=self._heard, died=self._died)
        # The job and attempt that each slot's worker is busy with.
        self._busy: dict[Slot, tuple[str, int]] = {}
        self._stopping = False

    def start(self) -> None:
        """Let the workers start."""
        self._executor.start()

    def stop(self, seconds: float) -> None:
        """Save what runs within `seconds`, put it back into the queue, and end every worker. The lock must be free."""
        with self._registry.lock:
            self._stopping = True
        self._executor.stop(seconds)

    @property
    def slots(self) -> list[Slot]:
        return self._executor.slots

    def busy_with(self, slot: Slot) -> str | None:
        """The id of the job that the slot's worker has."""
        return self._busy.get(slot, (None, 0))[0]

    def runs(self, job: Job) -> bool:
        return self._slot_of(job) is not None

    def pause(self, job: Job) -> None:
        """Ask the job's worker to save it and to let go of it."""
        slot = self._slot_of(job)
        if slot is not None:
            self._executor.send(slot, messages.Pause(job.id, job.attempt))

    def abandon(self, job: Job) -> None:
        """Tell the job's worker, if it has one, to let go of it; one that does not in time is replaced."""
        slot = self._slot_of(job)
        if slot is not None:
            self._executor.send(slot, messages.Abandon(job.id, job.attempt))
            timer = threading.Timer(_SECONDS_TO_RELEASE, self._kill_if_busy, (slot, job))
            timer.daemon = True
            timer.start()

    def _slot_of(self, job: Job) -> Slot | None:
        return next((slot for slot, busy in self._busy.items() if busy == (job.id, job.attempt)), None)

    def _kill_if_busy(self, slot: Slot, job: Job) -> None:
        with self._registry.lock:
            if self._busy.get(slot) == (job.id, job.attempt):
                self._executor.kill(slot)

    def dispatch(self) -> None:
        """Give waiting jobs to free slots of their kind, oldest first."""
        for slot in self.slots:
            if self._stopping or self.failure:
                return
            waiting = self._registry.queue(slot.kind)
            if waiting and slot.state == "ready" and slot not in self._busy:
                self._start(slot, self._registry.jobs.get(waiting[0]))

    def _start(self, slot: Slot, job: Job) -> None:
        network = self._registry.networks.get(job.network_id)
        newest = network.versions[-1].number if job.spec.warm_start else 0
        job = self._registry.record(job.id, Started(_now(), slot.device, newest))
        begun_with = next(version for version in network.versions if version.number == job.start_version)
        folder = self._folder.of_network(network.id)
        validation = job.validation_dataset_id
        self._busy[slot] = (job.id, job.attempt)
        self._executor.send(
            slot,
            messages.Run(
                job_id=job.id,
                attempt=job.attempt,
                architecture=network.architecture,
                spec=job.spec,
                dataset=self._registry.datasets.get(job.dataset_id),
                dataset_folder=str(self._folder.of_dataset(job.dataset_id)),
                validation=self._registry.datasets.get(validation) if validation else None,
                validation_folder=str(self._folder.of_dataset(validation)) if validation else None,
                weights=str(folder / begun_with.file),
                checkpoint=str(folder / job.saved.file) if job.saved else None,
                folder=str(folder),
                checkpoint_seconds=self._checkpoint_seconds,
            ),
        )

    def _heard(self, slot: Slot, message: messages.FromWorker) -> None:
        with self._registry.lock, self._noting_failure(slot):
            if isinstance(message, messages.Ready):
                self.ready.set()
                self.dispatch()
            elif self._busy.get(slot) == (message.job_id, message.attempt):
                self._take(slot, message)

    @contextmanager
    def _noting_failure(self, slot: Slot) -> Iterator[None]:
        """A journal that cannot be written ends what the worker does, and not the thread that watches all of them."""
        try:
            yield
        except StorageFailed as problem:
            log.critical("%s", problem)
            self.failure = str(problem)
            self._executor.kill(slot)

    def _take(self, slot: Slot, message: messages.OfAttempt) -> None:
        job = self._registry.jobs.peek(message.job_id)
        running = job is not None and job.state == "running"
        if isinstance(message, messages.Released):
            del self._busy[slot]
            if running:
                event = Interrupted(worker_died=False) if self._stopping else Paused()
                self._registry.record(message.job_id, event)
            self.dispatch()
        elif job is not None and running:
            self._take_of_running(job, message)

    def _take_of_running(self, job: Job, message: messages.OfAttempt) -> None:
        match message:
            case messages.Trained(epochs=epochs):
                self._registry.record(job.id, EpochsDone(epochs))
            case messages.Checkpointed(file=file):
                self._registry.record(job.id, Saved(file))
                self.remove_checkpoint(job)
            case messages.Finished(file=file, stopped=stopped, best_epoch=best_epoch):
                self._publish(job, file, stopped, best_epoch)
                self.remove_checkpoint(job)
            case messages.Broken(kind=kind, message=text):
                self._fail(job, kind, text)

    def _publish(self, job: Job, file: str, stopped: StopReason, best_epoch: int | None) -> None:
        network = self._registry.networks.get(job.network_id)
        classes = self._registry.datasets.get(job.dataset_id).classes
        version = Version(network.versions[-1].number + 1, file, job.id, classes, _now())
        published = replace(network, versions=(*network.versions, version))
        succeeded = Succeeded(_now(), version.number, stopped, best_epoch)
        self._registry.record(job.id, succeeded, publishes=published)

    def _fail(self, job: Job, kind: ErrorKind, message: str) -> None:
        self._registry.record(job.id, Failed(_now(), JobError(kind, message)))
        self.remove_checkpoint(job)

    def remove_checkpoint(self, job: Job) -> None:
        """Remove the checkpoint that `job` names: the journal has just let go of it."""
        if job.saved is not None:
            (self._folder.of_network(job.network_id) / job.saved.file).unlink(missing_ok=True)

    def _died(self, slot: Slot, exit_code: int) -> None:
        """A job that the worker has said the end of before is not touched by it."""
        with self._registry.lock, self._noting_failure(slot):
            job_id, attempt = self._busy.pop(slot, (None, 0))
            job = self._registry.jobs.peek(job_id) if job_id else None
            if job is not None and job.state == "running" and job.attempt == attempt:
                self._lost(job, exit_code)
            self.dispatch()

    def _lost(self, job: Job, exit_code: int) -> None:
        """One more try where the cause may lie outside the job; else the end of it."""
        if self._stopping:
            self._registry.record(job.id, Interrupted(worker_died=False))
        elif job.worker_deaths < _DEATHS_ALLOWED:
            self._registry.record(job.id, Interrupted(worker_died=True))
        else:
            how = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
            what = "A worker that ends by signal 9 was often killed because the machine ran out of memory."
            self._fail(job, "worker_died", f"The job's worker ended {how}, {job.worker_deaths + 1} times. {what}")


def _now() -> datetime:
    return datetime.now(UTC)
