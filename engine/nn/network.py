"""A network: an architecture and its parameters, with layers as views into one flat vector."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DtypeName
from nabla.engine.nn import array_views
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.compiled_step import CompiledStep, run_compiled
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.layout import COST
from nabla.engine.nn.matmul import ROW_TILE
from nabla.engine.nn.tracing import StepTrace
from nabla.engine.nn.training_step import cost_step, predict_step
from nabla.engine.typing import Float64Array, Matrix, Vector

# Rows per batch, multiples of ROW_TILE. The larger one reads weights rarely and keeps activations in the cache.
_SMALL_BATCH, _LARGE_BATCH = 32, 256
# Larger buffers are freed after each prediction.
_MAX_KEPT_BYTES = 4 * 2**20


class Network:
    """An architecture with its parameters.

    Attributes:
        architecture: The architecture.
        parameters: One flat vector: for each layer W (units, inputs) in row-major order, then b (units), then with
            batch normalization γ (units).
        statistics: For each layer with batch normalization its running means (units) and variances (units).
    """

    def __init__(
        self, architecture: Architecture, parameters: Vector | None = None, statistics: Vector | None = None
    ) -> None:
        """Create a network.

        Args:
            architecture: The architecture.
            parameters: Used without a copy; by default drawn from the architecture's seed and initializer.
            statistics: Used without a copy; by default mean 0 and variance 1.

        Raises:
            InvalidInput: A vector does not have the architecture's length and dtype.
        """
        self.architecture = architecture
        self._layout = architecture.layout()
        self._batches: dict[int, list[_PredictionBatch]] = {_SMALL_BATCH: [], _LARGE_BATCH: []}
        if parameters is None:
            self.parameters: Vector = array_views.staggered_zeros(architecture.parameters, architecture.dtype, 0)
            self._initialize()
        else:
            self.parameters = _validate_vector(parameters, architecture.parameters, architecture.dtype, "parameters")
        if statistics is None:
            self.statistics: Vector = np.empty(2 * architecture.batch_norm_units, architecture.dtype)
            for _, means, variances in self.normalizations.values():
                means[:], variances[:] = 0, 1
        else:
            self.statistics = _validate_vector(
                statistics, 2 * architecture.batch_norm_units, architecture.dtype, "statistics"
            )

    @classmethod
    def blank(cls, architecture: Architecture) -> "Network":
        """Create a network with parameters of 0, to be overwritten with stored ones."""
        return cls(architecture, array_views.staggered_zeros(architecture.parameters, architecture.dtype, 0))

    def _initialize(self) -> None:
        initializer = INITIALIZERS[self.architecture.initializer]
        self.parameters[:] = 1  # scales γ of batch normalization start at 1
        for index, (w, b) in enumerate(self.layers):
            initializer.initialize(w, b, self.architecture.seed, index)

    @property
    def layers(self) -> list[tuple[Matrix, Vector]]:
        """(W, b) of each layer: views of shape (units, inputs) and (units) into `parameters`."""
        return [
            (
                self.parameters[layer.weights_offset : layer.biases_offset].reshape(layer.units, layer.inputs),
                self.parameters[layer.biases_offset : layer.biases_offset + layer.units],
            )
            for layer in self._layout.layers
        ]

    @property
    def normalizations(self) -> dict[int, tuple[Vector, Vector, Vector]]:
        """(γ, means, variances) of each layer with batch normalization, by layer index: views of shape (units)."""
        views = {}
        for index, layer in enumerate(self._layout.layers):
            if layer.gamma_offset is not None and layer.statistics_offset is not None:
                first, middle = 2 * layer.statistics_offset, 2 * layer.statistics_offset + layer.units
                means, variances = self.statistics[first:middle], self.statistics[middle : middle + layer.units]
                views[index] = (
                    self.parameters[layer.gamma_offset : layer.gamma_offset + layer.units],
                    means,
                    variances,
                )
        return views

    def predict(self, x: npt.ArrayLike) -> Matrix:
        """Return the outputs (rows, outputs) for inputs x (rows, inputs).

        The outputs of a row do not depend on the other rows, not even in the last bit. Thread-safe.

        Raises:
            InvalidInput: x does not have the network's number of inputs, or holds NaN, infinity or numbers beyond the
                network's dtype.
        """
        with np.errstate(over="ignore"):  # checked below
            rows = np.ascontiguousarray(x, self.architecture.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.architecture.inputs:
            raise InvalidInput(
                "inputs", f"Expected rows of {self.architecture.inputs} numbers, got an array of shape {rows.shape}."
            )
        if not np.isfinite(rows).all():
            raise InvalidInput("inputs", f"A value is NaN, infinite or too large for {self.architecture.dtype}.")
        return self.outputs(rows)

    def outputs(self, x: Matrix) -> Matrix:
        """Return the outputs for a finite x of the network's dtype, without checking it."""
        out = np.empty((len(x), self.architecture.outputs), self.architecture.dtype)
        rows = _SMALL_BATCH if len(x) <= _SMALL_BATCH else _LARGE_BATCH
        try:
            batch = self._batches[rows].pop()
        except IndexError:  # none yet, or all in use by other threads
            batch = _PredictionBatch(self, rows)
        for first in range(0, len(x), rows):
            batch.predict(x[first : first + rows], out[first : first + rows])
        if batch.nbytes <= _MAX_KEPT_BYTES:  # allocating takes as long as computing the outputs of a small network
            self._batches[rows].append(batch)
        return out

    @property
    def is_compiled(self) -> bool:
        """Whether outputs have been computed before, so that no kernel has to be compiled for the next ones."""
        return any(self._batches.values())

    def compile(self) -> None:
        """Compile or load the kernels for predictions and costs, without running them."""
        _PredictionBatch(self, _SMALL_BATCH).compile(_SMALL_BATCH)
        dtype, outputs = self.architecture.dtype, self.architecture.outputs
        matrix, vector, rows = np.empty((1, outputs), dtype), np.empty(1), np.empty(2, np.int64)
        trace = StepTrace()
        cost_step(self._layout, *trace.arrays((matrix, matrix, vector, rows, rows, vector)))
        CompiledStep(trace)

    def sum_costs(self, outputs: Matrix, targets: Matrix, weights: Float64Array | None = None) -> float:
        """Return the weighted sum of the costs of all rows, without penalties.

        Args:
            outputs: Outputs of the network, shape (rows, outputs).
            targets: Targets in the network's dtype, of the same shape.
            weights: Weights of the rows; None if all are 1.
        """
        if weights is None:
            weights = np.ones(len(outputs))
        elif not weights.all():  # an infinite cost times 0 is not a number
            outputs, targets, weights = outputs[weights > 0], targets[weights > 0], weights[weights > 0]
        # The step smooths the targets in place.
        arrays = (np.ascontiguousarray(outputs), np.array(targets, order="C"), weights, np.arange(len(outputs)))
        cursor, sums = np.zeros(2, np.int64), np.zeros(1)
        run_compiled(cost_step, self._layout, *arrays, cursor, sums)
        return float(sums[COST])


class _PredictionBatch:
    """Buffers for up to `rows` rows of predictions, and the steps that work in them, by number of rows."""

    def __init__(self, network: Network, rows: int) -> None:
        self.rows = rows
        self._parameters, self._statistics = network.parameters, network.statistics
        self._layout = network.architecture.layout()
        self._buffers = network.architecture.allocate_buffers(rows)
        self.nbytes = self._buffers.activations.nbytes
        first, last = self._layout.layers[0], self._layout.layers[-1]
        self._inputs = array_views.matrix_view(self._buffers.activations, 0, rows, first.inputs)
        outputs_offset = last.outputs_offset * rows
        self._outputs = array_views.matrix_view(self._buffers.activations, outputs_offset, rows, last.units)
        self._steps: dict[int, CompiledStep] = {}

    def predict(self, x: Matrix, out: Matrix) -> None:
        """Set `out` to the outputs for at most `rows` rows x."""
        m = len(x)
        # Rows beyond the last one pad the batch to a multiple of ROW_TILE; their outputs are discarded.
        padded = -(-m // ROW_TILE) * ROW_TILE
        self._inputs[:m] = x
        self._inputs[m:padded] = 0.0
        if padded not in self._steps:
            self._steps[padded] = self.compile(padded)
        self._steps[padded].run()
        out[:] = self._outputs[:m]

    def compile(self, rows: int) -> CompiledStep:
        """Compile or load the kernels of the step for a number of rows."""
        trace = StepTrace()
        parameters, statistics = trace.array(self._parameters), trace.array(self._statistics)
        buffers: Any = trace.arrays(self._buffers)
        predict_step(parameters, statistics, self._layout, buffers, rows)
        return CompiledStep(trace)


def _validate_vector(vector: Vector, length: int, dtype: DtypeName, field: str) -> Vector:
    if vector.shape != (length,) or vector.dtype != dtype:
        raise InvalidInput(field, f"Expected {length} {dtype} numbers, got {vector.dtype}, shape {vector.shape}.")
    return vector
