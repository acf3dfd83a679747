"""A job, its states, and what may happen to it. `apply` is the only way from one state to the next, and it is pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from nabla.engine.errors import Conflict
from nabla.engine.literals import DeviceKind, ErrorKind, State, StopReason
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch

FINISHED: tuple[State, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobError:
    """Why a job failed, in a sentence for its owner."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint that the journal knows: its file and bytes, and the job's epoch, cost and seconds of that moment.
    Numbers count all checkpoints of the job, from 1."""

    number: int
    file: str
    epoch: int
    cost: float | None
    seconds: float
    bytes: int
    created_at: datetime


@dataclass(frozen=True)
class Checkpointing:
    """Save a run after so many seconds, and after each so many epochs; keep the newest `keep` checkpoints."""

    seconds: float = 10.0
    epochs: int | None = None
    keep: int = 2


@dataclass(frozen=True)
class Job:
    """`attempt` counts starts; what a worker says under an older attempt is not believed. `retries` counts those that
    were made because something outside the job failed. `cost` is that of the last finished epoch; `seconds` that of
    all of them. `start_version`: the version of the network that it began with; `resume_from`: the job and the number
    of the checkpoint that it was told to begin with instead, and `start_file`: its own name for it. `stopped`: why a
    job that succeeded ended, and `best_epoch` whose weights it published, where it looked for the best. `device_kind`:
    where it trains, and why; `device`: the one that it was given. `depends_on`: jobs that must have succeeded before it
    starts. `checkpoints`: oldest first."""

    id: str
    name: str | None
    network_id: str
    dataset_id: str
    spec: TrainingSpec
    created_at: datetime
    state: State = "queued"
    epoch: int = 0
    cost: float | None = None
    seconds: float = 0.0
    attempt: int = 0
    retries: int = 0
    device: str | None = None
    checkpoints: tuple[SavedRun, ...] = ()
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

    @property
    def dataset_ids(self) -> set[str]:
        """Of all datasets that it needs."""
        return {self.dataset_id} | ({self.validation_dataset_id} if self.validation_dataset_id else set())

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def saved(self) -> SavedRun | None:
        """Where the job goes on from."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def saved_at(self) -> tuple[int, float | None, float]:
        """Epoch, cost and seconds of that moment: those of the start, where nothing is saved."""
        return (self.saved.epoch, self.saved.cost, self.saved.seconds) if self.saved else (0, None, 0.0)

    @property
    def files(self) -> set[str]:
        """Those in its network's folder that are its own. What it published is the network's."""
        begun_with = {self.start_file} if self.start_file else set()
        return begun_with | {checkpoint.file for checkpoint in self.checkpoints}


@dataclass(frozen=True)
class Placed:
    """Another kind of device than before is to run the job."""

    kind: DeviceKind
    reason: str


@dataclass(frozen=True)
class Started:
    """A slot took the job, to begin with this version of the network if it has not begun before."""

    at: datetime
    device: str
    version: int = 0


@dataclass(frozen=True)
class EpochsDone:
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Saved:
    """A checkpoint of everything reported so far is on disk."""

    at: datetime
    file: str
    bytes: int


@dataclass(frozen=True)
class CheckpointLost:
    """The newest checkpoint is damaged; the work goes on from the one before."""


@dataclass(frozen=True)
class Interrupted:
    """The work stopped without being asked to; it goes on from the last checkpoint. `retried`: because of a failure, of
    which a job is allowed few."""

    retried: bool


@dataclass(frozen=True)
class Changed:
    """Its owner wants it otherwise; `learning_rate` holds from `epoch` on, counted from 0: by default from where the
    job goes on."""

    priority: int | None = None
    learning_rate: float | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class Paused:
    """The work stopped on request, with everything saved."""


@dataclass(frozen=True)
class Resumed:
    pass


@dataclass(frozen=True)
class Succeeded:
    at: datetime
    network_version: int
    stopped: StopReason = "epochs"
    best_epoch: int | None = None


@dataclass(frozen=True)
class Failed:
    at: datetime
    error: JobError


@dataclass(frozen=True)
class Cancelled:
    """`network_version`: what was published of it all the same."""

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

# In which states an event may happen, and what to call it where it may not.
TRANSITIONS: dict[type[Event], tuple[str, tuple[State, ...]]] = {
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
    """Raises Conflict, naming the states in which the event fits, if it does not fit the job's."""
    verb, states = TRANSITIONS[event]
    if job.state not in states:
        raise Conflict(f"The job is {job.state}; only a job that is {' or '.join(states)} can be {verb}.")


def apply(job: Job, event: Event) -> Job:
    """The job after the event. Raises Conflict if the event does not fit the job's state."""
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
            number = job.saved.number + 1 if job.saved else 1
            new = SavedRun(number, file, job.epoch, job.cost, job.seconds, size, at)
            return replace(job, checkpoints=(*job.checkpoints, new)[-job.checkpointing.keep :])
        case CheckpointLost():
            return replace(job, checkpoints=job.checkpoints[:-1])
        case Interrupted(retried):
            epoch, cost, seconds = job.saved_at
            return replace(job, state="queued", epoch=epoch, cost=cost, seconds=seconds, retries=job.retries + retried)
        case Changed(priority, learning_rate, epoch):
            begin = job.saved_at[0] if epoch is None else epoch
            spec = job.spec if learning_rate is None else job.spec.with_rate(learning_rate, begin)
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
