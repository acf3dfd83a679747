"""Weights and checkpoints as safetensors files: what was saved is read back bit for bit, or refused."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from engine import durable
from engine.errors import Damaged
from engine.nn.network import Architecture, Network
from engine.training.trainer import Position, Trainer


def save_weights(path: Path, network: Network) -> None:
    """Write W and b of every layer as `layers.N.weights` and `layers.N.biases`. Raises StorageFailed."""
    tensors = {}
    for index, (w, b) in enumerate(network.layers):
        tensors[f"layers.{index}.weights"] = w
        tensors[f"layers.{index}.biases"] = b
    _save(path, tensors, {})


def load_weights(path: Path, architecture: Architecture) -> Network:
    """A network with the weights of `save_weights`. Raises Damaged."""
    tensors, _ = _load(path)
    network = Network(architecture, np.empty(architecture.parameters, architecture.dtype))
    for index, (w, b) in enumerate(network.layers):
        for view, name in ((w, f"layers.{index}.weights"), (b, f"layers.{index}.biases")):
            stored = tensors.get(name)
            if stored is None or stored.shape != view.shape or stored.dtype != view.dtype:
                raise Damaged(f"The weights file {path.name} does not fit its network ({name}).")
            view[:] = stored
    return network


@dataclass(frozen=True)
class Checkpoint:
    """A run in the middle: the flat parameter vector, what the optimizer carries on, and where the run stands."""

    parameters: npt.NDArray[np.floating]
    moments: npt.NDArray[np.floating]
    memory: npt.NDArray[np.float64]
    position: Position

    @classmethod
    def of(cls, trainer: Trainer) -> "Checkpoint":
        """The run as it is now; a view, to be saved before it goes on."""
        optimization = trainer.optimization
        return cls(trainer.network.parameters, optimization.moments, optimization.memory, trainer.position)

    def restore(self, trainer: Trainer) -> None:
        """Put a new run where this one was. Raises Damaged if it is another run's."""
        if trainer.optimization.moments.shape != self.moments.shape:
            raise Damaged("The checkpoint does not fit the job's optimizer.")
        trainer.network.parameters[:] = self.parameters
        trainer.optimization.moments[:] = self.moments
        trainer.optimization.memory[:] = self.memory
        trainer.position = self.position


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Raises StorageFailed."""
    tensors = {"parameters": checkpoint.parameters, "moments": checkpoint.moments, "memory": checkpoint.memory}
    _save(path, tensors, {"position": json.dumps(asdict(checkpoint.position))})


def load_checkpoint(path: Path, architecture: Architecture) -> Checkpoint:
    """Raises Damaged."""
    tensors, metadata = _load(path)
    try:
        parameters, moments, memory = (tensors[name] for name in ("parameters", "moments", "memory"))
        position = Position(**json.loads(metadata["position"]))
    except (KeyError, TypeError, ValueError) as problem:
        raise Damaged(f"The checkpoint {path.name} is not complete.") from problem
    if parameters.shape != (architecture.parameters,) or parameters.dtype != architecture.dtype:
        raise Damaged(f"The checkpoint {path.name} does not fit its network.")
    return Checkpoint(parameters, moments, memory.astype(np.float64), position)


def _save(path: Path, tensors: dict[str, npt.NDArray[np.floating]], metadata: dict[str, str]) -> None:
    content = safetensors.numpy.save(tensors, metadata=metadata)
    durable.write_file(path, lambda file: file.write(content))


def _load(path: Path) -> tuple[dict[str, npt.NDArray[np.floating]], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as problem:
        raise Damaged(f"The file {path.name} is missing or damaged.") from problem
