"""Messages between the service and its training workers. Arrays are never sent; they are in files.

Every message about a job has the number of its attempt. The service ignores messages of an older attempt, and so does
the worker.
"""

import msgspec

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.literals import ErrorKind, StopReason
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.job import Checkpointing
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class AttemptMessage(_Message, frozen=True):
    """Base of the messages about one attempt to run a job."""

    job_id: str
    attempt: int


# From the service.


class TrainingInput(AttemptMessage, frozen=True):
    """Start training. All paths are absolute.

    Attributes:
        architecture: The network's.
        preprocessing: The network's configuration.
        spec: The settings of the job.
        dataset: The training data, stored in `dataset_dir`.
        dataset_dir: Directory of the training data.
        validation: A dataset to validate with, stored in `validation_dir`; None for a fraction of the training data.
        validation_dir: Directory of the validation data.
        weights: Weights file of the version that the job starts from.
        checkpoint: Checkpoint of this job to continue from; None at its first start.
        initial_checkpoint: Checkpoint of another job to start from in place of `weights`, if any.
        output_dir: Directory for new files.
        checkpointing: When to save checkpoints, and how many to keep.
    """

    architecture: Architecture
    preprocessing: PreprocessingConfig
    spec: TrainingSpec
    dataset: Dataset
    dataset_dir: str
    validation: Dataset | None
    validation_dir: str | None
    weights: str
    checkpoint: str | None
    initial_checkpoint: str | None
    output_dir: str
    checkpointing: Checkpointing


class Pause(AttemptMessage, frozen=True):
    """Save a checkpoint, then release the job."""


class Cancel(AttemptMessage, frozen=True):
    """Release the job without saving."""


class SetLearningRate(AttemptMessage, frozen=True):
    """Use another learning rate from the next epoch that begins."""

    learning_rate: float


class TakeSnapshot(AttemptMessage, frozen=True):
    """Write the current weights for the service to predict with, and continue training."""


class Shutdown(_Message, frozen=True):
    """Save a checkpoint of the job, if there is one, then exit."""


WorkerCommand = TrainingInput | Pause | Cancel | SetLearningRate | TakeSnapshot | Shutdown


# From the worker.


class Ready(_Message, frozen=True):
    """The worker is idle. `memory_free`: bytes of its GPU, None on the CPU."""

    memory_free: int | None = None


class Compiling(AttemptMessage, frozen=True):
    """A kernel has been compiled, and more may follow before training begins."""


class Heartbeat(AttemptMessage, frozen=True):
    """Training makes progress within a long epoch."""


class EpochsTrained(AttemptMessage, frozen=True):
    """Epochs ended since the last report."""

    epochs: tuple[Epoch, ...]


class LearningRateSet(AttemptMessage, frozen=True):
    """The learning rate applies from this epoch on, counted from 0."""

    learning_rate: float
    epoch: int


class SnapshotTaken(AttemptMessage, frozen=True):
    """`file` in the output directory holds the weights after `epoch` epochs. The service removes it."""

    file: str
    epoch: int


class SnapshotFailed(AttemptMessage, frozen=True):
    """No snapshot could be written; training continues."""

    message: str


class CheckpointSaved(AttemptMessage, frozen=True):
    """`file` in the output directory holds the state after all epochs reported so far."""

    file: str
    bytes: int


class CheckpointDamaged(AttemptMessage, frozen=True):
    """The checkpoint to continue from is damaged; an older one may not be."""

    message: str


class Done(AttemptMessage, frozen=True):
    """Training ended; `file` in the output directory holds the weights."""

    file: str
    stopped: StopReason
    best_epoch: int | None


class JobFailed(AttemptMessage, frozen=True):
    """Training failed."""

    kind: ErrorKind
    message: str


class Released(AttemptMessage, frozen=True):
    """The worker no longer has the job, however that ended, and is idle. `memory_free`: as in `Ready`."""

    memory_free: int | None = None


WorkerEvent = (
    Ready
    | Compiling
    | Heartbeat
    | EpochsTrained
    | LearningRateSet
    | SnapshotTaken
    | SnapshotFailed
    | CheckpointSaved
    | CheckpointDamaged
    | Done
    | JobFailed
    | Released
)
