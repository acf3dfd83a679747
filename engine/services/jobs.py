"""Submit, pause, change, cancel, recover: what the API asks for, turned into events of jobs."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.schema import Column, difference
from nabla.engine.errors import Conflict, Damaged, InvalidInput, TooMany
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.cuda.devices import Found
from nabla.engine.records import ids
from nabla.engine.records.job import (
    Cancelled,
    Changed,
    Checkpointing,
    Interrupted,
    Job,
    Paused,
    Placed,
    Resumed,
    SavedRun,
    check,
)
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.job_finalizer import Endings
from nabla.engine.services.scheduler import Dispatcher
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.training.checkpoint import load_preprocessor
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.device_selection import Choice, choose, demand_of
from nabla.engine.training.shuffling import block_for
from nabla.engine.workers.training_pool import Slot


@dataclass(frozen=True)
class Limits:
    """What a service takes: jobs that wait, and bytes of memory of one run. `slot_bytes`: memory that a slot has.
    `data_bytes`: how much of a run's data may be in memory beside it, where that was set."""

    queued_jobs: int
    job_bytes: int
    slot_bytes: int = 2**62
    data_bytes: int | None = None

    def data_beside(self, held: int) -> int:
        """Bytes of data that may be in memory beside a run that holds so many itself: half of what it leaves, since the
        service and what stands on its way to the disk have to be there too."""
        return self.data_bytes or max(0, self.slot_bytes - held) // 2


@dataclass(frozen=True)
class Order:
    """A job to be. `validation` is measured after every epoch, in place of a fraction of the dataset; `depends_on`:
    jobs that must have succeeded before; `begin_with`: a checkpoint of a job of the same network."""

    network: NetworkRecord
    dataset: Dataset
    spec: TrainingSpec
    name: str | None = None
    validation: Dataset | None = None
    priority: int = 0
    depends_on: tuple[Job, ...] = ()
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    begin_with: tuple[Job, SavedRun] | None = None


def check_data(order: Order, fitted: Preprocessor | None) -> None:
    """Raises InvalidInput if the network cannot be trained on the data, as its rule says, or as was `fitted` before
    what it begins with."""
    network, dataset, columns = order.network, order.dataset, order.dataset.features
    network.preprocessing.check_classes(dataset.classes)
    if fitted is not None:
        fitted.check_columns(columns)
        columns = fitted.columns
    dataset.check_fits(network.architecture, network.preprocessing, columns)
    if order.validation is not None:
        _check_validation(order.validation, dataset, network, columns)


def with_order(order: Order, data_bytes: int) -> TrainingSpec:
    """The settings, with rows shuffled in blocks where all of them take more than so many bytes once prepared."""
    spec, architecture = order.spec, order.network.architecture
    rows = order.dataset.rows + (order.validation.rows if order.validation else 0)
    bytes_of_row = np.dtype(architecture.dtype).itemsize * (architecture.inputs + architecture.outputs)
    block = block_for(rows, bytes_of_row, data_bytes) if spec.shuffle else None
    return replace(spec, shuffle_block=block)


def _check_validation(
    validation: Dataset, dataset: Dataset, network: NetworkRecord, columns: tuple[Column, ...] | None
) -> None:
    """Raises InvalidInput, naming `validation.dataset_id`, if it cannot measure what is learned from `dataset`, whose
    `columns` the network knows."""
    field = "validation.dataset_id"
    differs = difference(columns, validation.features)
    if differs is not None:
        raise InvalidInput(field, f"The dataset is not of the columns that are trained on: {differs}.")
    try:
        validation.check_fits(network.architecture, network.preprocessing, columns)
    except InvalidInput as refused:
        raise InvalidInput(field, refused.problems[0][1]) from refused
    if validation.classes != dataset.classes:
        expected = f"the classes {', '.join(dataset.classes)}" if dataset.classes else "targets, no classes"
        raise InvalidInput(field, f"The dataset for training has {expected}; the one for validation needs the same.")


class JobService:
    """Brings jobs, slots and the registry together. Its methods may be called from any thread.

    `found`: the GPUs that there are slots of, or why there are none.
    """

    def __init__(
        self,
        registry: Registry,
        folder: DataFolder,
        slots: list[Slot],
        found: Found,
        limits: Limits,
        worker_timeout: float = 60.0,
    ) -> None:
        self.registry = registry
        self.found = found
        self._folder = folder
        self._limits = limits
        self._endings = Endings(registry, folder)
        self._dispatcher = Dispatcher(registry, folder, self._endings, slots, worker_timeout)
        self.ready = self._dispatcher.ready
        """Set when the first worker has been ready."""
        self.snapshots = self._dispatcher.snapshots

    def recover(self) -> None:
        """A job that ran when the last service ended goes back to the queue. Raises StorageFailed."""
        with self.registry.lock:
            self._dispatcher.put_back()
            for job in self.registry.jobs:
                self._place_anew(job)

    def start(self) -> None:
        """Let the workers start."""
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
        """Why nothing is started for the time being, in a sentence; None while all is well."""
        return self._dispatcher.failure

    @property
    def slots(self) -> list[Slot]:
        return self._dispatcher.slots

    def busy_with(self, slot: Slot) -> str | None:
        """The id of the job that a slot's worker has."""
        return self._dispatcher.busy_with(slot)

    def is_pausing(self, job_id: str) -> bool:
        """Whether a running job was asked to pause, and has not done so yet."""
        return self._dispatcher.is_pausing(job_id)

    def is_changing(self, job_id: str) -> bool:
        """Whether something that was asked of a running job, by `pause` or `change`, has still to happen."""
        return self._dispatcher.is_changing(job_id)

    def submit(self, order: Order, receipt: Receipt | None = None) -> Job:
        """Queue a job; it as it was queued. Raises InvalidInput if data, network and settings do not go together, there
        is no such device, or it would wait in vain; TooMany if as many jobs wait already as may."""
        network, dataset, spec, validation = order.network, order.dataset, order.spec, order.validation
        check_data(order, self._fitted(order))
        spec.check_fits(network.architecture, dataset.rows, dataset.classes)
        held = self._check_size(order)
        choice = self._choose(network.architecture, dataset, spec, validation)
        id = ids.new_id(ids.JOB)
        with self.registry.lock:
            self._check_still_there(order)
            start_file = self._keep_start(id, order)
            job = Job(
                id,
                order.name,
                network.id,
                dataset.id,
                with_order(order, self._limits.data_beside(held)),
                _now(),
                validation_dataset_id=validation.id if validation else None,
                device_kind=choice.device,
                device_reason=choice.reason,
                priority=order.priority,
                depends_on=tuple(other.id for other in order.depends_on),
                checkpointing=order.checkpointing,
                resume_from=(order.begin_with[0].id, order.begin_with[1].number) if order.begin_with else None,
                start_file=start_file,
            )
            self.registry.add(self.registry.jobs, job, receipt)
            self._dispatcher.dispatch()
            return job

    def _fitted(self, order: Order) -> Preprocessor | None:
        """What the data of a job are prepared by, where it does not begin with weights that were only drawn."""
        network = order.network
        if order.begin_with is not None:
            file = order.begin_with[1].file
        else:
            start = network.start_of(order.spec)
            if start.origin == "drawn":
                return None
            file = start.file
        path = self._folder.of_network(network.id) / file
        try:
            durable_files.check(path)
            return load_preprocessor(path)
        except Damaged:
            return None  # the run says so

    def _check_size(self, order: Order) -> int:
        """Bytes of memory that the run holds at its peak. Raises InvalidInput."""
        demand = demand_of(order.spec, order.network.architecture, order.dataset.rows, order.dataset.bytes)
        if demand.memory > self._limits.job_bytes:
            raise InvalidInput(
                "batch_size",
                f"The run would need {demand.memory} bytes of memory for parameters, gradient, moments and one "
                f"mini-batch; {self._limits.job_bytes} are allowed here. A smaller batch_size or network needs less.",
            )
        return demand.held

    def _check_still_there(self, order: Order) -> None:
        """What was found a moment ago may have been deleted since; and others may have queued their jobs."""
        waiting = sum(job.state in ("queued", "paused") for job in self.registry.jobs)
        if waiting >= self._limits.queued_jobs:
            raise TooMany(
                f"{waiting} jobs are queued or paused already, as many as this service takes. Submit it again later."
            )
        for number, other in enumerate(order.depends_on):
            _check_may_succeed(self.registry.jobs.get(other.id), f"depends_on.{number}")
        self.registry.networks.get(order.network.id)
        self.registry.datasets.get(order.dataset.id)
        if order.validation is not None:
            self.registry.datasets.get(order.validation.id)
        if order.begin_with is not None:
            job, checkpoint = order.begin_with
            if checkpoint not in self.registry.jobs.get(job.id).checkpoints:
                raise InvalidInput("resume_from.checkpoint", f"The job {job.id} has dropped this checkpoint meanwhile.")

    def _keep_start(self, id: str, order: Order) -> str | None:
        """A name of the new job's own for the checkpoint that it begins with: the old job may go."""
        if order.begin_with is None:
            return None
        file = order.begin_with[1].file
        folder = self._folder.of_network(order.network.id)
        name = f"{id}-start.{file.split('.', 1)[1]}"
        durable_files.link(folder / file, folder / name)
        return name

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
            job = self.registry.jobs.get(job_id)
            ended = self._endings.end(job, Cancelled(_now()))
            self._dispatcher.abandon(job)
            self._dispatcher.dispatch()
            return ended

    def pause(self, job_id: str) -> Job:
        """A job that waits is paused when this returns, one that runs soon after: when its worker has saved it."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Paused)
            if not self._dispatcher.runs(job):
                # It may have lost its worker while nothing could be recorded.
                lost = (Interrupted(retried=False),) if job.state == "running" else ()
                return self.registry.record(job_id, *lost, Paused())
            self._dispatcher.pause(job)
            return job

    def give_up(self, job_id: str) -> None:
        """End the worker of a job that does not let itself be paused; it is paused at its last checkpoint then."""
        with self.registry.lock:
            self._dispatcher.give_up(self.registry.jobs.get(job_id))

    def resume(self, job_id: str) -> Job:
        """Back to the queue, at the place that its priority and age give it. A pause that has not happened yet is taken
        back."""
        with self.registry.lock:
            if self._dispatcher.take_back_pause(job_id):
                return self.registry.jobs.get(job_id)
            self.registry.record(job_id, Resumed())
            self._dispatcher.dispatch()
            return self.registry.jobs.get(job_id)

    def change(self, job_id: str, priority: int | None, learning_rate: float | None) -> Job:
        """A new priority holds when this returns. A new learning rate does too if the job does not run; if it does, it
        holds when its worker has taken it up, from the next epoch that begins."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Changed)
            if learning_rate is not None:
                job.spec.with_rate(learning_rate, 0)
            if learning_rate is None or not self._dispatcher.runs(job):
                return self.registry.record(job_id, Changed(priority, learning_rate))
            if priority is not None:
                job = self.registry.record(job_id, Changed(priority))
            self._dispatcher.change_rate(job, learning_rate)
            return job

    def delete(self, job: Job) -> None:
        """Forget a finished job, its history and its checkpoints. Raises Conflict while it is not finished."""
        with self.registry.lock:
            now = self.registry.jobs.get(job.id)
            if not now.finished:
                raise Conflict(f"The job is {now.state}; cancel it before deleting it.")
            self._endings.end_those_that_wait_in_vain()  # while it can be known how this one has ended
            self.registry.remove(self.registry.jobs, now)
            self._endings.remove(now, now.files)


def _check_may_succeed(job: Job, field: str) -> None:
    """Raises InvalidInput, naming the field, if it is certain that it will not."""
    if job.finished and job.state != "succeeded":
        raise InvalidInput(field, f"The job {job.id} is {job.state}; a job that comes after it would never start.")


def _now() -> datetime:
    return datetime.now(UTC)
