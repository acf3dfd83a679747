"""Small datasets, and runs on them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer

Array = npt.NDArray[np.floating]
ARCHITECTURE = Architecture(4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64")
CLASSES = ("0", "1", "2")


def corners(rows: int, weights: npt.NDArray[np.float64] | None = None) -> OpenDataset:
    """Return rows around three corners, one class each."""
    generator = np.random.default_rng(2)
    codes = (np.arange(rows) % 3).astype(np.int32)
    x = np.eye(4)[codes] + generator.normal(scale=0.3, size=(rows, 4))
    return OpenDataset(x, np.eye(3)[codes], codes, weights)


def numbers(rows: int, outputs: int = 2) -> OpenDataset:
    """Return samples of a nonlinear function of four inputs."""
    generator = np.random.default_rng(8)
    x = generator.uniform(-1, 1, (rows, 4))
    return OpenDataset(x, np.stack([np.sin(x[:, 0] + k) + x[:, 1] * x[:, 2] for k in range(outputs)], axis=1))


def spec(**settings: Any) -> TrainingSpec:
    """Return settings for eight epochs of mini-batches of 16, with the given changes."""
    defaults: dict[str, Any] = {"epochs": 8, "batch_size": 16, "learning_rate": 0.1, "seed": 9}
    return TrainingSpec(**{**defaults, **settings})


def collect_epochs(items: Iterable[Epoch | None]) -> list[Epoch]:
    return [item for item in items if item is not None]


def train(
    dataset: OpenDataset,
    settings: TrainingSpec,
    architecture: Architecture = ARCHITECTURE,
    classes: tuple[str, ...] | None = CLASSES,
) -> tuple[Network, list[Epoch]]:
    """Train a new network to the end of the run."""
    network = Network(architecture)
    return network, collect_epochs(Trainer(network, dataset, settings, classes=classes).run())
