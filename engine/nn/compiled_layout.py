"""A network as compiled code reads it, and the buffers in which a mini-batch is worked out."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.array_views import Vector

Rows = npt.NDArray[np.int64]

# Columns of Plan.layers.
(
    INPUTS,
    UNITS,
    ACTIVATION,
    WEIGHTS_AT,
    BIASES_AT,
    SCALES_AT,
    STATISTICS_AT,
    INPUT_AT,
    NORMAL_AT,
    SUM_AT,
    OUTPUT_AT,
    DELTA_AT,
) = range(12)
NONE = -1
# Places of Buffers.totals; behind them the absolute errors of each output, and behind those the squared ones.
COST, CORRECT, GRADIENT_NORM, ERRORS = range(4)
# What Plan.measure tells to count: errors of numbers, outputs on the right side of ½, largest outputs that are right.
NUMBERS, SIDES, CLASSES = range(3)
# Places of Buffers.place: the rows of the epoch's order at which the mini-batch begins, and at which the next one will.
FIRST, NEXT = range(2)


class Plan(NamedTuple):
    """A network as numbers.

    `layers` has a row for each layer and the columns named above. Positions of weights, biases and scales are in the
    flat parameter vector, those of means and variances in the vector of statistics; a layer without batch
    normalization has NONE for the last two. Positions of the layer's inputs, its normalized sums, its weighted sums z,
    its outputs a, and its deltas are in units per row of a mini-batch.
    `dropout`: for each layer the share of its inputs that is dropped. `cost_setting` goes to the cost as it is;
    `label_smoothing` is the share of a target spread over all classes.
    """

    layers: npt.NDArray[np.int64]
    dropout: npt.NDArray[np.float64]
    cost: int
    cost_setting: float
    cost_to_input: bool
    label_smoothing: float
    measure: int


class Buffers(NamedTuple):
    """Where a mini-batch of at most `rows` rows is worked out.

    `activations`: the inputs, then what every layer keeps, one block of rows after the other; `deltas`: a block for
    each layer, of which the last receives the targets and becomes δᴸ; `means`, `scales`: mean and 1/σ of the
    mini-batch, for each unit that has statistics; `shares`: how much each row counts in the mean; `coefficients`: those
    of the step, for the optimizer; `length`: of the gradient. `totals`: sums over the rows seen since it was last
    cleared. `place`: where in the epoch the mini-batch lies.
    """

    rows: int
    activations: Vector
    deltas: Vector
    means: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    shares: Vector
    coefficients: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]
    totals: npt.NDArray[np.float64]
    place: Rows
