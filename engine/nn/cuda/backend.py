"""The training backend for CUDA.

All arrays are in device memory and allocated once. A step is traced once, and nothing in it depends on a value that the
host would have to wait for. The host synchronizes with the device to read an epoch's metric sums and to save the run;
in between it only limits how far it runs ahead, so that the run can be paused.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import Precision
from nabla.engine.nn.backend import TrainingSetup
from nabla.engine.nn.cuda.data_transfer import CHUNK_BYTES, DataSource, DeviceDataset, StreamedDataset, device_bytes
from nabla.engine.nn.cuda.launcher import CompiledStep, Launcher
from nabla.engine.nn.layout import COST, Buffers
from nabla.engine.nn.regularization import penalize
from nabla.engine.nn.tracing import StepTrace
from nabla.engine.nn.training_step import Examples, Optimization, StepArrays, StepVariant, trace_step
from nabla.engine.typing import Float64Array, RowIndices, Vector

# Fraction of the free memory, once the buffers are allocated, that data may take.
_DATA_MEMORY_FRACTION = 0.8


class CudaBackend:
    """Trains with generated kernels and cuBLAS, and small networks with one kernel that runs many steps."""

    def __init__(
        self,
        setup: TrainingSetup,
        *,
        cupy: Any,
        precision: Precision = "full",
        max_data_bytes: int | None = None,
        single_block: bool | None = None,
    ) -> None:
        """Allocate the run on the current device.

        Args:
            setup: The network, its layout and the data.
            cupy: The CuPy module.
            precision: Precision of the matrix products.
            max_data_bytes: Limit of the device memory for data; data beyond it is streamed in chunks. By default most
                of the free memory.
            single_block: Whether one kernel of one block runs whole steps. By default it does for small networks.

        Raises:
            MemoryError: The device has too little memory (CuPy's OutOfMemoryError).
        """
        self._cupy = cupy
        self._network, self._layout, self._optimization = setup.network, setup.layout, setup.optimization
        self._batch_size = batch_size = setup.batch_size
        architecture = setup.network.architecture
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self._launcher = Launcher(cupy, architecture, batch_size, precision, single_block)
            self._state = [cupy.empty(array.shape, array.dtype) for array in self._host_state]
            self._gradient = cupy.zeros(architecture.parameters, architecture.dtype)
            sizes = architecture.buffer_sizes(batch_size)
            self._buffers: Any = Buffers(batch_size, *(cupy.zeros(size, dtype) for size, dtype in sizes))
            self._settings = cupy.zeros(setup.optimization.settings.shape, np.float64)
            self._rates = cupy.zeros(setup.optimization.rates.shape, np.float64)
            self._penalties = cupy.zeros(self._buffers.metric_sums.shape, np.float64)
            if max_data_bytes is None:
                max_data_bytes = int(cupy.cuda.runtime.memGetInfo()[0] * _DATA_MEMORY_FRACTION)
            self._data_bytes_left = max_data_bytes
            self._training = self._place_data(*setup.training)
            self._validation = self._place_data(*setup.validation, self._training) if setup.validation else None
            self.sync_to_device()
            self.stream.synchronize()
        self._compiled: dict[StepVariant, CompiledStep] = {}
        self._next_row = -1
        self._cursor = np.zeros(2, np.int64)
        self._launch_events = [cupy.cuda.Event(block=True, disable_timing=True) for _ in range(2)]

    @property
    def _host_state(self) -> list[npt.NDArray[Any]]:
        network, optimization = self._network, self._optimization
        return [network.parameters, network.statistics, optimization.moments, optimization.optimizer_state]

    def _place_data(self, examples: Examples, rows: RowIndices, other: DataSource | None = None) -> DataSource:
        """Upload all rows if they fit, else allocate two chunks to stream them; examples of `other` are reused."""
        is_shared = isinstance(other, DeviceDataset) and other.host.x is examples.x
        data_bytes = 8 * len(rows) if is_shared else device_bytes(examples, len(rows))
        if data_bytes <= self._data_bytes_left:
            self._data_bytes_left -= data_bytes
            return DeviceDataset(
                self._cupy, examples, rows, other if isinstance(other, DeviceDataset) and is_shared else None
            )
        self._data_bytes_left -= 8 * len(rows)
        step_bytes = self._batch_size * max(1, device_bytes(examples, 0) // len(examples.x))
        steps = max(1, min(CHUNK_BYTES, self._data_bytes_left // 4) // step_bytes)
        chunk = min(steps, -(-len(rows) // self._batch_size)) * self._batch_size
        self._data_bytes_left -= 2 * chunk * (step_bytes // self._batch_size)
        return StreamedDataset(self._cupy, examples, rows, chunk)

    def compile(self) -> None:
        """Do nothing: the kernels were compiled when the device was opened."""

    def begin_epoch(self, order: RowIndices, optimization: Optimization) -> None:
        """Upload order, rates and settings of the next epoch, and trace the steps that have not been traced."""
        self._optimization = optimization
        with self.stream:
            self._training.begin(order)
            if self._settings.size:
                self._settings.set(optimization.settings)
            self._rates.set(optimization.rates)
            for variant in self._variants(self._training, trains=True):
                self._ensure_compiled(variant, self._training)
            if self._validation is not None:
                for variant in self._variants(self._validation, trains=False):
                    self._ensure_compiled(variant, self._validation)
            # The host may overwrite the source arrays as soon as this returns.
            self.stream.synchronize()

    def _variants(self, source: DataSource, *, trains: bool) -> set[StepVariant]:
        """Return the variants of all steps on these rows: of full steps and of the last one."""
        last = (source.rows - 1) // self._batch_size * self._batch_size
        return {
            self._variant(source, first, slot, trains=trains)
            for slot in range(len(source.slots))
            for first in (0, last)
        }

    def _variant(self, source: DataSource, first: int, slot: int, *, trains: bool) -> StepVariant:
        """Return the variant of the step that begins at position `first` of the order."""
        remaining = source.rows - first
        rows = min(remaining, self._batch_size)
        if not trains:
            return StepVariant(rows, trains=False, slot=slot)
        is_last = remaining <= self._batch_size
        return StepVariant(rows, True, is_last, self._optimization.l1, self._optimization.l2, slot)

    def _ensure_compiled(self, variant: StepVariant, source: DataSource) -> None:
        if variant not in self._compiled:
            self._compiled[variant] = self._launcher.compile(self._trace_step(variant, source))

    def _trace_step(self, variant: StepVariant, source: DataSource) -> StepTrace:
        parameters, statistics, moments, optimizer_state = self._state
        optimization = self._optimization._replace(
            settings=self._settings, moments=moments, optimizer_state=optimizer_state, rates=self._rates
        )
        arrays = StepArrays(parameters, statistics, self._gradient, optimization, self._buffers)
        slot = source.slots[variant.slot]
        return trace_step(variant, arrays, self._layout, Examples(*slot.examples), slot.order)

    def train(self, first: int, last: int) -> None:
        """Launch the steps on rows order[first:last]."""
        self._run(self._training, first, last, trains=True)

    def evaluate(self, first: int, last: int) -> None:
        """Launch the evaluation of validation rows first to last."""
        assert self._validation is not None
        self._run(self._validation, first, last, trains=False)

    def _run(self, source: DataSource, first: int, last: int, *, trains: bool) -> None:
        batch = self._batch_size
        with self.stream:
            self._move_cursor(first)
            for start, end, slot in source.chunks(first, last):
                # The last step of an epoch is a variant of its own.
                full_steps = (end - start) // batch if end < source.rows else (end - start - 1) // batch
                if full_steps:
                    variant = self._variant(source, start, slot, trains=trains)
                    self._launcher.run(self._compiled[variant], full_steps)
                if start + full_steps * batch < end:
                    variant = self._variant(source, start + full_steps * batch, slot, trains=trains)
                    self._launcher.run(self._compiled[variant], 1)
                source.release(slot)
        self._next_row = last

    def _move_cursor(self, first: int) -> None:
        """Set the device's cursor if a pass begins or is resumed; otherwise it is there already."""
        if first == 0:
            self._buffers.cursor.fill(0)
        elif first != self._next_row:
            self._cursor = np.array([first, first], np.int64)  # kept alive until the copy is done
            self._buffers.cursor.set(self._cursor)

    def throttle(self) -> None:
        """Wait for the steps that were launched before the previous call of this method."""
        self._launch_events.reverse()
        with self.stream:
            self._launch_events[0].record(self.stream)
        self._launch_events[1].synchronize()

    def read_metric_sums(self) -> Float64Array:
        """Wait for all steps; return the sums over all rows since `write_metric_sums`."""
        metric_sums: Float64Array = self._buffers.metric_sums.get(stream=self.stream)
        return metric_sums

    def write_metric_sums(self, metric_sums: npt.ArrayLike) -> None:
        """Set the values that the next sums are added to."""
        values = np.zeros(self._buffers.metric_sums.shape)
        values[:] = metric_sums
        with self.stream:
            if values.any():
                self._buffers.metric_sums.set(values)
                self.stream.synchronize()
            else:
                self._buffers.metric_sums.fill(0)

    def running_cost(self) -> None:
        """Return None: the cost is not known without waiting for the device."""

    def gradient(self) -> Vector:
        """Wait for the last step; return its gradient (parameters)."""
        gradient: Vector = self._gradient.get(stream=self.stream)
        return gradient

    def penalty(self) -> float:
        """Return the l1 and l2 penalties of the current parameters, which are part of the cost."""
        trace = StepTrace()
        parameters, gradient, metric_sums = map(trace.array, (self._state[0], self._gradient, self._penalties))
        l1, l2 = self._optimization.l1, self._optimization.l2
        penalize(parameters, gradient, self._layout.layers, metric_sums, l1, l2, 1)
        with self.stream:
            self._penalties.fill(0)
            self._launcher.run(self._launcher.compile(trace), 1)
        return float(self._penalties.get(stream=self.stream)[COST])

    def sync_to_host(self) -> None:
        """Copy parameters, statistics, moments and optimizer state to the host's arrays."""
        for host, device in zip(self._host_state, self._state, strict=True):
            if host.size:
                device.get(stream=self.stream, out=host)

    def sync_to_device(self) -> None:
        """Copy the host's arrays to the device."""
        with self.stream:
            for host, device in zip(self._host_state, self._state, strict=True):
                if host.size:
                    device.set(host)
