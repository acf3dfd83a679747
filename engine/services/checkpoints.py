"""Checkpoints of jobs: found, published as versions, and what of a cancelled job is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Literal

from nabla.engine import durable_files
from nabla.engine.errors import Conflict, NotFound, StorageFailed
from nabla.engine.records.job import Cancelled, Job, SavedRun, check
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.job_finalizer import Endings
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.training.checkpoint import load_checkpoint, save_weights

Weights = Literal["last", "best"]

_NO_BEST = (
    "There are no best weights: only jobs with early stopping and restore_best_weights keep them, from their first epoch "
    "on. Ask for the last ones."
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
            known = ", ".join(str(checkpoint.number) for checkpoint in job.checkpoints) or "none"
            raise NotFound("checkpoint", f"The job {job.id} has no checkpoint {number}. It has: {known}.")
        return found

    def open(self, job: Job, checkpoint: SavedRun) -> BinaryIO:
        """To be read, after a look at every byte of it; that it is dropped meanwhile does no harm then. Raises Damaged,
        NotFound if it has been dropped before."""
        with self._noticing_it_is_gone(job, checkpoint):
            return durable_files.open_checked(self._folder.of_network(job.network_id) / checkpoint.file)

    def publish(
        self, job: Job, checkpoint: SavedRun, weights: Weights, receipt: Receipt | None = None
    ) -> tuple[NetworkRecord, Version]:
        """The job's network with a new version, current from then on, and that version; the receipt is made of both.
        Raises Damaged, NotFound if the checkpoint is gone meanwhile, and Conflict if it has no best weights."""
        file = self._extract(job, checkpoint, weights)
        if file is None:
            raise Conflict(_NO_BEST)
        with self._registry.lock:
            network, version = self._endings.published(job, file, checkpoint.epoch)
            self._registry.change(self._registry.networks, network, receipt, (network, version))
            return network, version

    def check_keeps(self, job: Job, weights: Weights) -> None:
        """Raises Conflict if the job's settings say that it will have no such weights."""
        stopping = job.spec.early_stopping
        if weights == "best" and (stopping is None or not stopping.restore_best_weights):
            raise Conflict(_NO_BEST)

    def cancel(self, job: Job, weights: Weights) -> Job:
        """End a job that does not run, and publish what it has reached, if it has saved any such weights. Raises
        Conflict if it runs or has ended."""
        before = self._registry.jobs.get(job.id)
        check(before, Cancelled)
        saved = before.saved
        file = None if saved is None else self._extract(before, saved, weights)
        with self._registry.lock:
            now = self._registry.jobs.get(job.id)
            if now.state == "running" or now.saved != saved:
                raise Conflict("The job was resumed meanwhile; pause it, or cancel it again.")
            at = datetime.now(UTC)
            if saved is None or file is None:
                return self._endings.end(now, Cancelled(at))
            network, version = self._endings.published(now, file, saved.epoch)
            return self._endings.end(now, Cancelled(at, version.number), network)

    def _extract(self, job: Job, checkpoint: SavedRun, weights: Weights) -> str | None:
        """Weights of a checkpoint, in a file of their own; None if there are no best ones yet."""
        folder = self._folder.of_network(job.network_id)
        architecture = self._registry.networks.get(job.network_id).architecture
        with self._noticing_it_is_gone(job, checkpoint):
            found = load_checkpoint(folder / checkpoint.file)
            if weights == "best" and not found.has_best:
                return None
            network = found.network(architecture, best=weights == "best")
            # Extracted again it gets the same name, and is the same.
            path = folder / f"{job.id}-{checkpoint.number}-{weights}.safetensors"
            return save_weights(path, network, found.preprocessor, found.classes).name

    @contextmanager
    def _noticing_it_is_gone(self, job: Job, checkpoint: SavedRun) -> Iterator[None]:
        """What fails because the checkpoint, its job or its network was dropped meanwhile raises NotFound."""
        try:
            yield
        except StorageFailed:
            self._registry.networks.get(job.network_id)
            self.find(self._registry.jobs.get(job.id), checkpoint.number)
            raise
