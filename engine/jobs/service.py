"""Submit, pause, cancel, recover: what the API asks for, turned into events of jobs."""

from datetime import UTC, datetime

from engine.data.dataset import Dataset
from engine.errors import Conflict, InvalidInput
from engine.jobs import ids
from engine.jobs.dispatcher import Dispatcher
from engine.jobs.executor import Slot
from engine.jobs.folder import DataFolder
from engine.jobs.job import Cancelled, Interrupted, Job, Paused, Placed, Resumed, check
from engine.jobs.registry import NetworkRecord, Registry
from engine.nn.architecture import Architecture
from engine.nn.cuda.discovery import Found
from engine.training.choice import Choice, choose
from engine.training.spec import TrainingSpec


class JobService:
    """Brings jobs, slots and the registry together. Its methods may be called from any thread.

    `found`: the GPUs that there are slots of, or why there are none.
    """

    def __init__(
        self, registry: Registry, folder: DataFolder, slots: list[Slot], checkpoint_seconds: float, found: Found
    ) -> None:
        self.registry = registry
        self.found = found
        self._dispatcher = Dispatcher(registry, folder, slots, checkpoint_seconds)
        self.ready = self._dispatcher.ready
        """Set when the first worker has been ready."""

    def start(self) -> None:
        """Recover, then let the workers start. A job that ran when the last service ended goes back to the queue."""
        for job in self.registry.jobs:
            if job.state == "running":
                self.registry.record(job.id, Interrupted(worker_died=False))
            if not job.finished:
                self._place_anew(job)
        self._dispatcher.start()

    def _place_anew(self, job: Job) -> None:
        """A GPU may be gone since the job was submitted. One that may as well run on the CPU does not wait for it."""
        spec = job.spec
        if job.device_kind == "cuda" and not self.found.gpus and (spec.device, spec.precision) == ("auto", "full"):
            why = f"It was to run on a GPU, but there is none here any more: {self.found.missing}"
            self.registry.record(job.id, Placed("cpu", why))

    def stop(self, seconds: float) -> None:
        """Save what runs within `seconds`, put it back into the queue, and end every worker."""
        self._dispatcher.stop(seconds)

    @property
    def failure(self) -> str | None:
        """Why nothing is started any more, in a sentence; None while all is well."""
        return self._dispatcher.failure

    @property
    def slots(self) -> list[Slot]:
        return self._dispatcher.slots

    def busy_with(self, slot: Slot) -> str | None:
        """The id of the job that a slot's worker has."""
        return self._dispatcher.busy_with(slot)

    def submit(
        self,
        network: NetworkRecord,
        dataset: Dataset,
        spec: TrainingSpec,
        name: str | None,
        validation: Dataset | None = None,
    ) -> Job:
        """Queue a job. Raises InvalidInput if data, network and settings do not go together or there is no such device.

        `validation` is measured after every epoch, in place of a fraction of the dataset.
        """
        dataset.check_fits(network.architecture)
        spec.check_fits(network.architecture, dataset.rows, dataset.classes)
        if validation is not None:
            _check_validation(validation, dataset, network)
        choice = self._choose(network.architecture, dataset, spec, validation)
        job = Job(
            ids.new_id(ids.JOB),
            name,
            network.id,
            dataset.id,
            spec,
            _now(),
            validation_dataset_id=validation.id if validation else None,
            device_kind=choice.device,
            device_reason=choice.reason,
        )
        with self.registry.lock:
            self.registry.networks.get(network.id)  # it may have been deleted since it was found
            for dataset_id in job.dataset_ids:
                self.registry.datasets.get(dataset_id)
            self.registry.add(self.registry.jobs, job)
            self._dispatcher.dispatch()
            return self.registry.jobs.get(job.id)

    def _choose(
        self, architecture: Architecture, dataset: Dataset, spec: TrainingSpec, validation: Dataset | None
    ) -> Choice:
        return choose(
            spec,
            architecture,
            training_rows=dataset.rows - spec.validation_rows(dataset.rows),
            rows=dataset.rows + (validation.rows if validation else 0),
            cores=max(slot.cores for slot in self.slots if slot.kind == "cpu"),
            found=self.found,
        )

    def cancel(self, job_id: str) -> Job:
        """The job is cancelled when this returns; a worker that does not let go of it in time is replaced."""
        with self.registry.lock:
            before = self.registry.jobs.get(job_id)
            job = self.registry.record(job_id, Cancelled(_now()))
            self._dispatcher.abandon(job)
            self._dispatcher.remove_checkpoint(before)
            return job

    def pause(self, job_id: str) -> Job:
        """A job that waits is paused when this returns, one that runs soon after: when its worker has saved it."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Paused)
            if not self._dispatcher.runs(job):
                return self.registry.record(job_id, Paused())
            self._dispatcher.pause(job)
            return job

    def resume(self, job_id: str) -> Job:
        """Back to the queue, at the place the job's age gives it."""
        with self.registry.lock:
            self.registry.record(job_id, Resumed())
            self._dispatcher.dispatch()
            return self.registry.jobs.get(job_id)

    def delete(self, job: Job) -> None:
        """Forget a finished job and its history. Raises Conflict while it is not finished."""
        with self.registry.lock:
            if not self.registry.jobs.get(job.id).finished:
                raise Conflict(f"The job is {job.state}; cancel it before deleting it.")
            self.registry.remove(self.registry.jobs, job)


def _check_validation(validation: Dataset, dataset: Dataset, network: NetworkRecord) -> None:
    """Raises InvalidInput, naming `validation.dataset_id`, if it cannot measure what is learned from `dataset`."""
    field = "validation.dataset_id"
    try:
        validation.check_fits(network.architecture)
    except InvalidInput as refused:
        raise InvalidInput(field, refused.problems[0][1]) from refused
    if validation.classes != dataset.classes:
        expected = f"the classes {', '.join(dataset.classes)}" if dataset.classes else "targets, no classes"
        raise InvalidInput(field, f"The dataset for training has {expected}; the one for validation needs the same.")


def _now() -> datetime:
    return datetime.now(UTC)
