"""Checkpoints of jobs: found, published as versions, and what of a cancelled job is kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from engine import durable
from engine.errors import Conflict, Damaged, NotFound
from engine.jobs.endings import Endings
from engine.jobs.folder import DataFolder
from engine.jobs.job import Cancelled, Job, SavedRun
from engine.jobs.registry import NetworkRecord, Receipt, Registry, Version
from engine.training.checkpoint import load_checkpoint, save_weights

Weights = Literal["last", "best"]

_NO_BEST = (
    "There are no best weights: only jobs with early stopping and restore_best keep them, from their first epoch on. "
    "Ask for the last ones."
)


class Checkpoints:
    """Those that jobs keep, also when they have ended. Methods may be called from any thread."""

    def __init__(self, registry: Registry, folder: DataFolder) -> None:
        self._registry = registry
        self._folder = folder
        self._endings = Endings(registry, folder)

    def find(self, job: Job, number: int) -> SavedRun:
        """Raises NotFound."""
        found = next((checkpoint for checkpoint in job.checkpoints if checkpoint.number == number), None)
        if found is None:
            raise NotFound("checkpoint", f"{number} of {job.id}")
        return found

    def path(self, job: Job, checkpoint: SavedRun) -> Path:
        """Where it is, after a look at every byte of it. Raises Damaged, NotFound if it has been dropped meanwhile."""
        path = self._folder.of_network(job.network_id) / checkpoint.file
        try:
            durable.check(path)
        except Damaged:
            self.find(self._registry.jobs.get(job.id), checkpoint.number)
            raise
        return path

    def publish(
        self, job: Job, checkpoint: SavedRun, weights: Weights, receipt: Receipt | None = None
    ) -> tuple[NetworkRecord, Version]:
        """The job's network with a new version, current from then on, and that version; the receipt is made of both.
        Raises Damaged, NotFound if the checkpoint is gone meanwhile, and Conflict if it has no best weights."""
        with self._registry.lock:
            checkpoint = self.find(self._registry.jobs.get(job.id), checkpoint.number)
            file = self._extract(job, checkpoint, weights)
            network, number = self._endings.published(job, file, checkpoint.epoch)
            version = network.version(number)
            assert version is not None
            self._registry.change(network, receipt, (network, version))
            return network, version

    def check_keeps(self, job: Job, weights: Weights) -> None:
        """Raises Conflict if the job's settings say that it will have no such weights."""
        stopping = job.spec.early_stopping
        if weights == "best" and (stopping is None or not stopping.restore_best):
            raise Conflict(_NO_BEST)

    def cancel(self, job: Job, weights: Weights) -> Job:
        """End a job that does not run, and publish what it has reached, if it has saved anything. Raises Conflict if it
        runs or has ended, or has no best weights."""
        with self._registry.lock:
            now = self._registry.jobs.get(job.id)
            if now.state == "running":
                raise Conflict("The job runs; it is paused first.")
            at = datetime.now(UTC)
            if now.finished or now.saved is None:
                return self._endings.end(now, Cancelled(at))
            file = self._extract(now, now.saved, weights)
            network, number = self._endings.published(now, file, now.saved.epoch)
            return self._endings.end(now, Cancelled(at, number), network)

    def _extract(self, job: Job, checkpoint: SavedRun, weights: Weights) -> str:
        """Weights of a checkpoint, in a file of their own."""
        folder = self._folder.of_network(job.network_id)
        found = load_checkpoint(folder / checkpoint.file)
        if weights == "best" and not found.has_best:
            raise Conflict(_NO_BEST)
        network = found.network(self._registry.networks.get(job.network_id).architecture, best=weights == "best")
        # Each extraction has a version of its own, and so a file of its own.
        number = self._registry.networks.get(job.network_id).versions[-1].number + 1
        return save_weights(folder / f"{job.id}-checkpoint-{checkpoint.number}-{number}.safetensors", network).name
