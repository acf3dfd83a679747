"""Submit, pause, cancel, recover, dispatch: what the API asks for, and what workers say, turned into events of jobs."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from engine.data.dataset import Dataset
from engine.errors import Conflict, InvalidInput, StorageFailed
from engine.jobs import ids, messages
from engine.jobs.executor import ProcessExecutor, Slot
from engine.jobs.folder import DataFolder
from engine.jobs.job import (
    Cancelled,
    EpochsDone,
    ErrorKind,
    Failed,
    Interrupted,
    Job,
    JobError,
    Paused,
    Resumed,
    Saved,
    Started,
    Succeeded,
    check,
)
from engine.jobs.registry import NetworkRecord, Registry, Version
from engine.nn.cuda.discovery import Found
from engine.training.choice import choose
from engine.training.spec import StopReason, TrainingSpec

log = logging.getLogger(__name__)

# A worker whose job was cancelled gets so long to notice before it is replaced.
_SECONDS_TO_RELEASE = 0.8
# A job whose worker died so many times is not started again: it may well be the cause.
_DEATHS_ALLOWED = 1


class JobService:
    """Brings jobs, slots and the registry together. Its methods may be called from any thread."""

    def __init__(
        self, registry: Registry, folder: DataFolder, slots: list[Slot], checkpoint_seconds: float, found: Found
    ) -> None:
        """`found`: the GPUs of the machine, or why there are none to use."""
        self.registry = registry
        self.found = found
        self.failure: str | None = None
        """Why nothing is started any more, in a sentence; None while all is well."""
        self.ready = threading.Event()
        """Set when the first worker has been ready."""
        self._folder = folder
        self._checkpoint_seconds = checkpoint_seconds
        self._executor = ProcessExecutor(slots, heard=self._heard, died=self._died)
        # The job and attempt that each slot's worker is busy with.
        self._busy: dict[Slot, tuple[str, int]] = {}
        self._stopping = False

    def start(self) -> None:
        """Recover, then let the workers start. A job that ran when the last service ended goes back to the queue."""
        for job in self.registry.jobs:
            if job.state == "running":
                self.registry.record(job.id, Interrupted(worker_died=False))
        self._executor.start()

    def stop(self, seconds: float) -> None:
        """Save what runs within `seconds`, put it back into the queue, and end every worker."""
        with self.registry.lock:
            self._stopping = True
        self._executor.stop(seconds)

    @property
    def slots(self) -> list[Slot]:
        return self._executor.slots

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
        rows = dataset.rows + (validation.rows if validation else 0)
        training_rows = dataset.rows - spec.validation_rows(dataset.rows)
        cores = next(slot.cores for slot in self.slots if slot.kind == "cpu")
        choice = choose(spec, network.architecture, training_rows, rows, cores, self.found)
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
            self._dispatch()
            return self.registry.jobs.get(job.id)

    def cancel(self, job_id: str) -> Job:
        """The job is cancelled when this returns; a worker that does not let go of it in time is replaced."""
        with self.registry.lock:
            before = self.registry.jobs.get(job_id)
            job = self.registry.record(job_id, Cancelled(_now()))
            slot = self._slot_of(job)
            if slot is not None:
                self._executor.send(slot, messages.Abandon(job.id, job.attempt))
                timer = threading.Timer(_SECONDS_TO_RELEASE, self._kill_if_busy, (slot, job))
                timer.daemon = True
                timer.start()
            self._remove_checkpoint(before)
            return job

    def pause(self, job_id: str) -> Job:
        """A job that waits is paused when this returns, one that runs soon after: when its worker has saved it."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Paused)
            slot = self._slot_of(job)
            if slot is None:
                return self.registry.record(job_id, Paused())
            self._executor.send(slot, messages.Pause(job.id, job.attempt))
            return job

    def resume(self, job_id: str) -> Job:
        """Back to the queue, at the place the job's age gives it."""
        with self.registry.lock:
            self.registry.record(job_id, Resumed())
            self._dispatch()
            return self.registry.jobs.get(job_id)

    def delete(self, job: Job) -> None:
        """Forget a finished job and its history. Raises Conflict while it is not finished."""
        with self.registry.lock:
            if not self.registry.jobs.get(job.id).finished:
                raise Conflict(f"The job is {job.state}; cancel it before deleting it.")
            self.registry.remove(self.registry.jobs, job)

    def job_in(self, slot: Slot) -> str | None:
        """The job that a slot's worker is busy with."""
        busy = self._busy.get(slot)
        return busy[0] if busy else None

    def _slot_of(self, job: Job) -> Slot | None:
        return next((slot for slot, busy in self._busy.items() if busy == (job.id, job.attempt)), None)

    def _kill_if_busy(self, slot: Slot, job: Job) -> None:
        with self.registry.lock:
            if self._busy.get(slot) == (job.id, job.attempt):
                self._executor.kill(slot)

    def _dispatch(self) -> None:
        """Give waiting jobs to free slots of their kind, oldest first."""
        for slot in self.slots:
            if self._stopping or self.failure:
                return
            if slot.state == "ready" and slot not in self._busy:
                waiting = map(self.registry.jobs.get, self.registry.queue)
                job = next((job for job in waiting if job.device_kind == slot.kind), None)
                if job is not None:
                    self._start(slot, job)

    def _start(self, slot: Slot, job: Job) -> None:
        network = self.registry.networks.get(job.network_id)
        newest = network.versions[-1].number if job.spec.warm_start else 0
        job = self.registry.record(job.id, Started(_now(), slot.device, newest))
        begun_with = next(version for version in network.versions if version.number == job.start_version)
        folder = self._folder.of_network(network.id)
        validation = job.validation_dataset_id
        self._busy[slot] = (job.id, job.attempt)
        self._executor.send(
            slot,
            messages.Run(
                job_id=job.id,
                attempt=job.attempt,
                architecture=network.architecture,
                spec=job.spec,
                dataset=self.registry.datasets.get(job.dataset_id),
                dataset_folder=str(self._folder.of_dataset(job.dataset_id)),
                validation=self.registry.datasets.get(validation) if validation else None,
                validation_folder=str(self._folder.of_dataset(validation)) if validation else None,
                weights=str(folder / begun_with.file),
                checkpoint=str(folder / job.saved.file) if job.saved else None,
                folder=str(folder),
                checkpoint_seconds=self._checkpoint_seconds,
            ),
        )

    def _heard(self, slot: Slot, message: messages.FromWorker) -> None:
        with self.registry.lock, self._noting_failure(slot):
            if isinstance(message, messages.Ready):
                self.ready.set()
                self._dispatch()
            elif self._busy.get(slot) == (message.job_id, message.attempt):
                self._take(slot, message)

    @contextmanager
    def _noting_failure(self, slot: Slot) -> Iterator[None]:
        """A journal that cannot be written ends what the worker does, and not the thread that watches all of them."""
        try:
            yield
        except StorageFailed as problem:
            log.critical("%s", problem)
            self.failure = str(problem)
            self._executor.kill(slot)

    def _take(self, slot: Slot, message: messages.OfAttempt) -> None:
        job = self.registry.jobs.peek(message.job_id)
        running = job is not None and job.state == "running"
        if isinstance(message, messages.Released):
            del self._busy[slot]
            if running:
                self.registry.record(message.job_id, Interrupted(worker_died=False) if self._stopping else Paused())
            self._dispatch()
        elif job is not None and running:
            self._take_of_running(job, message)

    def _take_of_running(self, job: Job, message: messages.OfAttempt) -> None:
        match message:
            case messages.Trained(epochs=epochs):
                self.registry.record(job.id, EpochsDone(epochs))
            case messages.Checkpointed(file=file):
                self.registry.record(job.id, Saved(file))
                self._remove_checkpoint(job)
            case messages.Finished(file=file, stopped=stopped, best_epoch=best_epoch):
                self._publish(job, file, stopped, best_epoch)
                self._remove_checkpoint(job)
            case messages.Broken(kind=kind, message=text):
                self._fail(job, kind, text)

    def _publish(self, job: Job, file: str, stopped: StopReason, best_epoch: int | None) -> None:
        network = self.registry.networks.get(job.network_id)
        classes = self.registry.datasets.get(job.dataset_id).classes
        version = Version(network.versions[-1].number + 1, file, job.id, classes, _now())
        published = replace(network, versions=(*network.versions, version))
        succeeded = Succeeded(_now(), version.number, stopped, best_epoch)
        self.registry.record(job.id, succeeded, publishes=published)

    def _fail(self, job: Job, kind: ErrorKind, message: str) -> None:
        self.registry.record(job.id, Failed(_now(), JobError(kind, message)))
        self._remove_checkpoint(job)

    def _remove_checkpoint(self, job: Job) -> None:
        """Remove the checkpoint that `job` names: the journal has just let go of it."""
        if job.saved is not None:
            (self._folder.of_network(job.network_id) / job.saved.file).unlink(missing_ok=True)

    def _died(self, slot: Slot, exit_code: int) -> None:
        with self.registry.lock, self._noting_failure(slot):
            job_id, attempt = self._busy.pop(slot, (None, 0))
            job = self.registry.jobs.peek(job_id) if job_id else None
            if job is not None and job.state == "running" and job.attempt == attempt:
                self._lost(job, exit_code)
            self._dispatch()

    def _lost(self, job: Job, exit_code: int) -> None:
        """One more try where the cause may lie outside the job; else the end of it."""
        if self._stopping:
            self.registry.record(job.id, Interrupted(worker_died=False))
        elif job.worker_deaths < _DEATHS_ALLOWED:
            self.registry.record(job.id, Interrupted(worker_died=True))
        else:
            how = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
            what = "A worker that ends by signal 9 was often killed because the machine ran out of memory."
            self._fail(job, "worker_died", f"The job's worker ended {how}, {job.worker_deaths + 1} times. {what}")


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
