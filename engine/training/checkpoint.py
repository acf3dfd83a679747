"""Weights files and checkpoints, in the safetensors format.

A file is read back bit for bit or rejected: its name has a digest of the content.

Tensors of a weights file:

    layers.N.weights, layers.N.biases                      parameters
    layers.N.scales, layers.N.means, layers.N.variances    with batch normalization
    preprocessor.…                                         see `preprocessor_format`

A checkpoint has the arrays of `TrainerState` instead of the layers: parameters, statistics, moments, optimizer_state;
best.parameters and best.statistics with early stopping; lbfgs.… with L-BFGS. The metadata maps keys to texts:

    format_version        "2"
    classes               names of the classes, as JSON; missing for numeric targets
    position, optimizer   of a checkpoint: `Position` as JSON, and the name of the optimizer
    preprocessor          see `preprocessor_format`

Files without `format_version` have version 1, which had other names for the entries of the preprocessor, some arrays,
and the fields of the position. `_upgrade` converts what is read from them; everything else knows version 2 only.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy.typing as npt
import safetensors
import safetensors.numpy

from nabla.engine import durable_files
from nabla.engine.data import preprocessor_format
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.schema import Classes
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.literals import StopReason
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.training.model import Model
from nabla.engine.training.state import NamedArrays, Patience, Position, TrainerState

if TYPE_CHECKING:  # the API process saves weights, but does not load the trainer
    from nabla.engine.training.trainer import Trainer

T = TypeVar("T")
TrainedClasses = Classes | None
"""The classes that a network was trained on; None for numeric targets."""

_CLASSES_KEY, _POSITION_KEY, _OPTIMIZER_KEY = "classes", "position", "optimizer"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run that can be continued.

    Attributes:
        state: State of the trainer.
        optimizer: Name of the optimizer.
        preprocessor: Preprocessor that was fitted before training.
        classes: Classes of the dataset.
    """

    state: TrainerState
    optimizer: str
    preprocessor: Preprocessor | None = None
    classes: TrainedClasses = None

    @classmethod
    def capture(
        cls, trainer: "Trainer", preprocessor: Preprocessor | None = None, classes: TrainedClasses = None
    ) -> "Checkpoint":
        """Return the current state of a run, without a copy: save it before the run continues."""
        return cls(trainer.state, trainer.spec.optimizer, preprocessor, classes)

    def restore(self, trainer: "Trainer") -> None:
        """Continue the run in a new trainer.

        Raises:
            Damaged: The checkpoint belongs to another network or other settings.
        """
        trainer.load_state(self.state)

    def warm_start(self, trainer: "Trainer") -> None:
        """Start a new run from the weights, and from the optimizer state if it has the same optimizer.

        Raises:
            Damaged: The checkpoint belongs to another network.
        """
        trainer.warm_start(self.state, keep_optimizer_state=trainer.spec.optimizer == self.optimizer)

    @property
    def has_best(self) -> bool:
        """Whether the checkpoint has the weights of the best epoch so far."""
        return self.state.position.best_epoch is not None and "best.parameters" in self.state.arrays

    def build_network(self, architecture: Architecture, *, best: bool = False) -> Network:
        """Return a network with the weights of the checkpoint.

        Args:
            architecture: Architecture of the network.
            best: Use the weights of the best epoch so far; the checkpoint must have them, see `has_best`.

        Raises:
            Damaged: The checkpoint belongs to another network.
        """
        network = Network.blank(architecture)
        names = ("best.parameters", "best.statistics") if best else ("parameters", "statistics")
        self.state.copy_into(dict(zip(names, (network.parameters, network.statistics), strict=True)))
        return network


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint durably.

    Returns:
        The path of the file, whose name has a digest of the content; see `durable_files.write_file`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    metadata = {
        _POSITION_KEY: msgspec.json.encode(checkpoint.state.position).decode(),
        _OPTIMIZER_KEY: checkpoint.optimizer,
        **encode_classes(checkpoint.classes),
    }
    content = _serialize(checkpoint.state.arrays, metadata, checkpoint.preprocessor)
    return durable_files.write_file(path, lambda file: file.write(content))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        Damaged: The file does not match its digest, or is not a checkpoint.
    """
    durable_files.verify(path)
    with _open_tensors(path) as file:
        arrays, metadata = file.read(), file.metadata
    preprocessor = _pop_preprocessor(path, arrays, metadata)
    try:
        position = msgspec.json.decode(metadata[_POSITION_KEY], type=Position)
        state = TrainerState(position, arrays)
        return Checkpoint(state, metadata[_OPTIMIZER_KEY], preprocessor, decode_classes(metadata))
    except (KeyError, msgspec.DecodeError) as error:
        raise Damaged(f"The checkpoint {path.name} is incomplete.") from error


def save_weights(
    path: Path, network: Network, preprocessor: Preprocessor | None = None, classes: TrainedClasses = None
) -> Path:
    """Write the weights of a network durably, with its fitted preprocessor and its classes if it is trained.

    Returns:
        The path of the file, whose name has a digest of the content; see `durable_files.write_file`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    content = _serialize(dict(named_tensors(network)), encode_classes(classes), preprocessor)
    return durable_files.write_file(path, lambda file: file.write(content))


def load_weights(path: Path, architecture: Architecture) -> tuple[Network, Preprocessor | None]:
    """Read the weights of a network, and its fitted preprocessor if it is trained.

    Raises:
        Damaged: The file does not match its digest, or belongs to another network.
    """
    durable_files.verify(path)
    network, preprocessor, _ = _read_weights(path, architecture)
    return network, preprocessor


def save_snapshot(directory: Path, network: Network, preprocessor: Preprocessor, classes: TrainedClasses) -> Path:
    """Write a weights file for another process to read once; see `durable_files.write_temporary`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    content = _serialize(dict(named_tensors(network)), encode_classes(classes), preprocessor)
    return durable_files.write_temporary(directory, lambda file: file.write(content))


def load_snapshot(path: Path, architecture: Architecture) -> tuple[Model, TrainedClasses]:
    """Read a snapshot.

    Raises:
        Damaged: The file is not a snapshot, or belongs to another network.
    """
    network, preprocessor, classes = _read_weights(path, architecture)
    if preprocessor is None:
        raise Damaged("The snapshot has no preprocessor.")
    return Model(network, preprocessor), classes


def load_preprocessor(path: Path) -> Preprocessor | None:
    """Read the preprocessor of a weights file or checkpoint without its weights; the digest is not verified.

    Raises:
        Damaged: The file cannot be read.
    """
    with _open_tensors(path) as file:
        return _pop_preprocessor(path, file.read(preprocessor_format.PREFIX), file.metadata)


def load_classes(path: Path) -> TrainedClasses:
    """Read the classes of a weights file or checkpoint; the digest is not verified.

    Raises:
        Damaged: The file cannot be read.
    """
    with _open_tensors(path) as file:
        return decode_classes(file.metadata)


def encode_classes(classes: TrainedClasses) -> dict[str, str]:
    """Return the metadata entry of the classes; empty for numeric targets."""
    return {} if classes is None else {_CLASSES_KEY: msgspec.json.encode(classes).decode()}


def decode_classes(metadata: Mapping[str, str]) -> TrainedClasses:
    """Return the classes in the metadata of a file.

    Raises:
        Damaged: The entry is not a JSON array of texts, numbers or booleans.
    """
    try:
        return msgspec.json.decode(metadata[_CLASSES_KEY], type=Classes) if _CLASSES_KEY in metadata else None
    except msgspec.DecodeError as error:
        raise Damaged("The names of the classes cannot be read.") from error


def named_tensors(network: Network) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield views of the tensors of a network with their names in a file."""
    for index, (w, b) in enumerate(network.layers):
        yield f"layers.{index}.weights", w
        yield f"layers.{index}.biases", b
    for index, normalization in network.normalizations.items():
        for name, vector in zip(("scales", "means", "variances"), normalization, strict=True):
            yield f"layers.{index}.{name}", vector


def _read_weights(path: Path, architecture: Architecture) -> tuple[Network, Preprocessor | None, TrainedClasses]:
    with _open_tensors(path) as file:
        tensors, metadata = file.read(), file.metadata
    network = Network.blank(architecture)
    for name, target in named_tensors(network):
        source = tensors.get(name)
        if source is None or (source.shape, source.dtype) != (target.shape, target.dtype):
            raise Damaged(f"The weights file {path.name} does not fit its network ({name}).")
        target[:] = source
    return network, _pop_preprocessor(path, tensors, metadata), decode_classes(metadata)


def _serialize(tensors: NamedArrays, metadata: dict[str, str], preprocessor: Preprocessor | None) -> bytes:
    metadata = metadata | {preprocessor_format.VERSION_KEY: preprocessor_format.FORMAT_VERSION}
    if preprocessor is not None:
        own_tensors, own_metadata = preprocessor_format.encode_preprocessor(preprocessor)
        tensors, metadata = tensors | own_tensors, metadata | own_metadata
    return safetensors.numpy.save(tensors, metadata=metadata)


def _pop_preprocessor(path: Path, tensors: NamedArrays, metadata: dict[str, str]) -> Preprocessor | None:
    """Return the preprocessor and remove its tensors; None if there is none."""
    try:
        preprocessor = preprocessor_format.decode_preprocessor(tensors, metadata)
    except InvalidInput as error:
        raise Damaged(f"The preprocessor in the file {path.name} cannot be read: {error}") from error
    for name in [*tensors]:
        if name.startswith(preprocessor_format.PREFIX):
            del tensors[name]
    return preprocessor


class _TensorFile:
    """An open file, under the names of the current format version."""

    def __init__(self, file: Any) -> None:
        self._file = file
        stored_names = {name: name for name in file.keys()}  # noqa: SIM118  # it is no dict
        self._stored_names, self.metadata = _upgrade(stored_names, file.metadata() or {})

    def read(self, prefix: str = "") -> NamedArrays:
        """Return the tensors whose names begin with `prefix`."""
        return {
            name: self._file.get_tensor(stored_name)
            for name, stored_name in self._stored_names.items()
            if name.startswith(prefix)
        }


@contextmanager
def _open_tensors(path: Path) -> Iterator[_TensorFile]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield _TensorFile(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise Damaged(f"The file {path.name} is not a weights file or checkpoint.") from error
    except (InvalidInput, msgspec.DecodeError) as error:
        raise Damaged(f"The metadata of the file {path.name} cannot be read: {error}") from error


def _upgrade(tensors: Mapping[str, T], metadata: Mapping[str, str]) -> tuple[dict[str, T], dict[str, str]]:
    """Convert the tensor names and the metadata of a file to the current format version."""
    upgraded_tensors, upgraded_metadata = preprocessor_format.upgrade(tensors, metadata)
    if preprocessor_format.VERSION_KEY not in metadata and _POSITION_KEY in metadata:
        upgraded_tensors = {_ARRAYS_V1.get(name, name): tensor for name, tensor in upgraded_tensors.items()}
        position = msgspec.json.decode(metadata[_POSITION_KEY], type=_PositionV1).upgrade()
        upgraded_metadata[_POSITION_KEY] = msgspec.json.encode(position).decode()
    return upgraded_tensors, upgraded_metadata


_ARRAYS_V1 = {"memory": "optimizer_state", "best.0": "best.parameters", "best.1": "best.statistics"}


class _PatienceV1(msgspec.Struct, frozen=True):
    best: float | None = None
    waited: int = 0

    def upgrade(self) -> Patience:
        return Patience(self.best, self.waited)


class _PositionV1(msgspec.Struct, frozen=True):
    epoch: int = 0
    row: int = 0
    sums: tuple[float, ...] = ()
    seconds: float = 0.0
    training_seconds: float = 0.0
    total_seconds: float = 0.0
    stopping: _PatienceV1 = _PatienceV1()
    plateau: _PatienceV1 = _PatienceV1()
    reductions: int = 0
    best_epoch: int | None = None
    stopped: StopReason | None = None

    def upgrade(self) -> Position:
        return Position(
            epoch=self.epoch,
            row=self.row,
            metric_sums=self.sums,
            epoch_seconds=self.seconds,
            training_seconds=self.training_seconds,
            total_seconds=self.total_seconds,
            early_stopping=self.stopping.upgrade(),
            plateau=self.plateau.upgrade(),
            plateau_reductions=self.reductions,
            best_epoch=self.best_epoch,
            stop_reason=self.stopped,
        )
