"""The five workloads on which training speed is compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import ActivationName, CostName, OptimizerName

if TYPE_CHECKING:
    from nabla.engine.nn.architecture import Architecture

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """A network, an optimizer and data. An epoch has `steps` mini-batches."""

    units: tuple[int, ...]
    hidden: ActivationName
    output: ActivationName
    cost: CostName
    batch: int
    optimizer: OptimizerName
    steps: int

    @property
    def name(self) -> str:
        """The row of the table."""
        return f"{'-'.join(map(str, self.units))}, batch {self.batch}, {self.optimizer}"

    @property
    def rate(self) -> float:
        """Learning rate."""
        return 0.1 if self.optimizer == "sgd" else 1e-3

    @property
    def architecture(self) -> "Architecture":
        """The network of Nabla."""
        from nabla.engine.nn.architecture import Architecture, Layer  # not in the processes of peers

        inputs, *hidden, outputs = self.units
        layers = (*(Layer(units, self.hidden) for units in hidden), Layer(outputs, self.output))
        return Architecture(inputs, layers, self.cost)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names, or None for a regression."""
        return tuple(map(str, range(self.units[-1]))) if self.units[-1] > 1 else None

    def data(self) -> tuple[Array, Array]:
        """Return x (rows, inputs), uniform, and y: one-hot classes, or a smooth function for a single output."""
        generator = np.random.default_rng(1)
        rows = self.steps * self.batch
        x = generator.random((rows, self.units[0]), np.float32)
        if self.units[-1] == 1:
            return x, np.sin(x.sum(axis=1, keepdims=True)).astype(np.float32)
        return x, np.eye(self.units[-1], dtype=np.float32)[generator.integers(0, self.units[-1], rows)]


WORKLOADS = (
    Workload((784, 30, 10), "sigmoid", "sigmoid", "quadratic", 10, "sgd", 2500),
    Workload((13, 64, 64, 1), "sigmoid", "identity", "quadratic", 16, "sgd", 2500),
    Workload((784, 128, 10), "relu", "softmax", "categorical_cross_entropy", 32, "adam", 1000),
    Workload((784, 512, 512, 10), "relu", "softmax", "categorical_cross_entropy", 256, "adam", 60),
    Workload((311, 128, 64, 1), "relu", "identity", "quadratic", 32, "adam", 1000),
    Workload((1024, 4096, 4096, 256), "relu", "softmax", "categorical_cross_entropy", 1024, "adam", 3),
)
