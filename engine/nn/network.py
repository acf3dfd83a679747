"""A network: an architecture and its parameters, with layers as views into one flat vector."""

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DtypeName
from nabla.engine.nn import array_views
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.compiled_layout import (
    BIASES_OFFSET,
    GAMMA_OFFSET,
    INPUTS,
    NO_OFFSET,
    STATISTICS_OFFSET,
    UNITS,
    WEIGHTS_OFFSET,
    Buffers,
)
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.training_step import predict_rows
from nabla.engine.typing import Matrix, Vector


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
        self._layout = architecture.compiled_layout()
        self._buffer_pool: list[Buffers] = []
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
        views = []
        for row in self._layout.layers:
            inputs, units, w_offset, b_offset = row[INPUTS], row[UNITS], row[WEIGHTS_OFFSET], row[BIASES_OFFSET]
            views.append(
                (
                    self.parameters[w_offset:b_offset].reshape(units, inputs),
                    self.parameters[b_offset : b_offset + units],
                )
            )
        return views

    @property
    def normalizations(self) -> dict[int, tuple[Vector, Vector, Vector]]:
        """(γ, means, variances) of each layer with batch normalization, by layer index: views of shape (units)."""
        views = {}
        for index, row in enumerate(self._layout.layers):
            units, gamma_offset, offset = row[UNITS], row[GAMMA_OFFSET], 2 * row[STATISTICS_OFFSET]
            if gamma_offset != NO_OFFSET:
                means = self.statistics[offset : offset + units]
                variances = self.statistics[offset + units : offset + 2 * units]
                views[index] = (self.parameters[gamma_offset : gamma_offset + units], means, variances)
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
        """Return the outputs for a contiguous, finite x of the network's dtype, without checking it."""
        rows = x.view()
        rows.flags.writeable = False  # predict_rows is compiled for read-only inputs
        out = np.empty((len(rows), self.architecture.outputs), self.architecture.dtype)
        buffers = self._acquire_buffers(len(rows))
        predict_rows(self.parameters, self.statistics, self._layout, buffers, rows, out)
        if buffers.rows == _SMALL_BATCH:
            self._buffer_pool.append(buffers)
        return out

    def _acquire_buffers(self, rows: int) -> Buffers:
        """Return buffers for `rows` rows; small ones come from a pool.

        Allocating buffers takes as long as computing the outputs of a small network.
        """
        if rows > _SMALL_BATCH:
            return self.architecture.allocate_buffers(_PREDICTION_BATCH)
        try:
            return self._buffer_pool.pop()
        except IndexError:  # none yet, or all in use by other threads
            return self.architecture.allocate_buffers(_SMALL_BATCH)


def _validate_vector(vector: Vector, length: int, dtype: DtypeName, field: str) -> Vector:
    if vector.shape != (length,) or vector.dtype != dtype:
        raise InvalidInput(field, f"Expected {length} {dtype} numbers, got {vector.dtype}, shape {vector.shape}.")
    return vector


# Rows per batch, multiples of ROW_TILE. The larger one reads weights rarely and keeps activations in the cache.
_SMALL_BATCH, _PREDICTION_BATCH = 32, 256
