"""The layout of a network in flat vectors, and the buffers of a mini-batch."""

from typing import NamedTuple

from nabla.engine.literals import ActivationName, CostName
from nabla.engine.typing import Float64Array, RowIndices, Vector

# Indices into Buffers.metric_sums; the absolute errors of each output follow, then the squared ones.
COST, CORRECT, GRADIENT_NORM, ERRORS = range(4)
# Values of NetworkLayout.metric_kind: absolute and squared errors; outputs on the same side of ½ as their targets;
# rows whose largest output is that of the largest target.
REGRESSION, BINARY_ACCURACY, CATEGORICAL_ACCURACY = range(3)
# Indices into Buffers.cursor: the positions in the epoch's order where this mini-batch and the next one begin.
BATCH_START, NEXT_START = range(2)


class LayerLayout(NamedTuple):
    """Where a layer keeps its parameters and what it computes.

    Attributes:
        inputs: Number of inputs.
        units: Number of units.
        activation: Name of the activation.
        dropout: Dropout probability of the layer's inputs.
        weights_offset: Offset of W (units, inputs) in the flat parameter vector.
        biases_offset: Offset of b (units) in it.
        gamma_offset: Offset of γ (units) in it; None without batch normalization.
        statistics_offset: Offset of the means, and of the variances, among those of all units with batch
            normalization; None without it.
        inputs_offset: Offset of the inputs in the buffer of activations, per row of a mini-batch like all that follow.
        normalized_offset: Offset of W a, which batch normalization replaces by x̂.
        weighted_sums_offset: Offset of z.
        outputs_offset: Offset of a.
        deltas_offset: Offset in the buffer of deltas.
    """

    inputs: int
    units: int
    activation: ActivationName
    dropout: float
    weights_offset: int
    biases_offset: int
    gamma_offset: int | None
    statistics_offset: int | None
    inputs_offset: int
    normalized_offset: int
    weighted_sums_offset: int
    outputs_offset: int
    deltas_offset: int


class NetworkLayout(NamedTuple):
    """Where a network keeps its parameters and what it computes, and its cost.

    Attributes:
        layers: The layers.
        cost: Name of the cost.
        cost_parameter: The δ of the huber cost.
        label_smoothing: Fraction of a target that is spread over all classes.
        metric_kind: REGRESSION, BINARY_ACCURACY or CATEGORICAL_ACCURACY.
    """

    layers: tuple[LayerLayout, ...]
    cost: CostName
    cost_parameter: float
    label_smoothing: float
    metric_kind: int


class Buffers(NamedTuple):
    """Buffers for a mini-batch of at most `rows` rows.

    Attributes:
        rows: Largest number of rows.
        activations: The inputs, then the matrices that each layer keeps for the backward pass, one after the other.
        deltas: A matrix per layer; the last one first holds the targets, then δᴸ.
        means: Mini-batch mean of each unit with batch normalization.
        scales: 1/σ of each unit with batch normalization.
        batch_weights: Weight of each row in the mean over the mini-batch: 1/m without sample weights.
        coefficients: The optimizer's coefficients of the step.
        norm: Euclidean norm of the gradient.
        metric_sums: Cost and metrics, summed over the rows since the sums were last cleared.
        cursor: Position of the mini-batch in the epoch's order.
    """

    rows: int
    activations: Vector
    deltas: Vector
    means: Float64Array
    scales: Float64Array
    batch_weights: Vector
    coefficients: Float64Array
    norm: Float64Array
    metric_sums: Float64Array
    cursor: RowIndices
