"""Weights and checkpoints as safetensors files: what was saved is read back bit for bit, or refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt
import safetensors
import safetensors.numpy

from engine import durable
from engine.errors import Damaged
from engine.nn.architecture import Architecture
from engine.nn.network import Network
from engine.training.position import Position
from engine.training.trainer import Trainer

Arrays = dict[str, npt.NDArray[Any]]


def save_weights(path: Path, network: Network) -> None:
    """Write the tensors of every layer: `layers.N.weights` and `layers.N.biases`, and with batch normalization
    `layers.N.scales`, `layers.N.means` and `layers.N.variances`. Raises StorageFailed."""
    _save(path, dict(_tensors(network)), {})


def load_weights(path: Path, architecture: Architecture) -> Network:
    """A network with the weights of `save_weights`. Raises Damaged."""
    stored, _ = _load(path)
    network = Network.blank(architecture)
    for name, tensor in _tensors(network):
        if name not in stored or not _alike(stored[name], tensor):
            raise Damaged(f"The weights file {path.name} does not fit its network ({name}).")
        tensor[:] = stored[name]
    return network


def _tensors(network: Network) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Views by their names in a file."""
    for index, (w, b) in enumerate(network.layers):
        yield f"layers.{index}.weights", w
        yield f"layers.{index}.biases", b
    for index, normalization in network.normalizations.items():
        for name, vector in zip(("scales", "means", "variances"), normalization, strict=True):
            yield f"layers.{index}.{name}", vector


@dataclass(frozen=True)
class Checkpoint:
    """A run in the middle: all that changes from step to step, and where it stands."""

    arrays: Arrays
    position: Position

    @classmethod
    def of(cls, trainer: Trainer) -> "Checkpoint":
        """The run as it is now; views, to be saved before it goes on."""
        return cls(trainer.arrays, trainer.position)

    def restore(self, trainer: Trainer) -> None:
        """Put a new run where this one was. Raises Damaged if it is another run's."""
        own = trainer.arrays
        if own.keys() != self.arrays.keys() or not all(_alike(own[name], self.arrays[name]) for name in own):
            raise Damaged("The checkpoint does not fit the job's network and settings.")
        for name, array in own.items():
            array[:] = self.arrays[name]
        trainer.go_on_from(self.position)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Raises StorageFailed."""
    _save(path, checkpoint.arrays, {"position": msgspec.json.encode(checkpoint.position).decode()})


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises Damaged."""
    arrays, metadata = _load(path)
    try:
        position = msgspec.json.decode(metadata["position"], type=Position)
    except (KeyError, msgspec.DecodeError) as problem:
        raise Damaged(f"The checkpoint {path.name} is not complete.") from problem
    return Checkpoint(arrays, position)


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _save(path: Path, tensors: Arrays, metadata: dict[str, str]) -> None:
    content = safetensors.numpy.save(tensors, metadata=metadata)
    durable.write_file(path, lambda file: file.write(content))


def _load(path: Path) -> tuple[Arrays, dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as problem:
        raise Damaged(f"The file {path.name} is missing or damaged.") from problem
