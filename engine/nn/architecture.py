"""The architecture of a network: its validation, and its memory layout."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import MAX_SEED, ActivationName, CostName, DtypeName, InitializerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.layout import ERRORS, REGRESSION, Buffers, LayerLayout, NetworkLayout
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.optimizers import MAX_COEFFICIENTS


@dataclass(frozen=True)
class Layer:
    """A dense layer: a = σ(W a₋₁ + b) with `units` outputs.

    Attributes:
        units: Number of outputs.
        activation: The activation σ.
        dropout: Probability with which an output is dropped in training before it reaches the next layer.
        batch_norm: Whether W a₋₁ is normalized over the mini-batch and scaled by γ before b is added.
    """

    units: int
    activation: ActivationName
    dropout: float = 0.0
    batch_norm: bool = False


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a network before training.

    Raises:
        InvalidInput: A field is out of range, or fields do not fit together; the error names the field.
    """

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
        """Validate the fields."""
        if self.inputs < 1:
            raise InvalidInput("inputs", "A network needs at least 1 input.")
        if not self.layers:
            raise InvalidInput("layers", "A network needs at least 1 layer.")
        _check_probability(self.input_dropout, "input_dropout")
        for index, layer in enumerate(self.layers):
            if layer.units < 1:
                raise InvalidInput(f"layers.{index}.units", "A layer needs at least 1 unit.")
            _check_choice(layer.activation, ACTIVATIONS, f"layers.{index}.activation")
            _check_probability(layer.dropout, f"layers.{index}.dropout")
        _check_choice(self.cost, COSTS, "cost")
        _check_choice(self.initializer, INITIALIZERS, "initializer")
        _check_choice(self.dtype, get_args(DtypeName), "dtype")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidInput("seed", f"The seed must be an integer from 0 to {MAX_SEED}.")
        if not 0 <= self.label_smoothing < 1:
            raise InvalidInput("label_smoothing", "Label smoothing must be at least 0 and below 1.")
        if self.label_smoothing and self.cost != "categorical_cross_entropy":
            raise InvalidInput("label_smoothing", "Label smoothing requires the cost categorical_cross_entropy.")
        if not 0 < self.huber_delta < float("inf"):
            raise InvalidInput("huber_delta", "The δ of the huber cost must be a finite number above 0.")
        self._check_output()

    def _check_output(self) -> None:
        output, field = self.layers[-1], f"layers.{len(self.layers) - 1}"
        accepted = COSTS[self.cost].outputs
        if output.activation not in accepted:
            raise InvalidInput(
                f"{field}.activation",
                f"The cost {self.cost} takes logarithms of the outputs: the last layer needs {' or '.join(accepted)}. "
                f"For {output.activation} outputs use quadratic, mean_absolute or huber.",
            )
        if output.activation == "softmax" and output.units == 1:
            raise InvalidInput(
                f"{field}.activation", "Softmax over a single output is always 1. Use sigmoid, or at least 2 units."
            )
        if output.dropout:
            raise InvalidInput(
                f"{field}.dropout", "The last layer cannot have dropout: its outputs are the predictions."
            )

    @cached_property
    def outputs(self) -> int:
        """Number of outputs of the last layer."""
        return self.layers[-1].units

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(inputs, units) of each layer."""
        units = [layer.units for layer in self.layers]
        return list(zip([self.inputs, *units[:-1]], units, strict=True))

    @cached_property
    def parameters(self) -> int:
        """Number of weights, biases and scales γ of batch normalization."""
        return sum((inputs + 1) * units for inputs, units in self.shapes) + self.batch_norm_units

    @property
    def batch_norm_units(self) -> int:
        """Number of units with batch normalization; each has a scale γ, a running mean and a running variance."""
        return sum(layer.units for layer in self.layers if layer.batch_norm)

    def multiply_adds(self, rows: int) -> int:
        """Return the multiply-adds of a training step's matrix products.

        Each layer has three products, but the first one has two: no deltas are propagated to its inputs.
        """
        weights = [inputs * units for inputs, units in self.shapes]
        return rows * (3 * sum(weights) - weights[0])

    @property
    def has_dropout(self) -> bool:
        """Whether the inputs or any layer has dropout."""
        return bool(self.input_dropout) or any(layer.dropout for layer in self.layers)

    def layout(self, metric_kind: int = REGRESSION) -> NetworkLayout:
        """Return the layout of the network.

        Args:
            metric_kind: Metrics to accumulate besides the cost: REGRESSION, BINARY_ACCURACY or CATEGORICAL_ACCURACY.
        """
        return NetworkLayout(
            layers=tuple(_LayoutBuilder(self).layers),
            cost=self.cost,
            cost_parameter=self.huber_delta,
            label_smoothing=self.label_smoothing,
            metric_kind=metric_kind,
        )

    def allocate_buffers(self, rows: int) -> Buffers:
        """Allocate buffers for mini-batches of at most `rows` rows."""
        return Buffers(rows, *(np.zeros(size, dtype) for size, dtype in self.buffer_sizes(rows)))

    def buffer_sizes(self, rows: int) -> list[tuple[int, npt.DTypeLike]]:
        """Return (size, dtype) of each array of `Buffers`, in field order."""
        layout = _LayoutBuilder(self)
        return [
            (rows * layout.activations, self.dtype),
            (rows * layout.deltas, self.dtype),
            (self.batch_norm_units, "float64"),
            (self.batch_norm_units, "float64"),
            (rows, self.dtype),
            (MAX_COEFFICIENTS, "float64"),
            (1, "float64"),
            (ERRORS + 2 * self.outputs, "float64"),
            (2, "int64"),
        ]


class _LayoutBuilder:
    """Assigns offsets to the parameters and buffers of each layer.

    Attributes:
        layers: The layouts of the layers.
        activations: Numbers per row of a mini-batch in the activations buffer.
        deltas: Numbers per row of a mini-batch in the deltas buffer.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.layers: list[LayerLayout] = []
        self.activations = architecture.inputs
        self.deltas = 0
        parameters, statistics, outputs_offset, dropout = 0, 0, 0, architecture.input_dropout
        for (inputs, units), layer in zip(architecture.shapes, architecture.layers, strict=True):
            biases_offset = parameters + units * inputs
            inputs_offset = self._reserve(inputs) if dropout and self.layers else outputs_offset
            normalized_offset = self._reserve(units)
            weighted_sums_offset = self._reserve(units) if layer.batch_norm else normalized_offset
            keeps_input = ACTIVATIONS[layer.activation].keeps_input
            outputs_offset = self._reserve(units) if keeps_input else weighted_sums_offset
            self.layers.append(
                LayerLayout(
                    inputs=inputs,
                    units=units,
                    activation=layer.activation,
                    dropout=dropout,
                    weights_offset=parameters,
                    biases_offset=biases_offset,
                    gamma_offset=biases_offset + units if layer.batch_norm else None,
                    statistics_offset=statistics if layer.batch_norm else None,
                    inputs_offset=inputs_offset,
                    normalized_offset=normalized_offset,
                    weighted_sums_offset=weighted_sums_offset,
                    outputs_offset=outputs_offset,
                    deltas_offset=self.deltas,
                )
            )
            parameters = biases_offset + units * (2 if layer.batch_norm else 1)
            statistics += units if layer.batch_norm else 0
            self.deltas += units
            dropout = layer.dropout

    def _reserve(self, size: int) -> int:
        """Reserve `size` numbers per row in the activations buffer and return their offset."""
        offset = self.activations
        self.activations += size
        return offset


def _check_probability(probability: float, field: str) -> None:
    if not 0 <= probability < 1:
        raise InvalidInput(field, f"Dropout must be at least 0 and below 1, got {probability:g}.")


def _check_choice(value: str, accepted: Iterable[str], field: str) -> None:
    if value not in accepted:
        raise InvalidInput(field, f"Unknown value {value!r}. Accepted: {', '.join(accepted)}.")
