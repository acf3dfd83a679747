"""Runs in progress: the attempt of each slot, and control requests that its worker has not acknowledged yet."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from nabla.engine.records.job import Changed, Event, Job, Paused
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry
from nabla.engine.training.device_selection import estimate_resources
from nabla.engine.workers import training_protocol
from nabla.engine.workers.training_pool import Slot

# A longer gap between two checks means that this process itself was stopped: then silence does not mean a hung worker.
_MAX_CHECK_GAP_SECONDS = 5.0


@dataclass
class Attempt:
    """One start of one job.

    Attributes:
        network_id: The network that the job trains.
        run: The message that started it in its worker.
        worker_timeout: Seconds that a worker may go without reporting progress, before its longest step is added.
        last_message_at: When the worker last reported something, on the monotonic clock.
        killed: The service ended the worker on purpose, which does not count as a failure of the job.
        compiling: The worker compiles kernels, and training has not begun.
    """

    network_id: str
    run: training_protocol.TrainingInput
    worker_timeout: float
    last_message_at: float = field(default_factory=time.monotonic)
    killed: bool = False
    compiling: bool = False

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.run.job_id

    @property
    def number(self) -> int:
        """Which start of the job this is, from 1."""
        return self.run.attempt

    @cached_property
    def timeout(self) -> float:
        """Seconds without progress after which the worker counts as hung: the setting plus the longest step."""
        run = self.run
        stored_bytes = run.dataset.bytes + (run.validation.bytes if run.validation else 0)
        demand = estimate_resources(run.spec, run.architecture, run.dataset.rows, stored_bytes)
        return self.worker_timeout + demand.max_silence_seconds

    def touch(self) -> None:
        """Note that the worker has just reported something."""
        self.last_message_at = time.monotonic()

    def matches(self, message: training_protocol.AttemptMessage) -> bool:
        """Return whether a worker's message is about this attempt."""
        return (self.job_id, self.number) == (message.job_id, message.attempt)


class ActiveRuns:
    """The attempt that each busy slot is on. Callers hold the registry's lock."""

    def __init__(self, registry: Registry, data_dir: DataDir, worker_timeout: float) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._worker_timeout = worker_timeout
        self._attempts: dict[Slot, Attempt] = {}
        self._checked_at = time.monotonic()

    def __iter__(self) -> Iterator[tuple[Slot, Attempt]]:
        """Iterate over a copy of the busy slots and their attempts."""
        return iter(tuple(self._attempts.items()))

    def start(self, slot: Slot, job: Job) -> training_protocol.TrainingInput:
        """Mark the slot as busy with a job that has just been started; return the message for its worker."""
        run = self._run_message(job)
        self._attempts[slot] = Attempt(job.network_id, run, self._worker_timeout)
        return run

    def finish(self, slot: Slot) -> Attempt | None:
        """Mark the slot as free; return the attempt that it was on."""
        return self._attempts.pop(slot, None)

    def get(self, slot: Slot) -> Attempt | None:
        """Return the attempt that a slot is on."""
        return self._attempts.get(slot)

    def find_slot(self, job: Job) -> Slot | None:
        """Return the slot whose worker has this attempt of the job."""
        return next((slot for slot, run in self if (run.job_id, run.number) == (job.id, job.attempt)), None)

    def running_job(self, attempt: Attempt) -> Job | None:
        """Return the job if the journal says that it is running this attempt.

        A job may have ended or been requeued before its worker has noticed, and may then run in another slot.
        """
        job = self._registry.jobs.get_or_none(attempt.job_id)
        return job if job is not None and job.state == "running" and job.attempt == attempt.number else None

    def iter_hung(self, now: float) -> Iterator[tuple[Slot, Attempt]]:
        """Yield the runs whose workers hang. The caller has handled all messages that arrived before `now`."""
        was_stopped, self._checked_at = now - self._checked_at > _MAX_CHECK_GAP_SECONDS, now
        for slot, attempt in self:
            silence = now - attempt.last_message_at
            if was_stopped:
                attempt.last_message_at = now
            # The longest step is estimated only for the few workers that have exceeded the setting.
            elif silence > self._worker_timeout and silence > attempt.timeout:
                yield slot, attempt

    def _run_message(self, job: Job) -> training_protocol.TrainingInput:
        network = self._registry.networks.get(job.network_id)
        assert job.start_version is not None
        start = network.version(job.start_version)
        assert start is not None
        network_dir = self._data_dir.network_dir(network.id)
        dataset = self._registry.datasets.get(job.dataset_id)
        validation = self._registry.datasets.get(job.validation_dataset_id) if job.validation_dataset_id else None
        return training_protocol.TrainingInput(
            job_id=job.id,
            attempt=job.attempt,
            architecture=network.architecture,
            preprocessing=network.preprocessing,
            spec=job.spec,
            dataset=dataset,
            dataset_dir=str(self._data_dir.dataset_dir(dataset.id)),
            validation=validation,
            validation_dir=str(self._data_dir.dataset_dir(validation.id)) if validation else None,
            weights=str(network_dir / start.file),
            checkpoint=str(network_dir / job.last_checkpoint.file) if job.last_checkpoint else None,
            initial_checkpoint=str(network_dir / job.start_file) if job.start_file else None,
            output_dir=str(network_dir),
            checkpointing=job.checkpointing,
        )


@dataclass
class _Controls:
    pause: bool = False
    learning_rate: float | None = None
    snapshot: bool = False


class PendingControls:
    """Control requests (pause, learning-rate change, snapshot) that a job's worker has not acknowledged yet.

    Callers that change something hold the registry's lock; those that only read need not. Listeners of the registry are
    notified of a job when a request for it was fulfilled or has become pointless.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._by_job: dict[str, _Controls] = {}

    def has_change(self, job_id: str) -> bool:
        """Return whether a pause or a learning-rate change is pending."""
        controls = self._get(job_id)
        return controls.pause or controls.learning_rate is not None

    def is_pausing(self, job_id: str) -> bool:
        """Return whether a pause is pending."""
        return self._get(job_id).pause

    def is_snapshot_pending(self, job_id: str) -> bool:
        """Return whether a snapshot is pending."""
        return self._get(job_id).snapshot

    def request_pause(self, job_id: str) -> None:
        """Note that the job was asked to pause."""
        self._by_job.setdefault(job_id, _Controls()).pause = True

    def request_learning_rate(self, job_id: str, learning_rate: float) -> None:
        """Note that the job was asked to continue with another learning rate."""
        self._by_job.setdefault(job_id, _Controls()).learning_rate = learning_rate

    def request_snapshot(self, job_id: str) -> None:
        """Note that the job was asked for a snapshot."""
        self._by_job.setdefault(job_id, _Controls()).snapshot = True

    def withdraw_pause(self, job_id: str) -> bool:
        """Withdraw a pending pause; return whether there was one."""
        if not self.is_pausing(job_id):
            return False
        self._by_job[job_id].pause = False
        self._settle(job_id)
        return True

    def acknowledge_learning_rate(self, job_id: str, learning_rate: float) -> None:
        """Note that the worker uses this learning rate, unless another one has been requested since."""
        controls = self._by_job.get(job_id)
        if controls is not None and controls.learning_rate == learning_rate:
            controls.learning_rate = None
            self._settle(job_id)

    def acknowledge_snapshot(self, job_id: str) -> None:
        """Note that the snapshot has arrived, or could not be taken."""
        if self.is_snapshot_pending(job_id):
            self._by_job[job_id].snapshot = False
            self._settle(job_id)

    def unapplied_events(self, job_id: str) -> tuple[Event, ...]:
        """Return the events that apply pending requests to a job without a worker."""
        controls = self._get(job_id)
        paused = (Paused(),) if controls.pause else ()
        rate = controls.learning_rate
        return (*paused, *(() if rate is None else (Changed(learning_rate=rate),)))

    def clear(self, job_id: str) -> None:
        """Drop all requests for a job: they were applied, or have become pointless."""
        if self._by_job.pop(job_id, None) is not None:
            self._notify(job_id)

    def _get(self, job_id: str) -> _Controls:
        return self._by_job.get(job_id, _Controls())

    def _settle(self, job_id: str) -> None:
        if self._by_job[job_id] == _Controls():
            del self._by_job[job_id]
        self._notify(job_id)

    def _notify(self, job_id: str) -> None:
        """Notify listeners of the job. Nothing is journaled, so there is no event."""
        job = self._registry.jobs.get_or_none(job_id)
        if job is not None:
            self._registry.on_change(job, ())
