"""The protocol between a trainer and the device it trains on, and its implementation for the CPU."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nabla.engine.nn import array_views
from nabla.engine.nn.compiled_layout import COST, CompiledLayout
from nabla.engine.nn.matmul_threads import MatmulThreads, SharingPolicy
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import Examples, Optimization, add_penalty, evaluate_rows, train_steps
from nabla.engine.typing import Float64Array, RowIndices, Vector


class TrainingBackend(Protocol):
    """Runs the steps of a training run, and owns its buffers.

    Steps update the network and the optimizer's moments and state. The host's arrays of these are current after
    `sync_to_host`; changes to them take effect with `sync_to_device`.
    """

    def begin_epoch(self, order: RowIndices, optimization: Optimization) -> None:
        """Set the row order, learning rates and settings of the next epoch.

        Args:
            order: Indices of the training rows, in the order of the epoch.
            optimization: Rates and settings; its moments and optimizer state are those of the run.
        """

    def train(self, first: int, last: int) -> None:
        """Train on rows order[first:last], adding to the metric sums."""

    def evaluate(self, first: int, last: int) -> None:
        """Evaluate validation rows first to last, adding to the metric sums."""

    def throttle(self) -> None:
        """Wait for all calls of `train` and `evaluate` but the last one, so that the host does not run far ahead.

        The trainer calls this after each of them.
        """

    def read_metric_sums(self) -> Float64Array:
        """Wait for all steps; return the sums over all rows since `write_metric_sums`."""

    def write_metric_sums(self, metric_sums: npt.ArrayLike) -> None:
        """Set the values that the next sums are added to."""

    def running_cost(self) -> float | None:
        """Return the sum of the costs so far, or None if that would require waiting for the device."""

    def gradient(self) -> Vector:
        """Wait for the last step; return its gradient (parameters)."""

    def penalty(self) -> float:
        """Return the l1 and l2 penalties of the current parameters, which are part of the cost."""

    def sync_to_host(self) -> None:
        """Copy parameters, statistics, moments and optimizer state to the host's arrays."""

    def sync_to_device(self) -> None:
        """Copy the host's arrays to the device."""


class TrainingSetup(NamedTuple):
    """The network, data and settings that a backend is created for.

    Attributes:
        batch_size: Largest number of rows of a mini-batch.
        training: Examples, and the indices of the rows to train on.
        validation: Examples, and the indices of the rows to validate on.
    """

    network: Network
    layout: CompiledLayout
    optimization: Optimization
    batch_size: int
    training: tuple[Examples, RowIndices]
    validation: tuple[Examples, RowIndices] | None


BackendFactory = Callable[[TrainingSetup], TrainingBackend]
"""Creates the backend of a training run on a device."""


class CpuBackend:
    """Runs compiled steps in place, in the arrays of the network and of the optimizer."""

    def __init__(self, setup: TrainingSetup, threads: MatmulThreads | None = None) -> None:
        """Allocate the buffers.

        Args:
            setup: The network, data and settings.
            threads: Threads that share the products; None if these are too small.
        """
        self._sharing = None if threads is None else SharingPolicy(threads)
        self._network, self._layout, self._optimization = setup.network, setup.layout, setup.optimization
        architecture = setup.network.architecture
        self._gradient: Vector = array_views.staggered_zeros(architecture.parameters, architecture.dtype, 1)
        self._buffers = architecture.allocate_buffers(setup.batch_size)
        self._training, self._order = setup.training
        self._validation = setup.validation

    @property
    def _model(self) -> tuple[Any, Any]:
        return self._network.parameters, self._network.statistics

    def begin_epoch(self, order: RowIndices, optimization: Optimization) -> None:
        """Set the row order, learning rates and settings of the next epoch."""
        self._order, self._optimization = order, optimization

    def train(self, first: int, last: int) -> None:
        """Train on rows order[first:last], adding to the metric sums."""
        if self._sharing is None:
            self._train_steps(first, last)
        else:
            self._sharing.train(first, last, self._buffers.rows, self._train_steps)

    def _train_steps(self, first: int, last: int) -> None:
        train_steps(
            *self._model,
            self._gradient,
            self._optimization,
            self._layout,
            self._buffers,
            self._training,
            self._order,
            first,
            last,
        )

    def evaluate(self, first: int, last: int) -> None:
        """Evaluate validation rows first to last, adding to the metric sums."""
        assert self._validation is not None
        examples, rows = self._validation
        evaluate_rows(*self._model, self._layout, self._buffers, examples, rows, first, last)

    def throttle(self) -> None:
        """Do nothing: steps are complete when `train` or `evaluate` returns."""

    def read_metric_sums(self) -> Float64Array:
        """Return a copy of the metric sums."""
        return self._buffers.metric_sums.copy()

    def write_metric_sums(self, metric_sums: npt.ArrayLike) -> None:
        """Set the values that the next sums are added to."""
        self._buffers.metric_sums[:] = metric_sums

    def running_cost(self) -> float:
        """Return the sum of the costs so far."""
        return float(self._buffers.metric_sums[COST])

    def gradient(self) -> Vector:
        """Return the gradient of the last step (parameters)."""
        return self._gradient

    def penalty(self) -> float:
        """Return the l1 and l2 penalties of the current parameters, which are part of the cost."""
        sums = np.zeros_like(self._buffers.metric_sums)
        optimization = self._optimization
        add_penalty(self._network.parameters, self._gradient, self._layout, sums, optimization.l1, optimization.l2)
        return float(sums[COST])

    def sync_to_host(self) -> None:
        """Do nothing: training works in the host's arrays."""

    def sync_to_device(self) -> None:
        """Do nothing: training works in the host's arrays."""
