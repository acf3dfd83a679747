"""Gives waiting jobs to free slots of their kind, and sees to it that what their workers say is heard."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from nabla.engine.errors import StorageFailed
from nabla.engine.literals import ErrorKind
from nabla.engine.records.job import Changed, CheckpointLost, EpochsDone, Interrupted, Job, Saved, Started, Succeeded
from nabla.engine.services.active_runs import Attempt, Runs, Wishes
from nabla.engine.services.job_finalizer import Endings
from nabla.engine.services.snapshots import Snapshots
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry
from nabla.engine.workers import training_protocol
from nabla.engine.workers.training_pool import ProcessExecutor, Slot

log = logging.getLogger(__name__)

# What could not be written is tried again so often.
_SECONDS_BETWEEN_TRIES = 1.0


class Storage:
    """Those who call it hold the registry's lock."""

    def __init__(self, registry: Registry, folder: DataFolder) -> None:
        self.failure: str | None = None
        """What could not be written, in a sentence; None while all is well."""
        self._registry = registry
        self._folder = folder
        self._tried_at = time.monotonic()

    @contextmanager
    def noting_failure(self, then: Callable[[], None] = lambda: None) -> Iterator[None]:
        """A journal that cannot be written does not end the thread that watches all workers. `then` is done about it
        besides."""
        try:
            yield
        except StorageFailed as problem:
            if self.failure != str(problem):
                log.critical("%s", problem)
            self.failure = str(problem)
            then()

    def notice(self) -> None:
        """A journal that failed under a request."""
        if self._registry.failed and not self.failure:
            self.failure = "The journal could not be written."

    def works_again(self) -> bool:
        """Find out, every now and then, whether what failed can be written again. Raises StorageFailed if not."""
        now = time.monotonic()
        if not self.failure or now - self._tried_at <= _SECONDS_BETWEEN_TRIES:
            return False
        self._tried_at = now
        self._folder.probe()
        self._registry.recover()
        self.failure = None
        log.warning("the data folder can be written again")
        return True


# How often a job is started again because something outside it failed. It may well be the cause.
_RETRIES_ALLOWED = 1
_HINTS = {
    9: " Signal 9 often means that the machine ran out of memory.",
    11: " Signal 11 means that machine code touched memory that is not its own; so may damaged memory.",
}


class Reports:
    """Those who call it hold the registry's lock."""

    def __init__(
        self, registry: Registry, endings: Endings, wishes: Wishes, snapshots: Snapshots, storage: Storage
    ) -> None:
        self._registry = registry
        self._endings = endings
        self._wishes = wishes
        self._snapshots = snapshots
        self._storage = storage

    def take(self, job: Job, message: training_protocol.OfAttempt) -> None:
        """What the worker of a running job says of it."""
        match message:
            case training_protocol.Trained(epochs=epochs):
                self._registry.record(job.id, EpochsDone(epochs))
            case training_protocol.Adjusted(learning_rate=learning_rate, epoch=epoch):
                self._registry.record(job.id, Changed(learning_rate=learning_rate, epoch=epoch))
                self._wishes.rate_changed(job.id, learning_rate)
            case training_protocol.SnapshotTaken(file=file, epoch=epoch):
                self._snapshots.load(job, file, epoch)
            case training_protocol.SnapshotFailed(message=text):
                self._snapshots.failed(job, text)
            case training_protocol.Checkpointed(file=file, bytes=size):
                after = self._registry.record(job.id, Saved(_now(), file, size))
                self._endings.remove(job, job.files - after.files)
            case training_protocol.CheckpointDamaged(message=text):
                log.error("%s goes on from an older checkpoint: %s", job.id, text)
                set_back = self._registry.record(job.id, CheckpointLost())
                self._endings.remove(job, job.files - set_back.files)
                self.let_go(set_back)
            case training_protocol.Finished(file=file, stopped=stopped, best_epoch=best_epoch):
                network, version = self._endings.published(job, file)
                self._endings.end(job, Succeeded(_now(), version.number, stopped, best_epoch), network)
                self._wishes.forget(job.id)
            case training_protocol.Broken(kind="storage_failed", message=text) if job.retries < _RETRIES_ALLOWED:
                self._storage.failure = text  # until what could not be written can be
                self.let_go(job, retried=True)
            case training_protocol.Broken(kind=kind, message=text):
                self._endings.fail(job, kind, text)
                self._wishes.forget(job.id)
            case training_protocol.Released():
                self.let_go(job)

    def let_go(self, job: Job, *, retried: bool = False) -> None:
        """No worker has it any more: it waits for the next one, unless it was to be paused."""
        self._registry.record(job.id, Interrupted(retried), *self._wishes.left_to_do(job.id))
        self._wishes.forget(job.id)

    def lost(self, job: Job, kind: ErrorKind, message: str) -> None:
        """Its worker is gone: one more try where the cause may lie outside the job; else the end of it."""
        if self._wishes.asks_to_pause(job.id):
            self.let_go(job)
        elif job.retries < _RETRIES_ALLOWED:
            log.warning("%s is started again: %s", job.id, message)
            self.let_go(job, retried=True)
        else:
            self._endings.fail(job, kind, f"{message} It was tried {job.retries + 1} times.")
            self._wishes.forget(job.id)


def how_it_ended(exit_code: int) -> str:
    """A worker, in a sentence."""
    how = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
    return f"The job's worker ended {how}.{_HINTS.get(-exit_code, '')}"


def _now() -> datetime:
    return datetime.now(UTC)


# A worker whose job was cancelled gets so long to notice before it is replaced.
_SECONDS_TO_RELEASE = 0.8


class Dispatcher:
    """Those who call it hold the registry's lock."""

    def __init__(
        self, registry: Registry, folder: DataFolder, endings: Endings, slots: list[Slot], worker_timeout: float
    ) -> None:
        self.ready = threading.Event()
        """Set when the first worker has been ready."""
        self._registry = registry
        self._endings = endings
        self._executor = ProcessExecutor(slots, heard=self._heard, died=self._died, look=self._look)
        self._storage = Storage(registry, folder)
        self._runs = Runs(registry, folder, worker_timeout)
        self._wishes = Wishes(self._tell)
        self.snapshots = Snapshots(registry, folder, self._wishes, self._say)
        self._reports = Reports(registry, endings, self._wishes, self.snapshots, self._storage)
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
    def failure(self) -> str | None:
        """Why nothing is started for the time being, in a sentence; None while all is well."""
        return self._storage.failure

    @property
    def slots(self) -> list[Slot]:
        return self._executor.slots

    def busy_with(self, slot: Slot) -> str | None:
        """The id of the job that the slot's worker has."""
        attempt = self._runs.of_slot(slot)
        return attempt.job_id if attempt else None

    def runs(self, job: Job) -> bool:
        """Whether a worker has it."""
        return self._runs.slot_of(job) is not None

    def is_changing(self, job_id: str) -> bool:
        """Whether a running job has still to be paused, or to take up another learning rate."""
        return self._wishes.asks_for_change(job_id)

    def is_pausing(self, job_id: str) -> bool:
        """Whether a running job has still to be paused."""
        return self._wishes.asks_to_pause(job_id)

    def take_back_pause(self, job_id: str) -> bool:
        """Whether there was one that has not happened yet. Its worker, which has been told, lets go of the job all the
        same; then it goes back to the queue."""
        return self._wishes.take_back_pause(job_id)

    def pause(self, job: Job) -> None:
        """Ask the job's worker to save it and to let go of it."""
        self._wishes.pause(job.id)
        self._say(job, training_protocol.Pause(job.id, job.attempt))

    def change_rate(self, job: Job, learning_rate: float) -> None:
        """Ask the job's worker to go on with another learning rate."""
        self._wishes.change_rate(job.id, learning_rate)
        self._say(job, training_protocol.Adjust(job.id, job.attempt, learning_rate))

    def abandon(self, job: Job) -> None:
        """Tell the job's worker, if it has one, to let go of it; one that does not in time is replaced."""
        self._wishes.forget(job.id)
        slot = self._runs.slot_of(job)
        if slot is not None:
            self._executor.send(slot, training_protocol.Abandon(job.id, job.attempt))
            timer = threading.Timer(_SECONDS_TO_RELEASE, self._kill_if_busy, (slot, job))
            timer.daemon = True
            timer.start()

    def give_up(self, job: Job) -> None:
        """Let the job go on from its last checkpoint, wherever its worker is."""
        slot = self._runs.slot_of(job)
        if slot is not None:
            self._call_off(slot)

    def put_back(self) -> None:
        """Jobs that run by the journal and have no worker go back to the queue; workers whose job runs no more end."""
        for job in self._registry.jobs:
            if job.state == "running" and not self.runs(job):
                self._reports.let_go(job)
        for slot, attempt in self._runs:
            if self._runs.running(attempt) is None:
                self._call_off(slot)

    def _call_off(self, slot: Slot) -> None:
        """End the slot's worker. The job that it has, if any, goes on from its last checkpoint."""
        attempt = self._runs.of_slot(slot)
        if attempt is not None:
            attempt.called_off = True
        self._executor.kill(slot)

    def _say(self, job: Job, message: training_protocol.ToWorker) -> None:
        slot = self._runs.slot_of(job)
        if slot is not None:
            self._executor.send(slot, message)

    def _kill_if_busy(self, slot: Slot, job: Job) -> None:
        with self._registry.lock:
            if self._runs.slot_of(job) is slot:
                self._call_off(slot)

    def _tell(self, job_id: str) -> None:
        """Whoever waits for what was asked of a job."""
        job = self._registry.jobs.peek(job_id)
        if job is not None:
            self._registry.changed(job, ())

    def dispatch(self) -> None:
        """Give waiting jobs to free slots of their kind: the first in the queue whose network no other job trains.

        What it records is of its own accord. That it cannot be written is not the failure of a request before.
        """
        if not self.failure and not self._stopping:
            with self._storage.noting_failure():
                self._endings.end_those_that_wait_in_vain()
                self._give_out()

    def _give_out(self) -> None:
        for slot in self.slots:
            if self._stopping or self.failure:
                return
            if slot.state == "ready" and self._runs.of_slot(slot) is None:
                job = self._next(slot)
                if job is not None:
                    self._start(slot, job)

    def _next(self, slot: Slot) -> Job | None:
        waiting = (self._registry.jobs.get(id) for id in self._registry.jobs.queue(slot.kind))
        taken = {job.network_id for job in self._registry.jobs if job.state == "running"}
        return next((job for job in waiting if job.network_id not in taken), None)

    def _start(self, slot: Slot, job: Job) -> None:
        begin = self._registry.networks.get(job.network_id).start_of(job.spec).number
        started = self._registry.record(job.id, Started(datetime.now(UTC), slot.device, begin))
        self._executor.send(slot, self._runs.begin(slot, started))

    def _heard(self, slot: Slot, message: training_protocol.FromWorker) -> None:
        # What it is told of a worker's run and cannot be recorded ends that run.
        with self._registry.lock, self._storage.noting_failure(partial(self._call_off, slot)):
            if isinstance(message, training_protocol.Ready):
                self.ready.set()
                return
            attempt = self._runs.of_slot(slot)
            if attempt is not None and attempt.is_of(message):
                attempt.hear()
                if isinstance(message, training_protocol.Released):
                    self._runs.end(slot)
                job = self._runs.running(attempt)
                if job is not None:
                    self._reports.take(job, message)
                elif isinstance(
                    message,
                    training_protocol.SnapshotTaken | training_protocol.Checkpointed | training_protocol.Finished,
                ):
                    self._endings.discard(attempt, message.file)

    def _died(self, slot: Slot, exit_code: int) -> None:
        """A job that the worker has said the end of before is not touched by it."""
        with self._registry.lock, self._storage.noting_failure():
            attempt = self._runs.end(slot)
            if attempt is not None:
                self._lost(attempt, slot, "worker_died", how_it_ended(exit_code))

    def _look(self) -> None:
        """Called every now and then by the thread that watches, when it has heard everything that was said."""
        now = time.monotonic()  # before the lock is waited for: meanwhile more may be said
        with self._registry.lock, self._storage.noting_failure():
            for slot, attempt in self._runs.silent(now):
                self._replace(slot, attempt)
            self.snapshots.drop_old(now)
            self._storage.notice()
            if not self._stopping and self._storage.works_again():
                self.put_back()
            self.dispatch()

    def _replace(self, slot: Slot, attempt: Attempt) -> None:
        """The worker hangs."""
        self._runs.end(slot)
        self._executor.replace(slot)
        self._lost(attempt, slot, "hung", f"The job's worker told of no progress for {attempt.silence:.0f} seconds.")

    def _lost(self, attempt: Attempt, slot: Slot, kind: ErrorKind, message: str) -> None:
        if slot.process is not None:
            self._endings.clean_up_after(attempt, slot.process.pid)
        job = self._runs.running(attempt)
        if job is not None and (self._stopping or attempt.called_off):
            self._reports.let_go(job)
        elif job is not None:
            self._reports.lost(job, kind, message)
