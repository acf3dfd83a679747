"""What determines a network before training, and where everything of it lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import LARGEST_SEED, ActivationName, CostName, DtypeName, InitializerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.compiled_layout import ERRORS, NONE, NUMBERS, Buffers, Plan
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.jit import code_of
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.optimizers import COEFFICIENTS


@dataclass(frozen=True)
class Layer:
    """A dense layer: a = σ(W a₋₁ + b) with `units` outputs.

    With `batch_norm`, W a₋₁ is normalized over the mini-batch and scaled by γ before b is added. `dropout` is the share
    of the outputs that is dropped in training before they reach the next layer.
    """

    units: int
    activation: ActivationName
    dropout: float = 0.0
    batch_norm: bool = False


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
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.inputs < 1:
            raise InvalidInput("inputs", "A network has at least 1 input.")
        if not self.layers:
            raise InvalidInput("layers", "A network has at least 1 layer.")
        _check_share(self.input_dropout, "input_dropout")
        for position, layer in enumerate(self.layers):
            if layer.units < 1:
                raise InvalidInput(f"layers.{position}.units", "A layer has at least 1 unit.")
            _known(layer.activation, ACTIVATIONS, f"layers.{position}.activation")
            _check_share(layer.dropout, f"layers.{position}.dropout")
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
        self._check_output()

    def _check_output(self) -> None:
        output, field = self.layers[-1], f"layers.{len(self.layers) - 1}"
        accepted = COSTS[self.cost].outputs
        if output.activation not in accepted:
            raise InvalidInput(
                f"{field}.activation",
                f"The cost {self.cost} needs {' or '.join(accepted)} in the last layer: it takes logarithms of the "
                f"outputs. For {output.activation} outputs use quadratic, mean_absolute or huber.",
            )
        if output.activation == "softmax" and output.units == 1:
            raise InvalidInput(
                f"{field}.activation", "Softmax over a single output is always 1; use sigmoid, or at least 2 units."
            )
        if output.dropout:
            raise InvalidInput(f"{field}.dropout", "The outputs of the last layer are the answer; none are dropped.")

    @property
    def outputs(self) -> int:
        return self.layers[-1].units

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(inputs, units) of each layer."""
        units = [layer.units for layer in self.layers]
        return list(zip([self.inputs, *units[:-1]], units, strict=True))

    @property
    def parameters(self) -> int:
        """How many weights, biases and scales there are."""
        return sum((inputs + 1) * units for inputs, units in self.shapes) + self.normalized

    @property
    def normalized(self) -> int:
        """How many units have batch normalization. Each has a scale γ, and a running mean and variance."""
        return sum(layer.units for layer in self.layers if layer.batch_norm)

    @property
    def drops(self) -> bool:
        """Is anything dropped in training?"""
        return bool(self.input_dropout) or any(layer.dropout for layer in self.layers)

    def plan(self, measure: int = NUMBERS) -> Plan:
        """The architecture as compiled code reads it; `measure` is what to count beside the cost."""
        layout = _Layout(self)
        return Plan(
            layers=np.array(layout.rows, np.int64),
            dropout=np.array([self.input_dropout, *(layer.dropout for layer in self.layers[:-1])]),
            cost=code_of(self.cost, COSTS),
            cost_setting=self.huber_delta,
            cost_to_input=COSTS[self.cost].to_input,
            label_smoothing=self.label_smoothing,
            measure=measure,
        )

    def buffers(self, rows: int) -> Buffers:
        """Room to work out `rows` rows at a time."""
        return Buffers(rows, *(np.zeros(size, dtype) for size, dtype in self.sizes_of_buffers(rows)))

    def sizes_of_buffers(self, rows: int) -> list[tuple[int, npt.DTypeLike]]:
        """How many numbers of which type they hold, in their order."""
        layout, exact = _Layout(self), "float64"
        return [
            (rows * layout.kept, self.dtype),
            (rows * layout.deltas, self.dtype),
            (self.normalized, exact),
            (self.normalized, exact),
            (rows, self.dtype),
            (COEFFICIENTS, exact),
            (1, exact),
            (ERRORS + 2 * self.outputs, exact),
            (2, "int64"),
        ]


class _Layout:
    """Where everything of a layer lies. `rows` are those of `Plan.layers`; `kept` and `deltas` count the numbers that
    the activations and the deltas of one row of a mini-batch take."""

    def __init__(self, architecture: Architecture) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.kept = architecture.inputs
        self.deltas = 0
        parameters, statistics, outputs_before, dropped = 0, 0, 0, 0.0
        for (inputs, units), layer in zip(architecture.shapes, architecture.layers, strict=True):
            weights_at = parameters
            biases_at = weights_at + units * inputs
            parameters = biases_at + units * (2 if layer.batch_norm else 1)
            inputs_at = self._keep(inputs) if dropped else outputs_before
            sums_at = self._keep(units)
            normal_at = sums_at
            if layer.batch_norm:
                sums_at = self._keep(units)
            outputs_before = self._keep(units) if ACTIVATIONS[layer.activation].keeps_input else sums_at
            self.rows.append(
                (
                    inputs,
                    units,
                    code_of(layer.activation, ACTIVATIONS),
                    weights_at,
                    biases_at,
                    biases_at + units if layer.batch_norm else NONE,
                    statistics if layer.batch_norm else NONE,
                    inputs_at,
                    normal_at,
                    sums_at,
                    outputs_before,
                    self.deltas,
                )
            )
            statistics += units if layer.batch_norm else 0
            self.deltas += units
            dropped = layer.dropout

    def _keep(self, numbers: int) -> int:
        at = self.kept
        self.kept += numbers
        return at


def _check_share(share: float, field: str) -> None:
    if not 0 <= share < 1:
        raise InvalidInput(field, "The share that is dropped is at least 0 and below 1.")


def _known(name: str, table: Iterable[str], field: str) -> None:
    if name not in table:
        raise InvalidInput(field, f"Unknown: {name!r}. Accepted: {', '.join(table)}.")
