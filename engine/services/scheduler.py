"""The scheduler: starts queued jobs in free slots, handles the events of their workers, and replaces hung workers."""

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
from nabla.engine.services.active_runs import ActiveRuns, Attempt, PendingControls
from nabla.engine.services.job_finalizer import JobFinalizer
from nabla.engine.services.snapshots import Snapshots
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry
from nabla.engine.workers import training_protocol
from nabla.engine.workers.os_process import describe_exit
from nabla.engine.workers.training_pool import Slot, WorkerPool

log = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
# A failure outside the job may well be caused by the job itself, so it is not retried for ever.
_MAX_RETRIES = 1
# Within this time a worker releases a cancelled job; after it the worker is killed.
_RELEASE_TIMEOUT = 0.8
_SIGNAL_HINTS = {
    9: " Signal 9 often means that the machine ran out of memory.",
    11: " Signal 11 means that native code accessed memory that it must not; damaged memory can be the cause.",
}


class WriteFailureGuard:
    """Circuit breaker for the journal: after a failed write no job starts until a probe write succeeds.

    Callers hold the registry's lock.
    """

    def __init__(self, registry: Registry, data_dir: DataDir) -> None:
        self.failure: str | None = None
        """Why nothing can be written, as a sentence; None while writes succeed."""
        self._registry = registry
        self._data_dir = data_dir
        self._probed_at = time.monotonic()

    @contextmanager
    def watch(self, on_failure: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Trip on a failed write in the block and call `on_failure`, so that the scheduler's thread survives it."""
        try:
            yield
        except StorageFailed as error:
            if self.failure != str(error):
                log.critical("%s", error)
            self.trip(str(error))
            on_failure()

    def trip(self, message: str) -> None:
        """Start nothing until a probe write succeeds."""
        self.failure = message

    def check_journal(self) -> None:
        """Trip if a write failed in a request."""
        if self._registry.failed and not self.failure:
            self.trip("The journal could not be written.")

    def try_reset(self) -> bool:
        """Probe once a second while tripped; return whether writes have just become possible again.

        Raises:
            StorageFailed: The probe failed.
        """
        now = time.monotonic()
        if not self.failure or now - self._probed_at <= _PROBE_INTERVAL:
            return False
        self._probed_at = now
        self._data_dir.probe()
        self._registry.recover()
        self.failure = None
        log.warning("the data directory is writable again")
        return True


class WorkerEventHandler:
    """Records what workers report about running jobs. Callers hold the registry's lock."""

    def __init__(
        self,
        registry: Registry,
        finalizer: JobFinalizer,
        controls: PendingControls,
        snapshots: Snapshots,
        guard: WriteFailureGuard,
    ) -> None:
        self._registry = registry
        self._finalizer = finalizer
        self._controls = controls
        self._snapshots = snapshots
        self._guard = guard

    def handle(self, job: Job, message: training_protocol.AttemptMessage) -> None:
        """Record a message from the worker of a running job."""
        match message:
            case training_protocol.EpochsTrained(epochs=epochs):
                self._registry.record(job.id, EpochsDone(epochs))
            case training_protocol.LearningRateSet(learning_rate=learning_rate, epoch=epoch):
                self._registry.record(job.id, Changed(learning_rate=learning_rate, epoch=epoch))
                self._controls.acknowledge_learning_rate(job.id, learning_rate)
            case training_protocol.SnapshotTaken(file=file, epoch=epoch):
                self._snapshots.load(job, file, epoch)
            case training_protocol.SnapshotFailed(message=text):
                self._snapshots.fail(job, text)
            case training_protocol.CheckpointSaved(file=file, bytes=size):
                after = self._registry.record(job.id, Saved(datetime.now(UTC), file, size))
                self._finalizer.remove_files(job, job.files - after.files)
            case training_protocol.CheckpointDamaged(message=text):
                log.error("%s continues from an older checkpoint: %s", job.id, text)
                after = self._registry.record(job.id, CheckpointLost())
                self._finalizer.remove_files(job, job.files - after.files)
                self.requeue(after)
            case training_protocol.Done(file=file, stopped=stopped, best_epoch=best_epoch):
                network, version = self._finalizer.add_version(job, file)
                succeeded = Succeeded(datetime.now(UTC), version.number, stopped, best_epoch)
                self._finalizer.finish(job, succeeded, network)
                self._controls.clear(job.id)
            case training_protocol.JobFailed(kind="storage_failed", message=text) if job.retries < _MAX_RETRIES:
                self._guard.trip(text)
                self.requeue(job, retried=True)
            case training_protocol.JobFailed(kind=kind, message=text):
                self._finalizer.fail(job, kind, text)
                self._controls.clear(job.id)
            case training_protocol.Released():
                self.requeue(job)

    def requeue(self, job: Job, *, retried: bool = False) -> None:
        """Put a running job back into the queue, or pause it if that is pending."""
        self._registry.record(job.id, Interrupted(retried), *self._controls.unapplied_events(job.id))
        self._controls.clear(job.id)

    def handle_lost_worker(self, job: Job, kind: ErrorKind, message: str) -> None:
        """Requeue a job whose worker died or hung, once; fail it the next time."""
        if self._controls.is_pausing(job.id):
            self.requeue(job)
        elif job.retries < _MAX_RETRIES:
            log.warning("%s is started again: %s", job.id, message)
            self.requeue(job, retried=True)
        else:
            self._finalizer.fail(job, kind, f"{message} It was tried {job.retries + 1} times.")
            self._controls.clear(job.id)


class Scheduler:
    """Assigns jobs to slots and controls their workers.

    Callers of methods that change something hold the registry's lock, except for `start` and `stop`.
    """

    def __init__(
        self,
        registry: Registry,
        data_dir: DataDir,
        finalizer: JobFinalizer,
        slots: list[Slot],
        worker_timeout: float,
    ) -> None:
        self._registry = registry
        self._finalizer = finalizer
        self._pool = WorkerPool(slots, on_message=self._on_message, on_exit=self._on_exit, on_tick=self._on_tick)
        self._guard = WriteFailureGuard(registry, data_dir)
        self._runs = ActiveRuns(registry, data_dir, worker_timeout)
        self._controls = PendingControls(registry)
        self.snapshots = Snapshots(registry, data_dir, self._controls, self._send)
        self._handler = WorkerEventHandler(registry, finalizer, self._controls, self.snapshots, self._guard)
        self._stopping = False

    def start(self) -> None:
        """Start the workers."""
        self._pool.start()

    def stop(self, seconds: float) -> None:
        """Let running jobs save themselves for at most `seconds`, requeue them, and end every worker.

        The caller does not hold the registry's lock: the workers' last messages need it.
        """
        with self._registry.lock:
            self._stopping = True
        self._pool.stop(seconds)

    @property
    def failure(self) -> str | None:
        """Why no job starts, as a sentence; None in normal operation."""
        return self._guard.failure

    @property
    def slots(self) -> list[Slot]:
        """All slots."""
        return self._pool.slots

    def job_in(self, slot: Slot) -> str | None:
        """Return the id of the job that the slot's worker has."""
        attempt = self._runs.get(slot)
        return attempt.job_id if attempt else None

    def has_worker(self, job: Job) -> bool:
        """Return whether a worker has the job."""
        return self._runs.find_slot(job) is not None

    def is_compiling(self, job: Job) -> bool:
        """Return whether the job's worker compiles kernels, and training has not begun."""
        slot = self._runs.find_slot(job)
        attempt = None if slot is None else self._runs.get(slot)
        return attempt is not None and attempt.compiling

    def has_pending_change(self, job_id: str) -> bool:
        """Return whether a pause or a learning-rate change of a running job is pending."""
        return self._controls.has_change(job_id)

    def is_pausing(self, job_id: str) -> bool:
        """Return whether a pause of a running job is pending."""
        return self._controls.is_pausing(job_id)

    def withdraw_pause(self, job_id: str) -> bool:
        """Withdraw a pending pause; return whether there was one.

        The worker already has the message and releases the job anyway; then the job is requeued.
        """
        return self._controls.withdraw_pause(job_id)

    def pause(self, job: Job) -> None:
        """Ask the job's worker to save the job and to release it."""
        self._controls.request_pause(job.id)
        self._send(job, training_protocol.Pause(job.id, job.attempt))

    def set_learning_rate(self, job: Job, learning_rate: float) -> None:
        """Ask the job's worker to continue with another learning rate."""
        self._controls.request_learning_rate(job.id, learning_rate)
        self._send(job, training_protocol.SetLearningRate(job.id, job.attempt, learning_rate))

    def cancel(self, job: Job) -> None:
        """Ask the job's worker, if any, to release the job without saving; kill it if that takes too long."""
        self._controls.clear(job.id)
        slot = self._runs.find_slot(job)
        if slot is not None:
            self._pool.send(slot, training_protocol.Cancel(job.id, job.attempt))
            timer = threading.Timer(_RELEASE_TIMEOUT, self._kill_if_busy, (slot, job))
            timer.daemon = True
            timer.start()

    def force_stop(self, job: Job) -> None:
        """Kill the job's worker, if any; the job continues from its last checkpoint."""
        slot = self._runs.find_slot(job)
        if slot is not None:
            self._kill_worker(slot)

    def requeue_orphans(self) -> None:
        """Requeue running jobs that no worker has, and kill workers whose job no longer runs."""
        for job in self._registry.jobs:
            if job.state == "running" and not self.has_worker(job):
                self._handler.requeue(job)
        for slot, attempt in self._runs:
            if self._runs.running_job(attempt) is None:
                self._kill_worker(slot)

    def fail_blocked_dependents(self) -> None:
        """Fail the jobs that depend on one that has ended without success."""
        for job in self._registry.jobs:
            blocker = next((other for id in job.depends_on if (other := self._unsuccessful_job(id))), None)
            if blocker is not None and not self._registry.jobs.get(job.id).finished:
                message = f"The job {blocker.id}, which must succeed first, is {blocker.state}."
                self._finalizer.fail(job, "dependency_failed", message)

    def dispatch(self) -> None:
        """Start queued jobs in the free slots of their kind, unless the guard has tripped.

        A failed write trips the guard and is not raised: what the caller recorded before is in the journal.
        """
        if not self.failure and not self._stopping:
            with self._guard.watch():
                self.fail_blocked_dependents()
                self._fill_slots()

    def _unsuccessful_job(self, job_id: str) -> Job | None:
        """Return the job if it has failed or was cancelled."""
        job = self._registry.jobs.get_or_none(job_id)
        return job if job is not None and job.finished and job.state != "succeeded" else None

    def _fill_slots(self) -> None:
        for slot in self.slots:
            if self._stopping or self.failure:
                return
            if slot.state == "ready" and self._runs.get(slot) is None:
                job = self._next_job(slot)
                if job is not None:
                    self._start_job(slot, job)

    def _next_job(self, slot: Slot) -> Job | None:
        """Return the first job in the slot's queue whose network no other job trains."""
        queue = (self._registry.jobs.get(id) for id in self._registry.jobs.queue(slot.kind))
        networks_in_training = {job.network_id for job in self._registry.jobs if job.state == "running"}
        return next((job for job in queue if job.network_id not in networks_in_training), None)

    def _start_job(self, slot: Slot, job: Job) -> None:
        start_version = self._registry.networks.get(job.network_id).initial_version(job.spec).number
        started = self._registry.record(job.id, Started(datetime.now(UTC), slot.device, start_version))
        self._pool.send(slot, self._runs.start(slot, started))

    def _send(self, job: Job, message: training_protocol.WorkerCommand) -> None:
        slot = self._runs.find_slot(job)
        if slot is not None:
            self._pool.send(slot, message)

    def _kill_worker(self, slot: Slot) -> None:
        """Kill the slot's worker. Its job, if any, continues from its last checkpoint."""
        attempt = self._runs.get(slot)
        if attempt is not None:
            attempt.killed = True
        self._pool.kill(slot)

    def _kill_if_busy(self, slot: Slot, job: Job) -> None:
        with self._registry.lock:
            if self._runs.find_slot(job) is slot:
                self._kill_worker(slot)

    def _on_message(self, slot: Slot, message: training_protocol.WorkerEvent) -> None:
        # Progress that cannot be recorded has to be repeated from the last checkpoint, so the run ends here.
        with self._registry.lock, self._guard.watch(partial(self._kill_worker, slot)):
            if isinstance(message, training_protocol.Ready):
                return
            attempt = self._runs.get(slot)
            if attempt is None or not attempt.matches(message):
                return
            attempt.touch()
            if isinstance(message, training_protocol.Released):
                self._runs.finish(slot)
            job = self._runs.running_job(attempt)
            compiling = isinstance(message, training_protocol.Compiling)
            if job is not None and compiling != attempt.compiling:
                attempt.compiling = compiling
                self._registry.on_change(job, ())  # nothing is journaled
            if job is not None:
                self._handler.handle(job, message)
            elif isinstance(
                message, training_protocol.SnapshotTaken | training_protocol.CheckpointSaved | training_protocol.Done
            ):
                self._finalizer.discard_late_file(attempt, message.file)

    def _on_exit(self, slot: Slot, exit_code: int) -> None:
        """Handle the death of a worker. All its messages were handled before, so that a finished job stays finished."""
        with self._registry.lock, self._guard.watch():
            attempt = self._runs.finish(slot)
            if attempt is not None:
                self._handle_lost_worker(attempt, slot, "worker_died", _exit_message(exit_code))

    def _on_tick(self) -> None:
        """Replace hung workers, and retry failed writes. The pool calls this at least twice a second."""
        now = time.monotonic()  # before the lock: messages that arrive while it is awaited are not handled yet
        with self._registry.lock, self._guard.watch():
            for slot, attempt in self._runs.iter_hung(now):
                self._replace_worker(slot, attempt)
            self.snapshots.drop_expired(now)
            self._guard.check_journal()
            if not self._stopping and self._guard.try_reset():
                self.requeue_orphans()
            self.dispatch()

    def _replace_worker(self, slot: Slot, attempt: Attempt) -> None:
        self._runs.finish(slot)
        self._pool.replace(slot)
        message = f"The job's worker reported no progress for {attempt.timeout:.0f} seconds."
        self._handle_lost_worker(attempt, slot, "hung", message)

    def _handle_lost_worker(self, attempt: Attempt, slot: Slot, kind: ErrorKind, message: str) -> None:
        if slot.process is not None:
            self._finalizer.clean_up(attempt, slot.process.pid)
        job = self._runs.running_job(attempt)
        if job is not None and (self._stopping or attempt.killed):
            self._handler.requeue(job)
        elif job is not None:
            self._handler.handle_lost_worker(job, kind, message)


def _exit_message(exit_code: int) -> str:
    """Return how a worker ended, as a sentence."""
    return f"The job's worker ended {describe_exit(exit_code)}.{_SIGNAL_HINTS.get(-exit_code, '')}"
