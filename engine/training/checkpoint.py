"""Weights and checkpoints as safetensors files: what was saved is read back bit for bit, or refused.

What saves tells where the file is: its name ends with a digest of its content.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from nabla.engine import durable_files
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.training.model import Model
from nabla.engine.training.state import Position

# Of the names of its tensors.
PREFIX = "preparation."
_WORDS = "preparation"
_FILLS = f"{PREFIX}fills"
_PARTS = ("inputs", "targets")

Arrays = dict[str, npt.NDArray[Any]]


class _Words(msgspec.Struct, frozen=True):
    rule: PreprocessingConfig
    columns: tuple[Column, ...] | None


def tensors_of(preprocessor: Preprocessor) -> Arrays:
    """`preparation.fills`; and where they are scaled, `preparation.inputs.offsets` and `.scales`, and those of the
    targets."""
    found: Arrays = {_FILLS: preprocessor.fills}
    for part in _PARTS:
        scaling: Scaling | None = getattr(preprocessor, part)
        if scaling is not None:
            found |= {f"{PREFIX}{part}.offsets": scaling.offsets, f"{PREFIX}{part}.scales": scaling.scales}
    return found


def words_of(preprocessor: Preprocessor) -> dict[str, str]:
    return {_WORDS: msgspec.json.encode(_Words(preprocessor.rule, preprocessor.columns)).decode()}


def preparation_in(tensors: Arrays, metadata: dict[str, str]) -> Preprocessor | None:
    """Taken out of the tensors of a file; None if there is none. Raises Damaged if it is not whole."""
    own = {name: tensors.pop(name) for name in [*tensors] if name.startswith(PREFIX)}
    if _WORDS not in metadata:
        return None
    try:
        words = msgspec.json.decode(metadata[_WORDS], type=_Words)
        fills = own.pop(_FILLS)
        inputs, targets = (_scaling(own, part) for part in _PARTS)
    except (KeyError, msgspec.DecodeError) as problem:
        raise Damaged("What the network's inputs are prepared by is not complete.") from problem
    if own or fills.shape != (len(words.columns or ()),) or fills.dtype != np.float64:
        raise Damaged("What the network's inputs are prepared by does not fit its columns.")
    return Preprocessor(words.rule, words.columns, fills, inputs, targets)


def _scaling(own: Arrays, part: str) -> Scaling | None:
    names = (f"{PREFIX}{part}.offsets", f"{PREFIX}{part}.scales")
    if not any(name in own for name in names):
        return None
    return Scaling(*(own.pop(name) for name in names))


if TYPE_CHECKING:  # the service saves weights, and trains nothing
    from nabla.engine.training.trainer import Trainer
Classes = tuple[str, ...] | None

_CLASSES = "classes"


def save_weights(
    path: Path, network: Network, preprocessor: Preprocessor | None = None, classes: Classes = None
) -> Path:
    """Write the tensors of every layer: `layers.N.weights` and `layers.N.biases`, and with batch normalization
    `layers.N.scales`, `layers.N.means` and `layers.N.variances`; and what was fitted before it was trained, and the
    classes that it was trained to tell apart, if it was. Raises StorageFailed."""
    return _save(path, dict(named_tensors(network)), words_of_classes(classes), preprocessor)


def load_weights(path: Path, architecture: Architecture) -> tuple[Network, Preprocessor | None]:
    """A network with the weights of `save_weights`, and what was fitted before it was trained. Raises Damaged."""
    durable_files.check(path)
    network, preprocessor, _ = _read_weights(path, architecture)
    return network, preprocessor


def save_snapshot(folder: Path, network: Network, preprocessor: Preprocessor, classes: Classes) -> Path:
    """Write the same as `save_weights`, for the service to read at once: see `durable.hand_over`. Raises
    StorageFailed."""
    content = _content(dict(named_tensors(network)), words_of_classes(classes), preprocessor)
    return durable_files.hand_over(folder, lambda file: file.write(content))


def load_snapshot(path: Path, architecture: Architecture) -> tuple[Model, Classes]:
    """What `save_snapshot` wrote. Raises Damaged."""
    network, preprocessor, classes = _read_weights(path, architecture)
    if preprocessor is None:
        raise Damaged("The weights of the run come without what its data are prepared by.")
    return Model(network, preprocessor), classes


def _read_weights(path: Path, architecture: Architecture) -> tuple[Network, Preprocessor | None, Classes]:
    stored, metadata = _read(path)
    preprocessor = preparation_in(stored, metadata)
    network = Network.blank(architecture)
    for name, tensor in named_tensors(network):
        if name not in stored or not _alike(stored[name], tensor):
            raise Damaged(f"The weights file {path.name} does not fit its network ({name}).")
        tensor[:] = stored[name]
    return network, preprocessor, classes_in(metadata)


def load_preprocessor(path: Path) -> Preprocessor | None:
    """What was saved with weights or in a checkpoint, and nothing else of them; the digest is not looked at. Raises
    Damaged."""
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118  # it is no dict
        return preparation_in({name: file.get_tensor(name) for name in names}, file.metadata() or {})


def load_classes(path: Path) -> Classes:
    """What was saved with weights or in a checkpoint; the digest is not looked at. Raises Damaged."""
    with _opened(path) as file:
        return classes_in(file.metadata() or {})


def words_of_classes(classes: Classes) -> dict[str, str]:
    """As part of a file's metadata."""
    return {} if classes is None else {_CLASSES: msgspec.json.encode(classes).decode()}


def classes_in(metadata: dict[str, str]) -> Classes:
    """As part of a file's metadata. Raises Damaged."""
    try:
        return msgspec.json.decode(metadata[_CLASSES], type=tuple[str, ...]) if _CLASSES in metadata else None
    except msgspec.DecodeError as problem:
        raise Damaged("The names of the classes are not complete.") from problem


def named_tensors(network: Network) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Views by their names in a file."""
    for index, (w, b) in enumerate(network.layers):
        yield f"layers.{index}.weights", w
        yield f"layers.{index}.biases", b
    for index, normalization in network.normalizations.items():
        for name, vector in zip(("scales", "means", "variances"), normalization, strict=True):
            yield f"layers.{index}.{name}", vector


@dataclass(frozen=True)
class Checkpoint:
    """A run in the middle: all that changes from step to step, and where it stands; and what was fitted before it
    began, and the classes of its data."""

    arrays: Arrays
    position: Position
    optimizer: str
    preprocessor: Preprocessor | None = None
    classes: Classes = None

    @classmethod
    def of(cls, trainer: "Trainer", preprocessor: Preprocessor | None = None, classes: Classes = None) -> "Checkpoint":
        """The run as it is now; views, to be saved before it goes on."""
        return cls(trainer.arrays, trainer.position, trainer.spec.optimizer, preprocessor, classes)

    def restore(self, trainer: "Trainer") -> None:
        """Put a new run where this one was. Raises Damaged if it is another run's."""
        own = trainer.arrays
        if own.keys() != self.arrays.keys():
            raise Damaged("The checkpoint does not fit the job's settings.")
        self._copy(own)
        trainer.go_on_from(self.position)

    def begin(self, trainer: "Trainer") -> None:
        """Begin a new run with these weights, and with what the optimizer has gathered if it is the same one. Raises
        Damaged if they are another network's."""
        own = trainer.arrays
        gathered = ("moments", "memory") if trainer.spec.optimizer == self.optimizer else ()
        self._copy({name: own[name] for name in ("parameters", "statistics", *gathered)})
        trainer.go_on_from(Position())

    def network(self, architecture: Architecture, *, best: bool = False) -> Network:
        """With the weights of the checkpoint, or with those of the best epoch so far, which needs `has_best`. Raises
        Damaged if they are another network's."""
        found = Network.blank(architecture)
        names = ("best.0", "best.1") if best else ("parameters", "statistics")
        self._copy(dict(zip(names, (found.parameters, found.statistics), strict=True)))
        return found

    @property
    def has_best(self) -> bool:
        """Whether the run has found a best epoch, and keeps its weights."""
        return self.position.best_epoch is not None and "best.0" in self.arrays

    def _copy(self, own: Arrays) -> None:
        if not all(name in self.arrays and _alike(own[name], self.arrays[name]) for name in own):
            raise Damaged("The checkpoint does not fit the network.")
        for name, array in own.items():
            array[:] = self.arrays[name]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Raises StorageFailed."""
    position = msgspec.json.encode(checkpoint.position).decode()
    metadata = {"position": position, "optimizer": checkpoint.optimizer, **words_of_classes(checkpoint.classes)}
    return _save(path, checkpoint.arrays, metadata, checkpoint.preprocessor)


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises Damaged."""
    durable_files.check(path)
    arrays, metadata = _read(path)
    try:
        preprocessor = preparation_in(arrays, metadata)
        position = msgspec.json.decode(metadata["position"], type=Position)
        return Checkpoint(arrays, position, metadata["optimizer"], preprocessor, classes_in(metadata))
    except (KeyError, msgspec.DecodeError) as problem:
        raise Damaged(f"The checkpoint {path.name} is not complete.") from problem


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _save(path: Path, tensors: Arrays, metadata: dict[str, str], preprocessor: Preprocessor | None) -> Path:
    content = _content(tensors, metadata, preprocessor)
    return durable_files.write_file(path, lambda file: file.write(content))


def _content(tensors: Arrays, metadata: dict[str, str], preprocessor: Preprocessor | None) -> bytes:
    if preprocessor is not None:
        tensors, metadata = tensors | tensors_of(preprocessor), metadata | words_of(preprocessor)
    return safetensors.numpy.save(tensors, metadata=metadata)


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no dict


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as problem:
        raise Damaged(f"The file {path.name} is not one of weights.") from problem
