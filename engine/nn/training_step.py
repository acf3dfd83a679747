"""The steps of training, evaluation and prediction, as calls of kernels.

They are written once, for CPUs and GPUs: run with traced arrays, a step records its calls, which a device then runs.
"""

import functools
from typing import NamedTuple

import numpy as np

from nabla.engine.literals import OptimizerName
from nabla.engine.nn.array_views import matrix_view, vector_view
from nabla.engine.nn.backprop import backward, forward, train_forward
from nabla.engine.nn.jit import Formula, device_kernel, jit_inline, scalar, with_name
from nabla.engine.nn.layout import BATCH_START, GRADIENT_NORM, NEXT_START, Buffers, NetworkLayout
from nabla.engine.nn.losses import COSTS, sample_weight
from nabla.engine.nn.matmul import matmul_batch_invariant
from nabla.engine.nn.metrics import accumulate_metrics
from nabla.engine.nn.optimizers import OPTIMIZERS, STEP
from nabla.engine.nn.regularization import apply_max_norm, clip_by_norm, clip_by_value, compute_norm, penalize
from nabla.engine.nn.tracing import StepTrace
from nabla.engine.typing import Float64Array, Matrix, RowIndices, Vector


class Optimization(NamedTuple):
    """Optimizer, settings, penalties and limits: everything that determines how a step changes the parameters.

    Attributes:
        rule: Name of the optimizer.
        settings: Values of the optimizer's settings.
        moments: The optimizer's moments, a row each; a row has at least as many elements as there are parameters.
        optimizer_state: See `init_optimizer_state`.
        rates: η for each step of the epoch.
        l1: λ/n of the l1 penalty, 0 for none.
        l2: λ/n of the l2 penalty, 0 for none.
        clip_value: Limit of each gradient component, infinite for none.
        clip_norm: Limit of the gradient's norm, infinite for none.
        max_norm: Limit of the norm of each unit's incoming weights, infinite for none.
        seed: Seed of the dropout masks.
    """

    rule: OptimizerName
    settings: Float64Array
    moments: Matrix
    optimizer_state: Float64Array
    rates: Float64Array
    l1: float
    l2: float
    clip_value: float
    clip_norm: float
    max_norm: float
    seed: int


class StepVariant(NamedTuple):
    """The properties in which the traced steps of a run differ.

    Attributes:
        rows: Number of rows.
        trains: Whether the step trains; otherwise it evaluates.
        tracks_gradient_norm: Whether the metric sums get the norm of the gradient.
        l1: λ/n of the l1 penalty.
        l2: λ/n of the l2 penalty.
        slot: Index of the buffers with the rows, where data are streamed to a device.
    """

    rows: int
    trains: bool
    tracks_gradient_norm: bool = False
    l1: float = 0.0
    l2: float = 0.0
    slot: int = 0


class Examples(NamedTuple):
    """Inputs x (rows, inputs), targets y (rows, outputs) and sample weights (rows), empty if all are 1."""

    x: Matrix
    y: Matrix
    weights: Float64Array


@functools.cache
def _build_prepare(prepare: Formula) -> Formula:
    """Build the kernel that prepares an optimizer's step."""

    @device_kernel("prepare", prepare)
    @with_name(f"prepare_{prepare.__name__}")
    def run(
        coefficients: Float64Array,
        settings: Float64Array,
        rates: Float64Array,
        optimizer_state: Float64Array,
        cursor: RowIndices,
        rows: int,
    ) -> None:
        """Advance the step count and compute the optimizer's coefficients."""
        optimizer_state[STEP] += 1.0
        prepare(settings, rates[cursor[BATCH_START] // rows], optimizer_state, coefficients)

    return run


_PREPARE_KERNELS = {name: _build_prepare(optimizer.prepare) for name, optimizer in OPTIMIZERS.items()}


@device_kernel("advance_cursor")
def advance_cursor(cursor: RowIndices, m: int) -> None:
    """Move the cursor to the next m rows of the epoch."""
    cursor[BATCH_START] = cursor[NEXT_START]
    cursor[NEXT_START] += m


@device_kernel("gather_rows")
def gather_rows(source: Matrix, order: RowIndices, cursor: RowIndices, out: Matrix) -> None:
    """Copy the rows of the mini-batch, in the epoch's order, to `out`."""
    for i in range(out.shape[0]):
        row = order[cursor[BATCH_START] + i]
        for j in range(out.shape[1]):
            out[i, j] = source[row, j]


def _load_batch(layout: NetworkLayout, buffers: Buffers, examples: Examples, order: RowIndices, m: int) -> Matrix:
    """Copy the next m rows into the buffers and return the matrix of targets."""
    advance_cursor(buffers.cursor, m)
    gather_rows(examples.x, order, buffers.cursor, matrix_view(buffers.activations, 0, m, examples.x.shape[1]))
    targets_offset = layout.layers[-1].deltas_offset * buffers.rows
    targets = matrix_view(buffers.deltas, targets_offset, m, examples.y.shape[1])
    gather_rows(examples.y, order, buffers.cursor, targets)
    if layout.label_smoothing > 0.0:
        smooth_labels(targets, layout.label_smoothing)
    return targets


@jit_inline
def smooth_label(y: float, smoothing: float, classes: int) -> float:
    """Return (1 − s) y + s / K for K classes. Source: Szegedy et al., "Rethinking the Inception architecture", 2016."""
    return scalar(1.0 - smoothing, y) * y + scalar(smoothing / classes, y)


@device_kernel("smooth_labels")
def smooth_labels(y: Matrix, smoothing: float) -> None:
    """Smooth the targets of a mini-batch in place."""
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = smooth_label(y[i, j], smoothing, y.shape[1])


def _accumulate_cost_and_metrics(
    layout: NetworkLayout, buffers: Buffers, a: Matrix, y: Matrix, weights: Float64Array, order: RowIndices
) -> None:
    """Add the cost and the metrics of the mini-batch to the metric sums."""
    COSTS[layout.cost].add(a, y, weights, order, buffers.cursor, buffers.metric_sums, layout.cost_parameter)
    accumulate_metrics(layout.metric_kind, a, y, buffers.metric_sums)


@device_kernel("compute_batch_weights")
def compute_batch_weights(batch_weights: Vector, weights: Float64Array, order: RowIndices, cursor: RowIndices) -> None:
    """Set the weight of each row in the mean over the mini-batch: its sample weight divided by m."""
    m = batch_weights.size
    for i in range(m):
        batch_weights[i] = scalar(sample_weight(weights, order, cursor, i) / m, batch_weights[0])


def train_step(
    parameters: Vector,
    statistics: Vector,
    gradient: Vector,
    optimization: Optimization,
    layout: NetworkLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    m: int,
    tracks_gradient_norm: bool,
) -> None:
    """Train on the next m rows of the epoch's order."""
    optimizer_state, metric_sums = optimization.optimizer_state, buffers.metric_sums
    targets = _load_batch(layout, buffers, examples, order, m)
    _PREPARE_KERNELS[optimization.rule](
        buffers.coefficients,
        optimization.settings,
        optimization.rates,
        optimizer_state,
        buffers.cursor,
        buffers.rows,
    )
    outputs = train_forward(parameters, statistics, layout, buffers, optimizer_state, optimization.seed, m)
    _accumulate_cost_and_metrics(layout, buffers, outputs, targets, examples.weights, order)
    compute_batch_weights(vector_view(buffers.batch_weights, 0, m), examples.weights, order, buffers.cursor)
    backward(parameters, gradient, layout, buffers, optimizer_state, optimization.seed, m)
    if optimization.l1 > 0.0 or optimization.l2 > 0.0:
        penalize(parameters, gradient, layout.layers, metric_sums, optimization.l1, optimization.l2, m)
    if tracks_gradient_norm:
        compute_norm(gradient, vector_view(metric_sums, GRADIENT_NORM, 1))
    if optimization.clip_value < np.inf:
        clip_by_value(gradient, optimization.clip_value)
    if optimization.clip_norm < np.inf:
        compute_norm(gradient, buffers.norm)
        clip_by_norm(gradient, buffers.norm, optimization.clip_norm)
    OPTIMIZERS[optimization.rule].update(parameters, gradient, optimization.moments, buffers.coefficients)
    if optimization.max_norm < np.inf:
        apply_max_norm(parameters, layout.layers, optimization.max_norm)


def evaluate_step(
    parameters: Vector,
    statistics: Vector,
    layout: NetworkLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    m: int,
) -> None:
    """Add the cost and metrics of the next m rows to the metric sums."""
    targets = _load_batch(layout, buffers, examples, order, m)
    outputs = forward(parameters, statistics, layout, buffers, m)
    _accumulate_cost_and_metrics(layout, buffers, outputs, targets, examples.weights, order)


class StepArrays(NamedTuple):
    """The arrays that the steps of a run work in, of NumPy or CuPy, with its settings.

    Attributes:
        parameters: The parameters.
        statistics: The running statistics of batch normalization.
        gradient: The gradient.
        optimization: Settings of the optimizer, and its arrays.
        buffers: The buffers of a mini-batch.
    """

    parameters: Vector
    statistics: Vector
    gradient: Vector
    optimization: Optimization
    buffers: Buffers


def trace_step(
    variant: StepVariant, arrays: StepArrays, layout: NetworkLayout, examples: Examples, order: RowIndices
) -> StepTrace:
    """Return the calls of a step of training or evaluation, on rows of `examples` that `order` lists."""
    trace = StepTrace()
    traced, examples, order = trace.arrays((arrays, examples, order))
    if variant.trains:
        optimization = traced.optimization._replace(l1=variant.l1, l2=variant.l2)
        train_step(
            traced.parameters,
            traced.statistics,
            traced.gradient,
            optimization,
            layout,
            traced.buffers,
            examples,
            order,
            variant.rows,
            variant.tracks_gradient_norm,
        )
    else:
        evaluate_step(traced.parameters, traced.statistics, layout, traced.buffers, examples, order, variant.rows)
    return trace


def predict_step(parameters: Vector, statistics: Vector, layout: NetworkLayout, buffers: Buffers, m: int) -> None:
    """Compute the outputs of the inputs in the activations buffer; m must be a multiple of `matmul.ROW_TILE`."""
    forward(parameters, statistics, layout, buffers, m, matmul_batch_invariant)


def cost_step(
    layout: NetworkLayout,
    a: Matrix,
    y: Matrix,
    weights: Float64Array,
    order: RowIndices,
    cursor: RowIndices,
    metric_sums: Float64Array,
) -> None:
    """Smooth the targets y, and add the weighted cost of all rows to the metric sums."""
    if layout.label_smoothing > 0.0:
        smooth_labels(y, layout.label_smoothing)
    COSTS[layout.cost].add(a, y, weights, order, cursor, metric_sums, layout.cost_parameter)
