"""The protocol between a trainer and the device it trains on, and its implementation for the CPU."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nabla.engine.nn import array_views
from nabla.engine.nn.compiled_step import CompiledStep, run_compiled
from nabla.engine.nn.layout import COST, NEXT_START, NetworkLayout
from nabla.engine.nn.matmul_threads import MatmulThreads, SharingPolicy
from nabla.engine.nn.network import Network
from nabla.engine.nn.regularization import penalize
from nabla.engine.nn.training_step import Examples, Optimization, StepArrays, StepVariant, trace_step
from nabla.engine.typing import Float64Array, RowIndices, Vector


class TrainingBackend(Protocol):
    """Runs the steps of a training run, and owns its buffers.

    Steps update the network and the optimizer's moments and state. The host's arrays of these are current after
    `sync_to_host`; changes to them take effect with `sync_to_device`.
    """

    def compile(self) -> None:
        """Compile or load the kernels of all steps of the run, so that its first epoch does not wait for them."""

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
    layout: NetworkLayout
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
        self._steps: dict[StepVariant, CompiledStep] = {}

    def compile(self) -> None:
        """Compile or load the kernels of all steps of the run."""
        training = self._training_variant
        variants = [training._replace(tracks_gradient_norm=True)]
        if self._validation is not None:
            variants.append(StepVariant(self._buffers.rows, trains=False))
        for variant in variants:
            self._compile_step(variant)

    @property
    def _training_variant(self) -> StepVariant:
        return StepVariant(self._buffers.rows, True, False, self._optimization.l1, self._optimization.l2)

    def begin_epoch(self, order: RowIndices, optimization: Optimization) -> None:
        """Set the row order, learning rates and settings of the next epoch."""
        if order is not self._order:
            self._steps.clear()
        self._order, self._optimization = order, optimization

    def train(self, first: int, last: int) -> None:
        """Train on rows order[first:last], adding to the metric sums."""
        if self._sharing is None:
            self._train_steps(first, last)
        else:
            self._sharing.train(first, last, self._buffers.rows, self._train_steps)

    def _train_steps(self, first: int, last: int) -> None:
        self._run(first, last, len(self._order), self._training_variant)

    def evaluate(self, first: int, last: int) -> None:
        """Evaluate validation rows first to last, adding to the metric sums."""
        assert self._validation is not None
        self._run(first, last, len(self._validation[1]), StepVariant(self._buffers.rows, trains=False))

    def _run(self, first: int, last: int, rows: int, variant: StepVariant) -> None:
        """Run the steps on rows first to last of `rows`; the last step of all rows is a variant of its own."""
        self._buffers.cursor[NEXT_START] = first
        batch_size = self._buffers.rows
        full_steps = (last - first) // batch_size if last < rows else (last - first - 1) // batch_size
        if full_steps:
            self._step(variant).run(full_steps)
        if (remaining := last - first - full_steps * batch_size) > 0:
            self._step(variant._replace(rows=remaining, tracks_gradient_norm=variant.trains)).run()

    def _step(self, variant: StepVariant) -> CompiledStep:
        if variant not in self._steps:
            self._steps[variant] = self._compile_step(variant)
        return self._steps[variant]

    def _compile_step(self, variant: StepVariant) -> CompiledStep:
        network = self._network
        arrays = StepArrays(network.parameters, network.statistics, self._gradient, self._optimization, self._buffers)
        examples, order = self._training, self._order
        if not variant.trains:
            assert self._validation is not None
            examples, order = self._validation
        return CompiledStep(trace_step(variant, arrays, self._layout, examples, order))

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
        l1, l2 = self._optimization.l1, self._optimization.l2
        run_compiled(penalize, self._network.parameters, self._gradient, self._layout.layers, sums, l1, l2, 1)
        return float(sums[COST])

    def sync_to_host(self) -> None:
        """Do nothing: training works in the host's arrays."""

    def sync_to_device(self) -> None:
        """Do nothing: training works in the host's arrays."""
