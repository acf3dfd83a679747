"""Checkpoints of jobs: looking them up, downloading them, publishing them as versions, cancelling a job with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Literal

from nabla.engine import durable_files
from nabla.engine.errors import Conflict, NotFound, StorageFailed
from nabla.engine.records.job import Cancelled, CheckpointRecord, Job, check
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.job_finalizer import JobFinalizer
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.training.checkpoint import load_checkpoint, save_weights

WeightsChoice = Literal["last", "best"]

_NO_BEST = (
    "There are no best weights: only jobs with early stopping and restore_best_weights keep them, from their first "
    "epoch on. Ask for the last ones."
)


class Checkpoints:
    """The checkpoints that jobs keep, also after their end. Methods may be called from any thread."""

    def __init__(self, registry: Registry, data_dir: DataDir) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._finalizer = JobFinalizer(registry, data_dir)

    def get(self, job: Job, number: int) -> CheckpointRecord:
        """Return a checkpoint of the job.

        Raises:
            NotFound: The job has no checkpoint of this number, or no longer.
        """
        checkpoint = next((checkpoint for checkpoint in job.checkpoints if checkpoint.number == number), None)
        if checkpoint is None:
            known = ", ".join(str(checkpoint.number) for checkpoint in job.checkpoints) or "none"
            raise NotFound("checkpoint", f"The job {job.id} has no checkpoint {number}. It has: {known}.")
        return checkpoint

    def open_file(self, job: Job, checkpoint: CheckpointRecord) -> BinaryIO:
        """Open the file of a checkpoint after verifying its digest; it stays readable when the checkpoint is dropped.

        Raises:
            Damaged: The file does not match its digest.
            NotFound: The checkpoint was dropped.
        """
        with self._deletion_as_not_found(job, checkpoint):
            return durable_files.open_verified(self._data_dir.network_dir(job.network_id) / checkpoint.file)

    def publish(
        self, job: Job, checkpoint: CheckpointRecord, weights: WeightsChoice, idempotency: IdempotencyKey | None = None
    ) -> tuple[NetworkRecord, Version]:
        """Publish the weights of a checkpoint as the current version of the job's network.

        The key of `idempotency` is recorded with the id of the network and the number of the version.

        Returns:
            The network with its new version, and that version.

        Raises:
            Conflict: The checkpoint has no best weights.
            Damaged: The file does not match its digest.
            NotFound: The checkpoint was dropped.
        """
        file = self._extract_weights(job, checkpoint, weights)
        if file is None:
            raise Conflict(_NO_BEST)
        with self._registry.lock:
            network, version = self._finalizer.add_version(job, file, checkpoint.epoch)
            self._registry.change(self._registry.networks, network, idempotency, (network.id, str(version.number)))
            return network, version

    def require_keeps_weights(self, job: Job, weights: WeightsChoice) -> None:
        """Raise Conflict if the job, by its settings, keeps no such weights."""
        stopping = job.spec.early_stopping
        if weights == "best" and (stopping is None or not stopping.restore_best_weights):
            raise Conflict(_NO_BEST)

    def cancel_and_publish(self, job: Job, weights: WeightsChoice) -> Job:
        """Cancel a job that is not running and publish the weights of its last checkpoint, if it has any.

        Raises:
            Conflict: The job is running or has ended.
        """
        before = self._registry.jobs.get(job.id)
        check(before, Cancelled)
        saved = before.last_checkpoint
        file = None if saved is None else self._extract_weights(before, saved, weights)
        with self._registry.lock:
            now = self._registry.jobs.get(job.id)
            if now.state == "running" or now.last_checkpoint != saved:
                raise Conflict("The job was resumed meanwhile; pause it, or cancel it again.")
            at = datetime.now(UTC)
            if saved is None or file is None:
                return self._finalizer.finish(now, Cancelled(at))
            network, version = self._finalizer.add_version(now, file, saved.epoch)
            return self._finalizer.finish(now, Cancelled(at, version.number), network)

    def _extract_weights(self, job: Job, checkpoint: CheckpointRecord, weights: WeightsChoice) -> str | None:
        """Write the weights of a checkpoint to a file of their own; None if there are no best ones yet."""
        directory = self._data_dir.network_dir(job.network_id)
        architecture = self._registry.networks.get(job.network_id).architecture
        with self._deletion_as_not_found(job, checkpoint):
            loaded = load_checkpoint(directory / checkpoint.file)
            if weights == "best" and not loaded.has_best:
                return None
            network = loaded.build_network(architecture, best=weights == "best")
            # Extracting again writes the same content under the same name.
            path = directory / f"{job.id}-{checkpoint.number}-{weights}.safetensors"
            return save_weights(path, network, loaded.preprocessor, loaded.classes).name

    @contextmanager
    def _deletion_as_not_found(self, job: Job, checkpoint: CheckpointRecord) -> Iterator[None]:
        """Raise NotFound for a file error in the block if the checkpoint, its job or its network was deleted."""
        try:
            yield
        except StorageFailed:
            self._registry.networks.get(job.network_id)
            self.get(self._registry.jobs.get(job.id), checkpoint.number)
            raise
