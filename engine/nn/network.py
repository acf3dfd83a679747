"""A network: its architecture, and its layers as views into one flat parameter vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidInput
from engine.nn.activations import ACTIVATIONS, ActivationName, Matrix, Vector
from engine.nn.backprop import Buffers, Plan, predict_rows
from engine.nn.costs import COSTS, CostName
from engine.nn.dispatch import code_of
from engine.nn.initializers import INITIALIZERS, InitializerName

DtypeName = Literal["float32", "float64"]
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Layer:
    """A dense layer: a = σ(W a₋₁ + b) with `units` outputs."""

    units: int
    activation: ActivationName


@dataclass(frozen=True)
class Architecture:
    """All that determines a network before training. Raises InvalidInput, naming the field, if it cannot be."""

    inputs: int
    layers: tuple[Layer, ...]
    cost: CostName
    initializer: InitializerName = "glorot_uniform"
    seed: int = 0
    dtype: DtypeName = "float32"
    label_smoothing: float = 0.0
    huber_delta: float = 1.0

    def __post_init__(self) -> None:
        if self.inputs < 1:
            raise InvalidInput("inputs", "A network has at least 1 input.")
        if not self.layers:
            raise InvalidInput("layers", "A network has at least 1 layer.")
        for position, layer in enumerate(self.layers):
            if layer.units < 1:
                raise InvalidInput(f"layers.{position}.units", "A layer has at least 1 unit.")
            _known(layer.activation, ACTIVATIONS, f"layers.{position}.activation")
        _known(self.cost, COSTS, "cost")
        _known(self.initializer, INITIALIZERS, "initializer")
        _known(self.dtype, get_args(DtypeName), "dtype")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInput("seed", f"A seed is a whole number from 0 to {LARGEST_SEED}.")
        if not 0 <= self.label_smoothing < 1:
            raise InvalidInput("label_smoothing", "Label smoothing is at least 0 and below 1.")
        if self.label_smoothing and self.cost != "categorical_cross_entropy":
            raise InvalidInput("label_smoothing", "Label smoothing goes with the cost categorical_cross_entropy.")
        if not 0 < self.huber_delta < float("inf"):
            raise InvalidInput("huber_delta", "The δ of the cost huber is a finite number above 0.")
        accepted = COSTS[self.cost].outputs
        if self.layers[-1].activation not in accepted:
            raise InvalidInput(
                f"layers.{len(self.layers) - 1}.activation",
                f"The cost {self.cost} needs {' or '.join(accepted)} in the last layer: it takes logarithms of the "
                f"outputs. For {self.layers[-1].activation} outputs use quadratic, mean_absolute or huber.",
            )
        if self.layers[-1].activation == "softmax" and self.outputs == 1:
            raise InvalidInput(
                f"layers.{len(self.layers) - 1}.activation",
                "Softmax over a single output is always 1; use sigmoid, or at least 2 units.",
            )

    @property
    def outputs(self) -> int:
        return self.layers[-1].units

    @property
    def parameters(self) -> int:
        """How many weights and biases there are."""
        return sum((inputs + 1) * units for inputs, units in self.shapes)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(inputs, units) of each layer."""
        units = [layer.units for layer in self.layers]
        return list(zip([self.inputs, *units[:-1]], units, strict=True))

    def plan(self, *, classify: bool = False) -> Plan:
        """The architecture as compiled code reads it."""
        rows = []
        at, kept, delta_at = 0, self.inputs, 0
        for (inputs, units), layer in zip(self.shapes, self.layers, strict=True):
            output_at = kept + units * ACTIVATIONS[layer.activation].keeps_input
            code = code_of(layer.activation, ACTIVATIONS)
            rows.append((inputs, units, code, at, at + units * inputs, kept, output_at, delta_at))
            at += units * (inputs + 1)
            kept = output_at + units
            delta_at += units
        return Plan(
            layers=np.array(rows, np.int64),
            cost=code_of(self.cost, COSTS),
            cost_setting=self.huber_delta,
            cost_to_input=COSTS[self.cost].to_input,
            label_smoothing=self.label_smoothing,
            classify=classify,
        )

    def buffers(self, rows: int) -> Buffers:
        """Room to work out `rows` rows at a time."""
        units = sum(layer.units for layer in self.layers)
        sums = sum(layer.units for layer in self.layers if ACTIVATIONS[layer.activation].keeps_input)
        return Buffers(
            rows=rows,
            activations=np.zeros(rows * (self.inputs + units + sums), self.dtype),
            deltas=np.zeros(rows * units, self.dtype),
            totals=np.zeros(2, np.float64),
        )


def _known(name: str, table: Iterable[str], field: str) -> None:
    if name not in table:
        raise InvalidInput(field, f"Unknown: {name!r}. Accepted: {', '.join(table)}.")


class Network:
    """An architecture with its parameters.

    `parameters` is one flat vector: for each layer W (units, inputs) row by row, then b (units).
    """

    def __init__(self, architecture: Architecture, parameters: Vector | None = None) -> None:
        """Take over `parameters`, or draw the start that the architecture's seed and initializer determine.

        Raises InvalidInput if `parameters` is not a vector of the architecture's length and dtype.
        """
        self.architecture = architecture
        if parameters is None:
            parameters = np.empty(architecture.parameters, architecture.dtype)
            self.parameters: Vector = parameters
            self._draw()
        elif parameters.shape != (architecture.parameters,) or parameters.dtype != architecture.dtype:
            raise InvalidInput(
                "parameters",
                f"Expected {architecture.parameters} numbers of {architecture.dtype}, "
                f"got {parameters.dtype} of shape {parameters.shape}.",
            )
        else:
            self.parameters = parameters

    def _draw(self) -> None:
        initializer = INITIALIZERS[self.architecture.initializer]
        for index, (w, b) in enumerate(self.layers):
            initializer.fill(w, b, self.architecture.seed, index)

    @property
    def layers(self) -> list[tuple[Matrix, Vector]]:
        """(W, b) of each layer: views of shape (units, inputs) and (units) into `parameters`."""
        views = []
        at = 0
        for inputs, units in self.architecture.shapes:
            w = self.parameters[at : at + units * inputs].reshape(units, inputs)
            b = self.parameters[at + units * inputs : at + units * (inputs + 1)]
            views.append((w, b))
            at += units * (inputs + 1)
        return views

    def predict(self, x: npt.ArrayLike) -> Matrix:
        """The outputs (rows, outputs) for inputs x (rows, inputs)."""
        with np.errstate(over="ignore"):  # seen below
            rows = np.ascontiguousarray(x, self.architecture.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.architecture.inputs:
            raise InvalidInput(
                "inputs", f"Expected rows of {self.architecture.inputs} numbers, got shape {rows.shape}."
            )
        if not np.isfinite(rows).all():
            raise InvalidInput("inputs", f"A number is too large for {self.architecture.dtype}, or is none.")
        rows = rows.view()
        rows.flags.writeable = False  # compiled code is made for read-only inputs
        out = np.empty((len(rows), self.architecture.outputs), self.architecture.dtype)
        buffers = self.architecture.buffers(max(1, min(len(rows), _PREDICTED_AT_ONCE)))
        predict_rows(self.parameters, self.architecture.plan(), buffers, rows, out)
        return out


# Enough rows for BLAS to be efficient, few enough for the activations to stay in cache.
_PREDICTED_AT_ONCE = 256
