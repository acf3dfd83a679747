"""Gives waiting jobs to free slots of their kind, and sees to it that what their workers say is heard."""

import threading
import time
from datetime import UTC, datetime
from functools import partial

from engine.jobs import messages
from engine.jobs.endings import Endings
from engine.jobs.executor import ProcessExecutor, Slot
from engine.jobs.folder import DataFolder
from engine.jobs.job import Job, Started
from engine.jobs.registry import Registry
from engine.jobs.reports import Reports, how_it_ended
from engine.jobs.runs import Attempt, Runs
from engine.jobs.snapshots import Snapshots
from engine.jobs.storage import Storage
from engine.jobs.wishes import Wishes
from engine.names import ErrorKind

# A worker whose job was cancelled gets so long to notice before it is replaced.
_SECONDS_TO_RELEASE = 0.8


class Dispatcher:
    """Those who call it hold the registry's lock."""

    def __init__(
        self, registry: Registry, folder: DataFolder, endings: Endings, slots: list[Slot], hang_seconds: float
    ) -> None:
        self.ready = threading.Event()
        """Set when the first worker has been ready."""
        self._registry = registry
        self._endings = endings
        self._executor = ProcessExecutor(slots, heard=self._heard, died=self._died, look=self._look)
        self._storage = Storage(registry, folder)
        self._runs = Runs(registry, folder, hang_seconds)
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
        self._say(job, messages.Pause(job.id, job.attempt))

    def change_rate(self, job: Job, learning_rate: float) -> None:
        """Ask the job's worker to go on with another learning rate."""
        self._wishes.change_rate(job.id, learning_rate)
        self._say(job, messages.Adjust(job.id, job.attempt, learning_rate))

    def abandon(self, job: Job) -> None:
        """Tell the job's worker, if it has one, to let go of it; one that does not in time is replaced."""
        self._wishes.forget(job.id)
        slot = self._runs.slot_of(job)
        if slot is not None:
            self._executor.send(slot, messages.Abandon(job.id, job.attempt))
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

    def _say(self, job: Job, message: messages.ToWorker) -> None:
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

    def _heard(self, slot: Slot, message: messages.FromWorker) -> None:
        # What it is told of a worker's run and cannot be recorded ends that run.
        with self._registry.lock, self._storage.noting_failure(partial(self._call_off, slot)):
            if isinstance(message, messages.Ready):
                self.ready.set()
                return
            attempt = self._runs.of_slot(slot)
            if attempt is not None and attempt.is_of(message):
                attempt.hear()
                if isinstance(message, messages.Released):
                    self._runs.end(slot)
                job = self._runs.running(attempt)
                if job is not None:
                    self._reports.take(job, message)
                elif isinstance(message, messages.SnapshotTaken | messages.Checkpointed | messages.Finished):
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
