"""The training step (forward, backward, update, metrics), and the loops over mini-batches that Python calls.

The step is written once, for CPUs and GPUs.
"""

import functools
from typing import NamedTuple

import numpy as np

from nabla.engine.nn.array_views import borrow, matrix_view, vector_view
from nabla.engine.nn.backprop import backward, forward, forward_batch_invariant, train_forward
from nabla.engine.nn.compiled_layout import (
    BATCH_START,
    DELTA_OFFSET,
    GRADIENT_NORM,
    NEXT_START,
    Buffers,
    CompiledLayout,
)
from nabla.engine.nn.jit import (
    Formula,
    build_switch,
    device_kernel,
    jit_entry,
    jit_force_inline,
    jit_inline,
    scalar,
    with_name,
)
from nabla.engine.nn.losses import COSTS, sample_weight
from nabla.engine.nn.matmul import ROW_TILE
from nabla.engine.nn.metrics import accumulate_metrics
from nabla.engine.nn.optimizers import OPTIMIZERS, STEP
from nabla.engine.nn.regularization import apply_max_norm, clip_by_norm, clip_by_value, compute_norm, penalize
from nabla.engine.typing import Float64Array, Matrix, RowIndices, Vector


class Optimization(NamedTuple):
    """Optimizer, settings, penalties and limits: everything that determines how a step changes the parameters.

    Attributes:
        rule: Index of the optimizer in `OPTIMIZERS`.
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

    rule: int
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


_add_cost = build_switch("add_cost", [cost.add for cost in COSTS.values()])
_prepare = build_switch("prepare", [_build_prepare(optimizer.prepare) for optimizer in OPTIMIZERS.values()])
_update = build_switch("update", [optimizer.update for optimizer in OPTIMIZERS.values()])


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


@jit_force_inline
def _load_batch(layout: CompiledLayout, buffers: Buffers, examples: Examples, order: RowIndices, m: int) -> Matrix:
    """Copy the next m rows into the buffers and return the matrix of targets."""
    last = layout.layers.shape[0] - 1
    advance_cursor(buffers.cursor, m)
    gather_rows(examples.x, order, buffers.cursor, matrix_view(buffers.activations, 0, m, examples.x.shape[1]))
    targets = matrix_view(buffers.deltas, layout.layers[last, DELTA_OFFSET] * buffers.rows, m, examples.y.shape[1])
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


@jit_force_inline
def _accumulate_cost_and_metrics(
    layout: CompiledLayout, buffers: Buffers, a: Matrix, y: Matrix, weights: Float64Array, order: RowIndices
) -> None:
    """Add the cost and the metrics of the mini-batch to the metric sums."""
    _add_cost(layout.cost, a, y, weights, order, buffers.cursor, buffers.metric_sums, layout.cost_parameter)
    accumulate_metrics(layout.metric_kind, a, y, buffers.metric_sums)


@device_kernel("compute_batch_weights")
def compute_batch_weights(batch_weights: Vector, weights: Float64Array, order: RowIndices, cursor: RowIndices) -> None:
    """Set the weight of each row in the mean over the mini-batch: its sample weight divided by m."""
    m = batch_weights.size
    for i in range(m):
        batch_weights[i] = scalar(sample_weight(weights, order, cursor, i) / m, batch_weights[0])


@jit_force_inline
def train_step(
    parameters: Vector,
    statistics: Vector,
    gradient: Vector,
    optimization: Optimization,
    layout: CompiledLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    m: int,
    tracks_gradient_norm: bool,
) -> None:
    """Train on the next m rows of the epoch's order. Run by Python with traced arrays, it defines a GPU's step."""
    optimizer_state, metric_sums = optimization.optimizer_state, buffers.metric_sums
    targets = _load_batch(layout, buffers, examples, order, m)
    _prepare(
        optimization.rule,
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
    _update(optimization.rule, parameters, gradient, optimization.moments, buffers.coefficients)
    if optimization.max_norm < np.inf:
        apply_max_norm(parameters, layout.layers, optimization.max_norm)


@jit_force_inline
def evaluate_step(
    parameters: Vector,
    statistics: Vector,
    layout: CompiledLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    m: int,
) -> None:
    """Add the cost and metrics of the next m rows to the metric sums."""
    targets = _load_batch(layout, buffers, examples, order, m)
    outputs = forward(parameters, statistics, layout, buffers, m)
    _accumulate_cost_and_metrics(layout, buffers, outputs, targets, examples.weights, order)


_total_cost = build_switch("total_cost", [cost.total for cost in COSTS.values()])


@jit_inline
def _borrow_buffers(buffers: Buffers) -> Buffers:
    return Buffers(
        buffers.rows,
        borrow(buffers.activations),
        borrow(buffers.deltas),
        borrow(buffers.means),
        borrow(buffers.scales),
        borrow(buffers.batch_weights),
        borrow(buffers.coefficients),
        borrow(buffers.norm),
        borrow(buffers.metric_sums),
        borrow(buffers.cursor),
    )


@jit_inline
def _borrow_optimization(optimization: Optimization) -> Optimization:
    return Optimization(
        optimization.rule,
        borrow(optimization.settings),
        borrow(optimization.moments),
        borrow(optimization.optimizer_state),
        borrow(optimization.rates),
        optimization.l1,
        optimization.l2,
        optimization.clip_value,
        optimization.clip_norm,
        optimization.max_norm,
        optimization.seed,
    )


@jit_entry
def train_steps(
    parameters: Vector,
    statistics: Vector,
    gradient: Vector,
    optimization: Optimization,
    layout: CompiledLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    first: int,
    last: int,
) -> None:
    """Train on rows order[first:last] in mini-batches of `buffers.rows`; the last one may be shorter.

    The gradient of a mini-batch is the mean over its own rows. Costs, penalties included, and metrics of the forward
    passes before each update are added to `buffers.metric_sums`; the gradient norm is that of the epoch's last
    mini-batch.
    """
    buffers.cursor[NEXT_START] = first
    borrowed_buffers, borrowed_optimization = _borrow_buffers(buffers), _borrow_optimization(optimization)
    borrowed_examples = Examples(borrow(examples.x), borrow(examples.y), borrow(examples.weights))
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        train_step(
            borrow(parameters),
            borrow(statistics),
            borrow(gradient),
            borrowed_optimization,
            layout,
            borrowed_buffers,
            borrowed_examples,
            borrow(order),
            m,
            start + m == order.size,
        )


@jit_entry
def evaluate_rows(
    parameters: Vector,
    statistics: Vector,
    layout: CompiledLayout,
    buffers: Buffers,
    examples: Examples,
    order: RowIndices,
    first: int,
    last: int,
) -> None:
    """Add the cost of rows order[first:last], without penalties, and their metrics to `buffers.metric_sums`."""
    buffers.cursor[NEXT_START] = first
    for start in range(first, last, buffers.rows):
        evaluate_step(parameters, statistics, layout, buffers, examples, order, min(buffers.rows, last - start))


@jit_entry
def predict_rows(
    parameters: Vector, statistics: Vector, layout: CompiledLayout, buffers: Buffers, x: Matrix, out: Matrix
) -> None:
    """Predict out (rows, outputs) from x (rows, inputs); `buffers.rows` must be a multiple of ROW_TILE."""
    for start in range(0, x.shape[0], buffers.rows):
        m = min(buffers.rows, x.shape[0] - start)
        # Rows beyond the last one pad the batch to a multiple of ROW_TILE; their outputs are discarded.
        padded = (m + ROW_TILE - 1) // ROW_TILE * ROW_TILE
        inputs = matrix_view(buffers.activations, 0, padded, x.shape[1])
        _copy(x[start : start + m], inputs[:m])
        inputs[m:] = 0.0
        _copy(forward_batch_invariant(parameters, statistics, layout, buffers, padded)[:m], out[start : start + m])


@jit_inline
def _copy(source: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = source[i, j]


@jit_entry
def sum_costs(layout: CompiledLayout, a: Matrix, y: Matrix, weights: Float64Array) -> float:
    """Return the weighted sum of the costs of all rows, for outputs a and targets y, both (rows, outputs).

    If `weights` is empty, all weights are 1.
    """
    total = 0.0
    target = np.empty((1, y.shape[1]), y.dtype)
    for i in range(a.shape[0]):
        _copy(y[i : i + 1], target)
        if layout.label_smoothing > 0.0:
            smooth_labels(target, layout.label_smoothing)
        cost = _total_cost(layout.cost, a[i : i + 1], target, layout.cost_parameter)
        if weights.size == 0:
            total += cost
        elif weights[i] > 0.0:
            total += weights[i] * cost
    return total


@jit_entry
def add_penalty(
    parameters: Vector, gradient: Vector, layout: CompiledLayout, metric_sums: Float64Array, l1: float, l2: float
) -> None:
    """Add the l1 and l2 penalties to the cost in the metric sums, and their gradients to `gradient`."""
    penalize(parameters, gradient, layout.layers, metric_sums, l1, l2, 1)
