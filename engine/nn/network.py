"""A network: its architecture, and its layers as views into one flat parameter vector."""

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DtypeName
from nabla.engine.nn import array_views
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.array_views import Matrix, Vector
from nabla.engine.nn.compiled_layout import (
    BIASES_AT,
    INPUTS,
    NONE,
    SCALES_AT,
    STATISTICS_AT,
    UNITS,
    WEIGHTS_AT,
    Buffers,
)
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.training_step import predict_rows


class Network:
    """An architecture with its parameters.

    `parameters` is one flat vector: for each layer W (units, inputs) row by row, then b (units), then with batch
    normalization γ (units). `statistics` has for each layer with batch normalization its running means (units) and
    variances (units).
    """

    def __init__(
        self, architecture: Architecture, parameters: Vector | None = None, statistics: Vector | None = None
    ) -> None:
        """Take over `parameters`, or draw the start that the architecture's seed and initializer determine; take over
        `statistics`, or begin with mean 0 and variance 1.

        Raises InvalidInput if one of them is not a vector of the architecture's length and dtype.
        """
        self.architecture = architecture
        self._plan = architecture.plan()
        self._rooms: list[Buffers] = []
        if parameters is None:
            self.parameters: Vector = array_views.zeros(architecture.parameters, architecture.dtype, 0)
            self._draw()
        else:
            self.parameters = _fitting(parameters, architecture.parameters, architecture.dtype, "parameters")
        if statistics is None:
            self.statistics: Vector = np.empty(2 * architecture.normalized, architecture.dtype)
            for _, means, variances in self.normalizations.values():
                means[:], variances[:] = 0, 1
        else:
            self.statistics = _fitting(statistics, 2 * architecture.normalized, architecture.dtype, "statistics")

    @classmethod
    def blank(cls, architecture: Architecture) -> "Network":
        """With parameters that are yet to be written."""
        return cls(architecture, array_views.zeros(architecture.parameters, architecture.dtype, 0))

    def _draw(self) -> None:
        initializer = INITIALIZERS[self.architecture.initializer]
        self.parameters[:] = 1  # the scales
        for index, (w, b) in enumerate(self.layers):
            initializer.fill(w, b, self.architecture.seed, index)

    @property
    def layers(self) -> list[tuple[Matrix, Vector]]:
        """(W, b) of each layer: views of shape (units, inputs) and (units) into `parameters`."""
        views = []
        for row in self._plan.layers:
            inputs, units, at, b_at = row[INPUTS], row[UNITS], row[WEIGHTS_AT], row[BIASES_AT]
            views.append((self.parameters[at:b_at].reshape(units, inputs), self.parameters[b_at : b_at + units]))
        return views

    @property
    def normalizations(self) -> dict[int, tuple[Vector, Vector, Vector]]:
        """(γ, means, variances) of each layer with batch normalization, by the layer's number: views of shape
        (units)."""
        views = {}
        for index, row in enumerate(self._plan.layers):
            units, scales_at, at = row[UNITS], row[SCALES_AT], 2 * row[STATISTICS_AT]
            if scales_at != NONE:
                means, variances = self.statistics[at : at + units], self.statistics[at + units : at + 2 * units]
                views[index] = (self.parameters[scales_at : scales_at + units], means, variances)
        return views

    def predict(self, x: npt.ArrayLike) -> Matrix:
        """The outputs (rows, outputs) for inputs x (rows, inputs). Those of a row are the same bits whatever rows are
        beside it. May be called from several threads at once."""
        with np.errstate(over="ignore"):  # seen below
            rows = np.ascontiguousarray(x, self.architecture.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.architecture.inputs:
            raise InvalidInput(
                "inputs", f"Expected rows of {self.architecture.inputs} numbers, got shape {rows.shape}."
            )
        if not np.isfinite(rows).all():
            raise InvalidInput("inputs", f"A number is too large for {self.architecture.dtype}, or is none.")
        return self.outputs(rows)

    def outputs(self, x: Matrix) -> Matrix:
        """The same for rows that are of the right type, finite, and lie one after the other."""
        rows = x.view()
        rows.flags.writeable = False  # compiled code is made for read-only inputs
        out = np.empty((len(rows), self.architecture.outputs), self.architecture.dtype)
        buffers = self._room_for(len(rows))
        predict_rows(self.parameters, self.statistics, self._plan, buffers, rows, out)
        if buffers.rows == _FEW:
            self._rooms.append(buffers)
        return out

    def _room_for(self, rows: int) -> Buffers:
        """Room for few rows is kept for the next ones: making it takes as long as a small network's outputs."""
        if rows > _FEW:
            return self.architecture.buffers(_PREDICTED_AT_ONCE)
        try:
            return self._rooms.pop()
        except IndexError:  # the first time, or all are in use by other threads
            return self.architecture.buffers(_FEW)


def _fitting(vector: Vector, length: int, dtype: DtypeName, field: str) -> Vector:
    if vector.shape != (length,) or vector.dtype != dtype:
        raise InvalidInput(field, f"Expected {length} numbers of {dtype}, got {vector.dtype} of shape {vector.shape}.")
    return vector


# Multiples of ROWS_ALIKE. Of many rows so many at once that weights are read seldom, and activations stay in cache.
_FEW, _PREDICTED_AT_ONCE = 32, 256
