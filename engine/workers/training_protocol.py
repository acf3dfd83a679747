"""What passes between the service and its workers: one JSON frame each. Arrays never do; they are files.

Every message about a job carries its attempt: what is said under an older one is not believed.
"""

import socket

import msgspec

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.literals import ErrorKind, StopReason
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.job import Checkpointing
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch
from nabla.engine.workers.ipc import SECONDS_TO_SEND, Channel


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class OfAttempt(_Message, frozen=True):
    """About one start of one job."""

    job_id: str
    attempt: int


# From the service.


class Run(OfAttempt, frozen=True):
    """Train. Paths are absolute; `checkpoint` is where to go on from, `begin_with` one that another run left; new files
    go into `folder`."""

    architecture: Architecture
    preprocessing: PreprocessingConfig
    spec: TrainingSpec
    dataset: Dataset
    dataset_folder: str
    validation: Dataset | None
    validation_folder: str | None
    weights: str
    checkpoint: str | None
    begin_with: str | None
    folder: str
    checkpointing: Checkpointing


class Pause(OfAttempt, frozen=True):
    """Save everything, then release the job."""


class Abandon(OfAttempt, frozen=True):
    """Release the job as it is."""


class Adjust(OfAttempt, frozen=True):
    """Train on with another learning rate from the next epoch that begins."""

    learning_rate: float


class TakeSnapshot(OfAttempt, frozen=True):
    """Write the weights as they are, for the service to predict with, and train on."""


class Stop(_Message, frozen=True):
    """Save the job if there is one, then end."""


ToWorker = Run | Pause | Abandon | Adjust | TakeSnapshot | Stop


# From the worker.


class Ready(_Message, frozen=True):
    """The engine is compiled; the worker waits for a run. `memory_free`: bytes of its GPU, if it has one."""

    memory_free: int | None = None


class Progressing(OfAttempt, frozen=True):
    """Something was done that shows in nothing else yet."""


class Trained(OfAttempt, frozen=True):
    epochs: tuple[Epoch, ...]


class Adjusted(OfAttempt, frozen=True):
    """The learning rate holds from this epoch on, counted from 0."""

    learning_rate: float
    epoch: int


class SnapshotTaken(OfAttempt, frozen=True):
    """`file` in the run's folder holds the weights, after `epoch` epochs. It is the service's to remove."""

    file: str
    epoch: int


class SnapshotFailed(OfAttempt, frozen=True):
    """The run goes on."""

    message: str


class Checkpointed(OfAttempt, frozen=True):
    """`file` in the run's folder holds the run after all the epochs reported so far."""

    file: str
    bytes: int


class CheckpointDamaged(OfAttempt, frozen=True):
    """The run could not go on from its checkpoint."""

    message: str


class Finished(OfAttempt, frozen=True):
    """The trained weights are in `file` in the run's folder."""

    file: str
    stopped: StopReason
    best_epoch: int | None


class Broken(OfAttempt, frozen=True):
    kind: ErrorKind
    message: str


class Released(OfAttempt, frozen=True):
    """The worker is done with the job, for whatever reason, and waits for the next run."""

    memory_free: int | None = None


FromWorker = (
    Ready
    | Progressing
    | Trained
    | Adjusted
    | SnapshotTaken
    | SnapshotFailed
    | Checkpointed
    | CheckpointDamaged
    | Finished
    | Broken
    | Released
)


def channel_to_worker(end: socket.socket) -> Channel[FromWorker]:
    end.settimeout(SECONDS_TO_SEND)
    return Channel(end, FromWorker)


def channel_to_service(end: socket.socket) -> Channel[ToWorker]:
    return Channel(end, ToWorker)
