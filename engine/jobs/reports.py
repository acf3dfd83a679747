"""What workers say of running jobs, and what their end says, turned into events of jobs."""

import logging
from datetime import UTC, datetime

from engine.jobs import messages
from engine.jobs.endings import Endings
from engine.jobs.job import Changed, CheckpointLost, EpochsDone, Interrupted, Job, Saved, Succeeded
from engine.jobs.registry import Registry
from engine.jobs.snapshots import Snapshots
from engine.jobs.storage import Storage
from engine.jobs.wishes import Wishes
from engine.names import ErrorKind

log = logging.getLogger(__name__)

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

    def take(self, job: Job, message: messages.OfAttempt) -> None:
        """What the worker of a running job says of it."""
        match message:
            case messages.Trained(epochs=epochs):
                self._registry.record(job.id, EpochsDone(epochs))
            case messages.Adjusted(learning_rate=learning_rate, epoch=epoch):
                self._registry.record(job.id, Changed(learning_rate=learning_rate, epoch=epoch))
                self._wishes.rate_changed(job.id, learning_rate)
            case messages.SnapshotTaken(file=file, epoch=epoch):
                self._snapshots.load(job, file, epoch)
            case messages.SnapshotFailed(message=text):
                self._snapshots.failed(job, text)
            case messages.Checkpointed(file=file, bytes=size):
                after = self._registry.record(job.id, Saved(_now(), file, size))
                self._endings.remove(job, job.files - after.files)
            case messages.CheckpointDamaged(message=text):
                log.error("%s goes on from an older checkpoint: %s", job.id, text)
                set_back = self._registry.record(job.id, CheckpointLost())
                self._endings.remove(job, job.files - set_back.files)
                self.let_go(set_back)
            case messages.Finished(file=file, stopped=stopped, best_epoch=best_epoch):
                network, version = self._endings.published(job, file)
                self._endings.end(job, Succeeded(_now(), version.number, stopped, best_epoch), network)
                self._wishes.forget(job.id)
            case messages.Broken(kind="storage_failed", message=text) if job.retries < _RETRIES_ALLOWED:
                self._storage.failure = text  # until what could not be written can be
                self.let_go(job, retried=True)
            case messages.Broken(kind=kind, message=text):
                self._endings.fail(job, kind, text)
                self._wishes.forget(job.id)
            case messages.Released():
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
