"""The layout of a network for compiled code, and the buffers of a mini-batch."""

from typing import NamedTuple

from nabla.engine.typing import Float64Array, RowIndices, Vector

# Columns of CompiledLayout.layers.
(
    INPUTS,
    UNITS,
    ACTIVATION,
    WEIGHTS_OFFSET,
    BIASES_OFFSET,
    GAMMA_OFFSET,
    STATISTICS_OFFSET,
    INPUT_OFFSET,
    NORMALIZED_OFFSET,
    WEIGHTED_SUM_OFFSET,
    OUTPUT_OFFSET,
    DELTA_OFFSET,
) = range(12)
NO_OFFSET = -1
# Indices into Buffers.metric_sums; the absolute errors of each output follow, then the squared ones.
COST, CORRECT, GRADIENT_NORM, ERRORS = range(4)
# Values of CompiledLayout.metric_kind: absolute and squared errors; outputs on the same side of ½ as their targets;
# rows whose largest output is that of the largest target.
REGRESSION, BINARY_ACCURACY, CATEGORICAL_ACCURACY = range(3)
# Indices into Buffers.cursor: the positions in the epoch's order where this mini-batch and the next one begin.
BATCH_START, NEXT_START = range(2)


class CompiledLayout(NamedTuple):
    """The layout of a network, as numbers that compiled code can read.

    Attributes:
        layers: A row per layer, with the columns named above. Offsets of W, b and γ are into the
            flat parameter vector, those of statistics into the vector of means and variances; without batch
            normalization both are NO_OFFSET. Offsets of inputs, normalized sums, weighted sums z, outputs a and
            deltas are per row of a mini-batch.
        dropout: Dropout probability of each layer's inputs.
        cost: Index of the cost in `COSTS`.
        cost_parameter: The δ of the huber cost.
        cost_wrt_input: Whether `Cost.differentiate` computes ∂C/∂z instead of ∂C/∂a.
        label_smoothing: Fraction of a target that is spread over all classes.
        metric_kind: REGRESSION, BINARY_ACCURACY or CATEGORICAL_ACCURACY.
    """

    layers: RowIndices
    dropout: Float64Array
    cost: int
    cost_parameter: float
    cost_wrt_input: bool
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
