"""Jobs, their states and events. The pure function `apply` is the only way from one state to the next."""

from dataclasses import dataclass, replace
from datetime import datetime

from nabla.engine.errors import Conflict
from nabla.engine.literals import DeviceKind, ErrorKind, JobState, StopReason
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch

FINISHED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobError:
    """Why a job failed: the kind for programs, the message for people."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint of a job.

    Attributes:
        number: Counts all checkpoints of the job, from 1.
        file: Its file, in the directory of the network.
        epoch: Epochs that the job had finished.
        cost: The cost of the last of them.
        seconds: The duration of all of them.
        bytes: Size of the file.
        created_at: When it was saved.
    """

    number: int
    file: str
    epoch: int
    cost: float | None
    seconds: float
    bytes: int
    created_at: datetime


@dataclass(frozen=True)
class Checkpointing:
    """When to save checkpoints.

    Attributes:
        seconds: Interval in seconds.
        epochs: Interval in epochs, in addition.
        keep: How many of the newest checkpoints to keep.
    """

    seconds: float = 10.0
    epochs: int | None = None
    keep: int = 2


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        id: The id.
        name: The name, if it has one.
        network_id: The network that it trains.
        dataset_id: The dataset that it trains on.
        spec: The training settings.
        created_at: When it was submitted.
        state: Its state.
        epoch: Epochs that are finished.
        cost: The cost of the last finished epoch.
        seconds: The duration of all finished epochs.
        attempt: Counts starts. Messages of workers about an older attempt are ignored.
        retries: Counts restarts because of a failure outside the job.
        device: The device that it was started on.
        checkpoints: The kept checkpoints, oldest first.
        network_version: The version that it published.
        error: Why it failed.
        started_at: When it was first started.
        finished_at: When it ended.
        validation_dataset_id: The dataset that it validates with, if any.
        start_version: Number of the version of the network that it started from.
        stopped: Why a succeeded job ended.
        best_epoch: The epoch whose weights it published, if it restores the best ones.
        device_kind: The kind of device that it needs.
        device_reason: Why that kind was chosen.
        priority: Jobs of a higher one start first.
        depends_on: Ids of jobs that must succeed before it starts.
        checkpointing: When to save checkpoints.
        resume_from: Id of the job and number of the checkpoint that it starts from in place of a version.
        start_file: Its own link to that checkpoint.
        owned_datasets: Ids of datasets that are deleted with it.
    """

    id: str
    name: str | None
    network_id: str
    dataset_id: str
    spec: TrainingSpec
    created_at: datetime
    state: JobState = "queued"
    epoch: int = 0
    cost: float | None = None
    seconds: float = 0.0
    attempt: int = 0
    retries: int = 0
    device: str | None = None
    checkpoints: tuple[CheckpointRecord, ...] = ()
    network_version: int | None = None
    error: JobError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    validation_dataset_id: str | None = None
    start_version: int | None = None
    stopped: StopReason | None = None
    best_epoch: int | None = None
    device_kind: DeviceKind = "cpu"
    device_reason: str | None = None
    priority: int = 0
    depends_on: tuple[str, ...] = ()
    checkpointing: Checkpointing = Checkpointing()
    resume_from: tuple[str, int] | None = None
    start_file: str | None = None
    owned_datasets: tuple[str, ...] = ()

    @property
    def dataset_ids(self) -> set[str]:
        """Ids of the datasets that it needs."""
        return {self.dataset_id} | ({self.validation_dataset_id} if self.validation_dataset_id else set())

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state in FINISHED

    @property
    def last_checkpoint(self) -> CheckpointRecord | None:
        """The checkpoint that the job continues from."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def checkpoint_progress(self) -> tuple[int, float | None, float]:
        """Epoch, cost and seconds of the last checkpoint; those of the start if there is none."""
        return (
            (self.last_checkpoint.epoch, self.last_checkpoint.cost, self.last_checkpoint.seconds)
            if self.last_checkpoint
            else (0, None, 0.0)
        )

    @property
    def files(self) -> set[str]:
        """Its own files in the directory of the network. A version that it published belongs to the network."""
        start = {self.start_file} if self.start_file else set()
        return start | {checkpoint.file for checkpoint in self.checkpoints}


@dataclass(frozen=True)
class Placed:
    """The job needs another kind of device than before."""

    kind: DeviceKind
    reason: str


@dataclass(frozen=True)
class Started:
    """A slot took the job. `version`: number of the version that it starts from, if this is its first start."""

    at: datetime
    device: str
    version: int = 0


@dataclass(frozen=True)
class EpochsDone:
    """Epochs ended."""

    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Saved:
    """A checkpoint after all epochs reported so far is on disk."""

    at: datetime
    file: str
    bytes: int


@dataclass(frozen=True)
class CheckpointLost:
    """The newest checkpoint is damaged; the job continues from the one before."""


@dataclass(frozen=True)
class Interrupted:
    """The attempt ended without a command; the job continues from the last checkpoint.

    Attributes:
        retried: Whether this counts towards the limit of retries.
    """

    retried: bool


@dataclass(frozen=True)
class Changed:
    """Settings were changed.

    Attributes:
        priority: The new one, if it changed.
        learning_rate: The new one, if it changed.
        epoch: The epoch from which on the learning rate applies, counted from 0; None for where the job continues.
    """

    priority: int | None = None
    learning_rate: float | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class Paused:
    """The job was paused, with everything saved."""


@dataclass(frozen=True)
class Resumed:
    """The job was resumed, and is queued again."""


@dataclass(frozen=True)
class Succeeded:
    """Training ended, and published a version."""

    at: datetime
    network_version: int
    stopped: StopReason = "epochs"
    best_epoch: int | None = None


@dataclass(frozen=True)
class Failed:
    """The job failed."""

    at: datetime
    error: JobError


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled. `network_version`: the version that was published of it, if any."""

    at: datetime
    network_version: int | None = None


Event = (
    Placed
    | Started
    | EpochsDone
    | Saved
    | CheckpointLost
    | Interrupted
    | Changed
    | Paused
    | Resumed
    | Succeeded
    | Failed
    | Cancelled
)

# For each event, the verb for messages, and the states in which it may happen.
TRANSITIONS: dict[type[Event], tuple[str, tuple[JobState, ...]]] = {
    Placed: ("placed", ("queued", "paused")),
    Started: ("started", ("queued",)),
    EpochsDone: ("trained", ("running",)),
    Saved: ("saved", ("running",)),
    CheckpointLost: ("set back", ("running",)),
    Interrupted: ("interrupted", ("running",)),
    Changed: ("changed", ("queued", "running", "paused")),
    Paused: ("paused", ("queued", "running")),
    Resumed: ("resumed", ("paused",)),
    Succeeded: ("finished", ("running",)),
    Failed: ("failed", ("queued", "running", "paused")),
    Cancelled: ("cancelled", ("queued", "running", "paused")),
}


def check(job: Job, event: type[Event]) -> None:
    """Raise Conflict if an event does not fit the state of a job."""
    verb, states = TRANSITIONS[event]
    if job.state not in states:
        raise Conflict(f"The job is {job.state}; only a job that is {' or '.join(states)} can be {verb}.")


def apply(job: Job, event: Event) -> Job:
    """Return the job after an event. Raises Conflict if the event does not fit its state."""
    check(job, type(event))
    match event:
        case Placed(kind, reason):
            return replace(job, device_kind=kind, device_reason=reason)
        case Started(at, device, version):
            return replace(
                job,
                state="running",
                attempt=job.attempt + 1,
                device=device,
                started_at=job.started_at or at,
                start_version=version if job.start_version is None else job.start_version,
            )
        case EpochsDone(epochs):
            seconds = job.seconds + sum(epoch.seconds for epoch in epochs)
            return replace(job, epoch=epochs[-1].epoch, cost=epochs[-1].cost, seconds=seconds)
        case Saved(at, file, size):
            number = job.last_checkpoint.number + 1 if job.last_checkpoint else 1
            new = CheckpointRecord(number, file, job.epoch, job.cost, job.seconds, size, at)
            return replace(job, checkpoints=(*job.checkpoints, new)[-job.checkpointing.keep :])
        case CheckpointLost():
            return replace(job, checkpoints=job.checkpoints[:-1])
        case Interrupted(retried):
            epoch, cost, seconds = job.checkpoint_progress
            return replace(job, state="queued", epoch=epoch, cost=cost, seconds=seconds, retries=job.retries + retried)
        case Changed(priority, learning_rate, epoch):
            start = job.checkpoint_progress[0] if epoch is None else epoch
            spec = job.spec if learning_rate is None else job.spec.with_learning_rate(learning_rate, start)
            return replace(job, priority=job.priority if priority is None else priority, spec=spec)
        case Paused():
            return replace(job, state="paused")
        case Resumed():
            return replace(job, state="queued")
        case Succeeded(at, version, stopped, best_epoch):
            return replace(
                job,
                state="succeeded",
                network_version=version,
                stopped=stopped,
                best_epoch=best_epoch,
                finished_at=at,
            )
        case Failed(at, error):
            return replace(job, state="failed", error=error, finished_at=at)
        case Cancelled(at, version):
            return replace(job, state="cancelled", network_version=version, finished_at=at)
