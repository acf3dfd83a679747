"""The end of a job: the version that it publishes, and the removal of files that no record refers to any more."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.literals import ErrorKind
from nabla.engine.records.job import Cancelled, Failed, Job, JobError, Succeeded
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.active_runs import Attempt
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_classes, load_preprocessor


class JobFinalizer:
    """Records how jobs end and cleans up after them. Callers hold the registry's lock."""

    def __init__(self, registry: Registry, data_dir: DataDir) -> None:
        self._registry = registry
        self._data_dir = data_dir

    def add_version(self, job: Job, file: str, epoch: int | None = None) -> tuple[NetworkRecord, Version]:
        """Return the job's network with the weights in `file` as a new current version, and that version.

        Nothing is recorded yet.

        Raises:
            Damaged: The file cannot be read.
        """
        network = self._registry.networks.get(job.network_id)
        path = self._data_dir.network_dir(network.id) / file
        preprocessor, classes = load_preprocessor(path), load_classes(path)
        columns = None
        if preprocessor is not None and preprocessor.columns is not None:
            columns = tuple((column.name, column.type) for column in preprocessor.columns)
        number = network.versions[-1].number + 1
        version = Version(number, file, job.id, classes, datetime.now(UTC), epoch, columns)
        return network.with_version(version), version

    def finish(self, job: Job, event: Succeeded | Failed | Cancelled, network: NetworkRecord | None = None) -> Job:
        """Record the last event of a job, and with it its `network` if the job publishes a version."""
        finished = self._registry.record(job.id, event, publishes=network)
        if finished.start_file is not None:
            self.remove_files(finished, {finished.start_file})
        return finished

    def fail(self, job: Job, kind: ErrorKind, message: str) -> None:
        """Record that a job failed."""
        self.finish(job, Failed(datetime.now(UTC), JobError(kind, message)))

    def discard_late_file(self, attempt: Attempt, file: str) -> None:
        """Remove a file that a worker reported after its attempt was over, unless a record refers to it."""
        self._remove_unreferenced(attempt, [self._data_dir.network_dir(attempt.network_id) / file])

    def clean_up(self, attempt: Attempt, process_id: int) -> None:
        """Remove the files that a dead worker had not finished or not reported."""
        directory, run = self._data_dir.network_dir(attempt.network_id), f"{attempt.job_id}-{attempt.number}"
        patterns = (f"{durable_files.UNFINISHED_PREFIX}{process_id}-*", f"{run}-*.checkpoint", f"{run}.*.safetensors")
        self._remove_unreferenced(attempt, [file for pattern in patterns for file in directory.glob(pattern)])

    def remove_files(self, job: Job, files: set[str]) -> None:
        """Remove files of a job that the journal no longer refers to."""
        for file in files:
            (self._data_dir.network_dir(job.network_id) / file).unlink(missing_ok=True)

    def _remove_unreferenced(self, attempt: Attempt, files: Iterable[Path]) -> None:
        job = self._registry.jobs.get_or_none(attempt.job_id)
        network = self._registry.networks.get_or_none(attempt.network_id)
        referenced = job.files if job is not None else set()
        referenced = referenced | ({version.file for version in network.versions} if network is not None else set())
        for file in files:
            if file.name not in referenced:
                file.unlink(missing_ok=True)
