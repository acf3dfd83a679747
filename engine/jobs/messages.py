"""What passes between the service and its workers: one JSON frame each. Arrays never do; they are files.

Every message about a job carries its attempt: what is said under an older one is not believed.
"""

import socket
from collections import deque
from typing import Any, Generic, TypeVar

import msgspec

from engine.data.dataset import Dataset
from engine.data.preparation import PreparationRule
from engine.jobs.job import Checkpointing, ErrorKind
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
    """Train. Paths are absolute; `checkpoint` is where to go on from, `begin_with` one that another run left; new files
    go into `folder`."""

    architecture: Architecture
    preparation: PreparationRule
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


class Stop(_Message, frozen=True):
    """Save the job if there is one, then end."""


ToWorker = Run | Pause | Abandon | Adjust | Stop


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


FromWorker = Ready | Progressing | Trained | Adjusted | Checkpointed | CheckpointDamaged | Finished | Broken | Released

Received = TypeVar("Received")

# What a worker does not take in this time it will not take at all: it hangs.
_SECONDS_TO_SEND = 5.0
_BYTES_AT_ONCE = 2**18


class Channel(Generic[Received]):
    """One end of a socket pair: a line of JSON for each message. Nothing here waits for the rest of a message that a
    process was stopped in the middle of, but for `receive`."""

    def __init__(self, end: socket.socket, receives: Any) -> None:
        self._socket = end
        self._decoder: msgspec.json.Decoder[Received] = msgspec.json.Decoder(receives)
        self._begun = bytearray()
        self._complete: deque[bytes] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: ToWorker | FromWorker) -> None:
        """Raises OSError if the other side is gone, or does not listen any more."""
        self._socket.sendall(msgspec.json.encode(message) + b"\n")

    def receive(self) -> Received:
        """Waits for a message. Raises EOFError or OSError if the other side is gone."""
        while not self._complete:
            self._take(self._socket.recv(_BYTES_AT_ONCE))
        return self._decoder.decode(self._complete.popleft())

    def received(self) -> list[Received]:
        """All messages that are complete by now. Raises EOFError or OSError if the other side is gone."""
        self._take(self._socket.recv(_BYTES_AT_ONCE, socket.MSG_DONTWAIT))
        found = [self._decoder.decode(line) for line in self._complete]
        self._complete.clear()
        return found

    def _take(self, part: bytes) -> None:
        if not part:
            raise EOFError
        *ended, begun = part.split(b"\n")
        for line in ended:
            self._complete.append(bytes(self._begun + line))
            self._begun.clear()
        self._begun += begun

    def close(self) -> None:
        self._socket.close()


def channel_to_worker(end: socket.socket) -> Channel[FromWorker]:
    end.settimeout(_SECONDS_TO_SEND)
    return Channel(end, FromWorker)


def channel_to_service(end: socket.socket) -> Channel[ToWorker]:
    return Channel(end, ToWorker)
