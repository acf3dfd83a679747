"""What the workers of all slots are busy with: each run as its worker is told of it, and when it was last heard of."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nabla.engine.records.job import Changed, Event, Job, Paused
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry
from nabla.engine.training.device_selection import demand_of
from nabla.engine.workers import training_protocol
from nabla.engine.workers.training_pool import Slot

# If nobody has looked for so long, this process itself was stopped, and the silence of workers means nothing.
_SECONDS_WITHOUT_A_LOOK = 5.0


@dataclass
class Attempt:
    """One start of one job. `silence`: the seconds after which its worker is taken to hang; `called_off`: the service
    itself ends its worker, which is no failure of the job."""

    network_id: str
    job_id: str
    number: int
    silence: float
    heard_at: float = field(default_factory=time.monotonic)
    called_off: bool = False

    def hear(self) -> None:
        """Its worker has said something."""
        self.heard_at = time.monotonic()

    def is_of(self, said: training_protocol.OfAttempt) -> bool:
        return (self.job_id, self.number) == (said.job_id, said.attempt)


class Runs:
    """Those who call it hold the registry's lock."""

    def __init__(self, registry: Registry, folder: DataFolder, worker_timeout: float) -> None:
        self._registry = registry
        self._folder = folder
        self._hang_seconds = worker_timeout
        self._attempts: dict[Slot, Attempt] = {}
        self._looked_at = time.monotonic()

    def __iter__(self) -> Iterator[tuple[Slot, Attempt]]:
        return iter(tuple(self._attempts.items()))

    def begin(self, slot: Slot, job: Job) -> training_protocol.Run:
        """The slot is busy with a job that was just started; what its worker has to know."""
        run = self._described(job)
        stored = run.dataset.bytes + (run.validation.bytes if run.validation else 0)
        demand = demand_of(run.spec, run.architecture, run.dataset.rows, stored)
        self._attempts[slot] = Attempt(job.network_id, job.id, job.attempt, self._hang_seconds + demand.silence)
        return run

    def end(self, slot: Slot) -> Attempt | None:
        """The slot is free; what it was busy with."""
        return self._attempts.pop(slot, None)

    def of_slot(self, slot: Slot) -> Attempt | None:
        return self._attempts.get(slot)

    def slot_of(self, job: Job) -> Slot | None:
        """The one whose worker has the job."""
        found = (slot for slot, run in self if (run.job_id, run.number) == (job.id, job.attempt))
        return next(found, None)

    def running(self, attempt: Attempt) -> Job | None:
        """The job, if by the journal this is how it runs. It may have ended, or have been let go of, before its worker
        has; then it may even run in another slot."""
        job = self._registry.jobs.peek(attempt.job_id)
        return job if job is not None and job.state == "running" and job.attempt == attempt.number else None

    def silent(self, now: float) -> Iterator[tuple[Slot, Attempt]]:
        """Those that have told of no progress for too long by now, which is when all that was said had been heard."""
        asleep, self._looked_at = now - self._looked_at > _SECONDS_WITHOUT_A_LOOK, now
        for slot, attempt in self:
            if asleep:
                attempt.heard_at = now
            elif now - attempt.heard_at > attempt.silence:
                yield slot, attempt

    def _described(self, job: Job) -> training_protocol.Run:
        network = self._registry.networks.get(job.network_id)
        assert job.start_version is not None
        begun_with = network.version(job.start_version)
        assert begun_with is not None
        folder = self._folder.of_network(network.id)
        dataset = self._registry.datasets.get(job.dataset_id)
        validation = self._registry.datasets.get(job.validation_dataset_id) if job.validation_dataset_id else None
        return training_protocol.Run(
            job_id=job.id,
            attempt=job.attempt,
            architecture=network.architecture,
            preprocessing=network.preprocessing,
            spec=job.spec,
            dataset=dataset,
            dataset_folder=str(self._folder.of_dataset(dataset.id)),
            validation=validation,
            validation_folder=str(self._folder.of_dataset(validation.id)) if validation else None,
            weights=str(folder / begun_with.file),
            checkpoint=str(folder / job.saved.file) if job.saved else None,
            begin_with=str(folder / job.start_file) if job.start_file else None,
            folder=str(folder),
            checkpointing=job.checkpointing,
        )


@dataclass
class _Wish:
    pause: bool = False
    learning_rate: float | None = None
    snapshot: bool = False

    @property
    def changes(self) -> bool:
        return self.pause or self.learning_rate is not None


class Wishes:
    """Those who change it hold the registry's lock; those who read it need not."""

    def __init__(self, settled: Callable[[str], None]) -> None:
        """`settled` hears the id of a job when something that was asked of it has happened, or cannot any more."""
        self._settled = settled
        self._wishes: dict[str, _Wish] = {}

    def asks_for_change(self, job_id: str) -> bool:
        """Whether it was to be paused, or to go on with another learning rate."""
        return self._wish(job_id).changes

    def pause(self, job_id: str) -> None:
        self._wishes.setdefault(job_id, _Wish()).pause = True

    def take_back_pause(self, job_id: str) -> bool:
        """Whether there was one to take back."""
        if not self.asks_to_pause(job_id):
            return False
        self._wishes[job_id].pause = False
        self._settle(job_id)
        return True

    def asks_to_pause(self, job_id: str) -> bool:
        return self._wish(job_id).pause

    def change_rate(self, job_id: str, learning_rate: float) -> None:
        self._wishes.setdefault(job_id, _Wish()).learning_rate = learning_rate

    def rate_changed(self, job_id: str, learning_rate: float) -> None:
        """The job's worker has taken it up. Another may have been asked for since."""
        wish = self._wishes.get(job_id)
        if wish is not None and wish.learning_rate == learning_rate:
            wish.learning_rate = None
            self._settle(job_id)

    def take_snapshot(self, job_id: str) -> None:
        self._wishes.setdefault(job_id, _Wish()).snapshot = True

    def asks_for_snapshot(self, job_id: str) -> bool:
        return self._wish(job_id).snapshot

    def snapshot_arrived(self, job_id: str) -> None:
        if self.asks_for_snapshot(job_id):
            self._wishes[job_id].snapshot = False
            self._settle(job_id)

    def _wish(self, job_id: str) -> _Wish:
        return self._wishes.get(job_id, _Wish())

    def _settle(self, job_id: str) -> None:
        if self._wishes[job_id] == _Wish():
            del self._wishes[job_id]
        self._settled(job_id)

    def left_to_do(self, job_id: str) -> tuple[Event, ...]:
        """What makes a job that no worker has any more into what was asked for."""
        wish = self._wish(job_id)
        paused = (Paused(),) if wish.pause else ()
        return (*paused, *(() if wish.learning_rate is None else (Changed(learning_rate=wish.learning_rate),)))

    def forget(self, job_id: str) -> None:
        """All of it has happened, or cannot any more."""
        if self._wishes.pop(job_id, None) is not None:
            self._settled(job_id)
