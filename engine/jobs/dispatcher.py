"""Gives waiting jobs to free slots of their kind, and turns what the workers say into events of jobs."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from engine.errors import StorageFailed
from engine.jobs import messages
from engine.jobs.endings import Endings
from engine.jobs.executor import ProcessExecutor, Slot
from engine.jobs.folder import DataFolder
from engine.jobs.job import (
    Changed,
    CheckpointLost,
    EpochsDone,
    ErrorKind,
    Interrupted,
    Job,
    Saved,
    Started,
    Succeeded,
)
from engine.jobs.registry import Registry
from engine.jobs.wishes import Wishes
from engine.training.demand import demand_of

log = logging.getLogger(__name__)

# A worker whose job was cancelled gets so long to notice before it is replaced.
_SECONDS_TO_RELEASE = 0.8
# How often a job is started again because something outside it failed. It may well be the cause.
_RETRIES_ALLOWED = 1
# What could not be written is tried again so often.
_SECONDS_BETWEEN_TRIES = 1.0
# If nobody has looked for so long, this process itself was stopped, and the silence of workers means nothing.
_SECONDS_WITHOUT_A_LOOK = 5.0


@dataclass
class _Run:
    """What a slot's worker is busy with. `silence`: the seconds after which it is taken to hang."""

    job_id: str
    attempt: int
    silence: float
    heard_at: float = field(default_factory=time.monotonic)


class Dispatcher:
    """Knows which slot is busy with what. Those who call it hold the registry's lock."""

    def __init__(
        self, registry: Registry, folder: DataFolder, endings: Endings, slots: list[Slot], hang_seconds: float
    ) -> None:
        self.failure: str | None = None
        """Why nothing is started for the time being, in a sentence; None while all is well."""
        self.ready = threading.Event()
        """Set when the first worker has been ready."""
        self._registry = registry
        self._folder = folder
        self._endings = endings
        self._hang_seconds = hang_seconds
        self._executor = ProcessExecutor(slots, heard=self._heard, died=self._died, look=self._look)
        self._busy: dict[Slot, _Run] = {}
        self._wishes = Wishes(self._tell)
        self._stopping = False
        self._looked_at = self._tried_at = time.monotonic()

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
        run = self._busy.get(slot)
        return run.job_id if run else None

    def runs(self, job: Job) -> bool:
        """Whether a worker has it."""
        return self._slot_of(job) is not None

    def is_wished(self, job_id: str) -> bool:
        """Whether something that was asked of a running job has still to happen."""
        return job_id in self._wishes

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
        slot = self._slot_of(job)
        if slot is not None:
            self._executor.send(slot, messages.Abandon(job.id, job.attempt))
            timer = threading.Timer(_SECONDS_TO_RELEASE, self._kill_if_busy, (slot, job))
            timer.daemon = True
            timer.start()

    def give_up(self, job: Job) -> None:
        """Let the job go on from its last checkpoint, wherever its worker is."""
        slot = self._slot_of(job)
        if slot is not None:
            self._executor.kill(slot)

    def _say(self, job: Job, message: messages.ToWorker) -> None:
        slot = self._slot_of(job)
        if slot is not None:
            self._executor.send(slot, message)

    def _slot_of(self, job: Job) -> Slot | None:
        busy = self._busy.items()
        return next((slot for slot, run in busy if (run.job_id, run.attempt) == (job.id, job.attempt)), None)

    def _kill_if_busy(self, slot: Slot, job: Job) -> None:
        with self._registry.lock:
            if self._slot_of(job) is slot:
                self._executor.kill(slot)

    def dispatch(self) -> None:
        """Give waiting jobs to free slots of their kind: the first in the queue whose network no other job trains.

        What it records is of its own accord. That it cannot be written is not the failure of a request before.
        """
        if not self.failure and not self._stopping:
            with self._noting_failure():
                self._endings.end_those_that_wait_in_vain()
                self._give_out()

    def _give_out(self) -> None:
        for slot in self.slots:
            if self._stopping or self.failure:
                return
            if slot.state == "ready" and slot not in self._busy:
                job = self._next(slot)
                if job is not None:
                    self._start(slot, job)

    def _next(self, slot: Slot) -> Job | None:
        waiting = (self._registry.jobs.get(id) for id in self._registry.jobs.queue(slot.kind))
        taken = {job.network_id for job in self._registry.jobs if job.state == "running"}
        return next((job for job in waiting if job.network_id not in taken), None)

    def _start(self, slot: Slot, job: Job) -> None:
        network = self._registry.networks.get(job.network_id)
        begin = network.current if job.spec.warm_start else 0
        job = self._registry.record(job.id, Started(_now(), slot.device, begin))
        begun_with = network.version(begin if job.start_version is None else job.start_version)
        assert begun_with is not None
        folder = self._folder.of_network(network.id)
        dataset = self._registry.datasets.get(job.dataset_id)
        validation = self._registry.datasets.get(job.validation_dataset_id) if job.validation_dataset_id else None
        stored = dataset.bytes + (validation.bytes if validation else 0)
        demand = demand_of(job.spec, network.architecture, dataset.rows, stored)
        self._busy[slot] = _Run(job.id, job.attempt, self._hang_seconds + demand.silence)
        self._executor.send(
            slot,
            messages.Run(
                job_id=job.id,
                attempt=job.attempt,
                architecture=network.architecture,
                preparation=network.preparation,
                spec=job.spec,
                dataset=dataset,
                dataset_folder=str(self._folder.of_dataset(dataset.id)),
                validation=validation,
                validation_folder=str(self._folder.of_dataset(validation.id)) if validation else None,
                weights=str(folder / begun_with.file),
                checkpoint=str(folder / job.saved.file) if job.saved else None,
                begin_with=str(folder / job.start_file) if job.start_file else None,
                folder=str(folder),
                checkpointing=job.checkpointing,
            ),
        )

    def _heard(self, slot: Slot, message: messages.FromWorker) -> None:
        with self._registry.lock, self._noting_failure(slot):
            if isinstance(message, messages.Ready):
                self.ready.set()
                return
            run = self._busy.get(slot)
            if run is not None and (run.job_id, run.attempt) == (message.job_id, message.attempt):
                run.heard_at = time.monotonic()
                self._take(slot, message)

    @contextmanager
    def _noting_failure(self, slot: Slot | None = None) -> Iterator[None]:
        """A journal that cannot be written ends what the worker does, and not the thread that watches all of them."""
        try:
            yield
        except StorageFailed as problem:
            if self.failure != str(problem):
                log.critical("%s", problem)
            self.failure = str(problem)
            if slot is not None:
                self._executor.kill(slot)

    def _take(self, slot: Slot, message: messages.OfAttempt) -> None:
        job = self._running(self._busy[slot])
        if isinstance(message, messages.Released):
            del self._busy[slot]
            if job is not None:
                self._let_go(job)
        elif job is not None:
            self._take_of_running(job, message)

    def _running(self, run: _Run) -> Job | None:
        """The job, if by the journal this is how it runs. It may have ended, or have been let go of, before its worker
        has; then it may even run in another slot."""
        job = self._registry.jobs.peek(run.job_id)
        return job if job is not None and job.state == "running" and job.attempt == run.attempt else None

    def _take_of_running(self, job: Job, message: messages.OfAttempt) -> None:
        match message:
            case messages.Trained(epochs=epochs):
                self._registry.record(job.id, EpochsDone(epochs))
            case messages.Adjusted(learning_rate=learning_rate, epoch=epoch):
                self._registry.record(job.id, Changed(learning_rate=learning_rate, epoch=epoch))
                self._wishes.rate_changed(job.id, learning_rate)
            case messages.Checkpointed(file=file, bytes=size):
                after = self._registry.record(job.id, Saved(_now(), file, size))
                self._endings.remove(job, job.files - after.files)
            case messages.CheckpointDamaged(message=text):
                log.error("%s goes on from an older checkpoint: %s", job.id, text)
                set_back = self._registry.record(job.id, CheckpointLost())
                self._endings.remove(job, job.files - set_back.files)
                self._let_go(set_back)
            case messages.Finished(file=file, stopped=stopped, best_epoch=best_epoch):
                network, version = self._endings.published(job, file)
                self._endings.end(job, Succeeded(_now(), version.number, stopped, best_epoch), network)
                self._wishes.forget(job.id)
            case messages.Broken(kind="storage_failed", message=text) if job.retries < _RETRIES_ALLOWED:
                self.failure = text  # until what could not be written can be
                self._let_go(job, retried=True)
            case messages.Broken(kind=kind, message=text):
                self._endings.fail(job, kind, text)
                self._wishes.forget(job.id)

    def _let_go(self, job: Job, *, retried: bool = False) -> None:
        """No worker has it any more: it waits for the next one, unless it was to be paused."""
        self._registry.record(job.id, Interrupted(retried), *self._wishes.left_to_do(job.id))
        self._wishes.forget(job.id)

    def _tell(self, job_id: str) -> None:
        """Whoever waits for what was asked of a job."""
        job = self._registry.jobs.peek(job_id)
        if job is not None:
            self._registry.changed(job, ())

    def _died(self, slot: Slot, exit_code: int) -> None:
        """A job that the worker has said the end of before is not touched by it."""
        with self._registry.lock, self._noting_failure():
            run = self._busy.pop(slot, None)
            job = self._running(run) if run else None
            if job is not None:
                how = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
                self._lost(job, "worker_died", f"The job's worker ended {how}.{_HINTS.get(-exit_code, '')}")

    def _lost(self, job: Job, kind: ErrorKind, message: str) -> None:
        """One more try where the cause may lie outside the job; else the end of it."""
        if self._stopping or self._wishes.asks_to_pause(job.id):
            self._let_go(job)
        elif job.retries < _RETRIES_ALLOWED:
            log.warning("%s is started again: %s", job.id, message)
            self._let_go(job, retried=True)
        else:
            self._endings.fail(job, kind, f"{message} It was started {job.attempt} times.")
            self._wishes.forget(job.id)

    def _look(self) -> None:
        """Called every now and then by the thread that watches, when it has heard everything that was said."""
        now = time.monotonic()
        asleep, self._looked_at = now - self._looked_at > _SECONDS_WITHOUT_A_LOOK, now
        with self._registry.lock, self._noting_failure():
            for slot, run in tuple(self._busy.items()):
                if asleep:
                    run.heard_at = now
                elif now - run.heard_at > run.silence:
                    self._replace(slot, run)
            if self._registry.failed and not self.failure:
                self.failure = "The journal could not be written."
            if self.failure and not self._stopping and now - self._tried_at > _SECONDS_BETWEEN_TRIES:
                self._tried_at = now
                self._try_again()
            self.dispatch()

    def _replace(self, slot: Slot, run: _Run) -> None:
        """The worker hangs."""
        del self._busy[slot]
        self._executor.replace(slot)
        job = self._running(run)
        if job is not None:
            self._lost(job, "hung", f"The job's worker told of no progress for {run.silence:.0f} seconds.")

    def _try_again(self) -> None:
        """Find out whether the data folder can be written again, and then go on."""
        self._folder.probe()
        self._registry.recover()
        self.failure = None
        log.warning("the data folder can be written again")
        self.put_back()

    def put_back(self) -> None:
        """Jobs that run by the journal and have no worker go back to the queue; workers whose job runs no more end."""
        for job in self._registry.jobs:
            if job.state == "running" and not self.runs(job):
                self._let_go(job)
        for slot, run in self._busy.items():
            if self._running(run) is None:
                self._executor.kill(slot)


_HINTS = {
    9: " Signal 9 often means that the machine ran out of memory.",
    11: " Signal 11 means that machine code touched memory that is not its own; so may damaged memory.",
}


def _now() -> datetime:
    return datetime.now(UTC)
