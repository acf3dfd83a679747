"""What passes between the service and its workers: one JSON frame each. Arrays never do; they are files.

Every message about a job carries its attempt: what is said under an older one is not believed.
"""

from multiprocessing.connection import Connection

import msgspec

from engine.data.dataset import Dataset
from engine.jobs.job import ErrorKind
from engine.nn.architecture import Architecture
from engine.training.spec import Epoch, StopReason, TrainingSpec


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class OfAttempt(_Message, frozen=True):
    """About one start of one job."""

    job_id: str
    attempt: int


# From the service.


class Run(OfAttempt, frozen=True):
    """Train. Paths are absolute; `checkpoint` is where to go on from; new files go into `folder`."""

    architecture: Architecture
    spec: TrainingSpec
    dataset: Dataset
    dataset_folder: str
    validation: Dataset | None
    validation_folder: str | None
    weights: str
    checkpoint: str | None
    folder: str
    checkpoint_seconds: float


class Pause(OfAttempt, frozen=True):
    """Save everything, then release the job."""


class Abandon(OfAttempt, frozen=True):
    """Release the job as it is."""


class Stop(_Message, frozen=True):
    """Save the job if there is one, then end."""


ToWorker = Run | Pause | Abandon | Stop


# From the worker.


class Ready(_Message, frozen=True):
    """The engine is compiled; the worker waits for a run. `memory_free`: bytes of its GPU, if it has one."""

    memory_free: int | None = None


class Trained(OfAttempt, frozen=True):
    epochs: tuple[Epoch, ...]


class Checkpointed(OfAttempt, frozen=True):
    """`file` in the run's folder holds the run after all the epochs reported so far."""

    file: str


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


FromWorker = Ready | Trained | Checkpointed | Finished | Broken | Released

_to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def send(connection: Connection, message: ToWorker | FromWorker) -> None:
    """Raises OSError if the other side is gone."""
    connection.send_bytes(msgspec.json.encode(message))


def receive_in_worker(connection: Connection) -> ToWorker:
    """Waits. Raises EOFError or OSError if the service is gone."""
    return _to_worker.decode(connection.recv_bytes())


def receive_in_service(connection: Connection) -> FromWorker:
    """Waits. Raises EOFError or OSError if the worker is gone."""
    return _from_worker.decode(connection.recv_bytes())
