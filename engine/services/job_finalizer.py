"""How jobs end: what they publish, which of their files go, and what becomes of the jobs that waited for them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.literals import ErrorKind
from nabla.engine.records.job import Cancelled, Failed, Job, JobError, Succeeded
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.active_runs import Attempt
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_classes, load_preprocessor


class Endings:
    """Those who call it hold the registry's lock."""

    def __init__(self, registry: Registry, folder: DataFolder) -> None:
        self._registry = registry
        self._folder = folder

    def published(self, job: Job, file: str, epoch: int | None = None) -> tuple[NetworkRecord, Version]:
        """The job's network with a new version, current from then on, and that version. Raises Damaged."""
        network = self._registry.networks.get(job.network_id)
        path = self._folder.of_network(network.id) / file
        preprocessor, classes = load_preprocessor(path), load_classes(path)
        columns = None
        if preprocessor is not None and preprocessor.columns is not None:
            columns = tuple((column.name, column.type) for column in preprocessor.columns)
        number = network.versions[-1].number + 1
        version = Version(number, file, job.id, classes, datetime.now(UTC), epoch, columns)
        return network.with_version(version), version

    def end(self, job: Job, event: Succeeded | Failed | Cancelled, publishes: NetworkRecord | None = None) -> Job:
        """Record the event that ends a job. Those that waited for it end when slots are given out the next time."""
        ended = self._registry.record(job.id, event, publishes=publishes)
        if ended.start_file is not None:
            self.remove(ended, {ended.start_file})
        return ended

    def fail(self, job: Job, kind: ErrorKind, message: str) -> None:
        self.end(job, Failed(datetime.now(UTC), JobError(kind, message)))

    def end_those_that_wait_in_vain(self) -> None:
        """Fail the jobs that wait for one that has ended without success."""
        for job in self._registry.jobs:
            failed = next((other for id in job.depends_on if (other := self._without_success(id))), None)
            if failed is not None and not self._registry.jobs.get(job.id).finished:
                message = f"It was to start when the job {failed.id} has succeeded, but that is {failed.state}."
                self.fail(job, "dependency_failed", message)

    def _without_success(self, job_id: str) -> Job | None:
        """The job, if it has ended otherwise."""
        job = self._registry.jobs.peek(job_id)
        return job if job is not None and job.finished and job.state != "succeeded" else None

    def discard(self, attempt: Attempt, file: str) -> None:
        """Remove a file that a worker has told of too late, unless the journal knows it."""
        self._remove_unknown(attempt, [self._folder.of_network(attempt.network_id) / file])

    def clean_up_after(self, attempt: Attempt, process_id: int) -> None:
        """Remove what a worker that has died had not finished, or had no time to tell of."""
        folder, run = self._folder.of_network(attempt.network_id), f"{attempt.job_id}-{attempt.number}"
        left = (f"{durable_files.UNFINISHED}{process_id}-*", f"{run}-*.checkpoint", f"{run}.*.safetensors")
        self._remove_unknown(attempt, [file for pattern in left for file in folder.glob(pattern)])

    def _remove_unknown(self, attempt: Attempt, files: Iterable[Path]) -> None:
        job = self._registry.jobs.peek(attempt.job_id)
        network = self._registry.networks.peek(attempt.network_id)
        known = job.files if job is not None else set()
        known = known | ({version.file for version in network.versions} if network is not None else set())
        for file in files:
            if file.name not in known:
                file.unlink(missing_ok=True)

    def remove(self, job: Job, files: set[str]) -> None:
        """Remove files that the journal has let go of before."""
        for file in files:
            (self._folder.of_network(job.network_id) / file).unlink(missing_ok=True)
