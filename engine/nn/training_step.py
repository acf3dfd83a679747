"""A step: forward, backward, update, and what is counted on the way. Written once, for CPU and GPU."""

import functools
from typing import NamedTuple

import numpy as np

from nabla.engine.nn.array_views import Matrix, Vector, block, lasting, span
from nabla.engine.nn.backprop import backward, forward, forward_alike, train_forward
from nabla.engine.nn.compiled_layout import DELTA_AT, FIRST, GRADIENT_NORM, NEXT, Buffers, Plan, Rows
from nabla.engine.nn.jit import Formula, by_code, entry, formula, inlined_formula, kernel, named, scalar
from nabla.engine.nn.losses import COSTS, weight_of_row
from nabla.engine.nn.matmul import ROWS_ALIKE
from nabla.engine.nn.metrics import count
from nabla.engine.nn.optimizers import OPTIMIZERS, STEP, Settings
from nabla.engine.nn.regularization import clip_values, limit_norms, measure_length, penalize, shorten


class Optimization(NamedTuple):
    """How parameters change: the rule's number, its settings, moments and memory, and η for each step of the epoch.

    `l1` and `l2` are λ/n, 0 where there is no penalty; the limits are infinite where there is none; `seed` draws what
    is dropped.
    """

    rule: int
    settings: Settings
    moments: Matrix
    memory: Settings
    rates: Settings
    l1: float
    l2: float
    clip_value: float
    clip_norm: float
    max_norm: float
    seed: int


class Examples(NamedTuple):
    """x (rows, inputs) and y (rows, outputs). `weights` (rows): how much each row counts; empty where all count 1."""

    x: Matrix
    y: Matrix
    weights: Settings


@functools.cache
def _preparing(prepare: Formula) -> Formula:
    @kernel("prepare", prepare)
    @named(f"prepare_{prepare.__name__}")
    def run(
        coefficients: Settings, settings: Settings, rates: Settings, memory: Settings, place: Rows, rows: int
    ) -> None:
        """Count the step, and work out its coefficients."""
        memory[STEP] += 1.0
        prepare(settings, rates[place[FIRST] // rows], memory, coefficients)

    return run


_add_cost = by_code("add_cost", [cost.add for cost in COSTS.values()])
_prepare = by_code("prepare", [_preparing(optimizer.prepare) for optimizer in OPTIMIZERS.values()])
_update = by_code("update", [optimizer.update for optimizer in OPTIMIZERS.values()])


@kernel("advance")
def advance(place: Rows, m: int) -> None:
    """On to the next m rows of the epoch."""
    place[FIRST] = place[NEXT]
    place[NEXT] += m


@kernel("gather")
def gather(source: Matrix, order: Rows, place: Rows, out: Matrix) -> None:
    """The rows of the mini-batch, in the epoch's order."""
    for i in range(out.shape[0]):
        row = order[place[FIRST] + i]
        for j in range(out.shape[1]):
            out[i, j] = source[row, j]


@inlined_formula
def _load(plan: Plan, buffers: Buffers, examples: Examples, order: Rows, m: int) -> Matrix:
    """Copy the next m rows into the buffers; returns the targets' block."""
    last = plan.layers.shape[0] - 1
    advance(buffers.place, m)
    gather(examples.x, order, buffers.place, block(buffers.activations, 0, m, examples.x.shape[1]))
    targets = block(buffers.deltas, plan.layers[last, DELTA_AT] * buffers.rows, m, examples.y.shape[1])
    gather(examples.y, order, buffers.place, targets)
    if plan.label_smoothing > 0.0:
        smooth(targets, plan.label_smoothing)
    return targets


@formula
def smoothed(y: float, share: float, classes: int) -> float:
    """(1 − s) y + s / K over K classes. Szegedy et al., "Rethinking the Inception architecture", 2016."""
    return scalar(1.0 - share, y) * y + scalar(share / classes, y)


@kernel("smooth")
def smooth(y: Matrix, share: float) -> None:
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = smoothed(y[i, j], share, y.shape[1])


@inlined_formula
def _measure(plan: Plan, buffers: Buffers, a: Matrix, y: Matrix, weights: Settings, order: Rows) -> None:
    """Add the cost of the mini-batch to the totals, and what is counted beside it."""
    _add_cost(plan.cost, a, y, weights, order, buffers.place, buffers.totals, plan.cost_setting)
    count(plan.measure, a, y, buffers.totals)


@kernel("divide")
def divide(shares: Vector, weights: Settings, order: Rows, place: Rows) -> None:
    """How much each row of a mini-batch counts in its mean."""
    m = shares.size
    for i in range(m):
        shares[i] = scalar(weight_of_row(weights, order, place, i) / m, shares[0])


@inlined_formula
def train_step(
    parameters: Vector,
    statistics: Vector,
    gradient: Vector,
    optimization: Optimization,
    plan: Plan,
    buffers: Buffers,
    examples: Examples,
    order: Rows,
    m: int,
    measures_gradient: bool,
) -> None:
    """Train on the next m rows of the epoch's order. Run by Python with recorded arrays, this is the step of a GPU."""
    memory, totals = optimization.memory, buffers.totals
    targets = _load(plan, buffers, examples, order, m)
    _prepare(
        optimization.rule,
        buffers.coefficients,
        optimization.settings,
        optimization.rates,
        memory,
        buffers.place,
        buffers.rows,
    )
    outputs = train_forward(parameters, statistics, plan, buffers, memory, optimization.seed, m)
    _measure(plan, buffers, outputs, targets, examples.weights, order)
    divide(span(buffers.shares, 0, m), examples.weights, order, buffers.place)
    backward(parameters, gradient, plan, buffers, memory, optimization.seed, m)
    if optimization.l1 > 0.0 or optimization.l2 > 0.0:
        penalize(parameters, gradient, plan.layers, totals, optimization.l1, optimization.l2, m)
    if measures_gradient:
        measure_length(gradient, span(totals, GRADIENT_NORM, 1))
    if optimization.clip_value < np.inf:
        clip_values(gradient, optimization.clip_value)
    if optimization.clip_norm < np.inf:
        measure_length(gradient, buffers.length)
        shorten(gradient, buffers.length, optimization.clip_norm)
    _update(optimization.rule, parameters, gradient, optimization.moments, buffers.coefficients)
    if optimization.max_norm < np.inf:
        limit_norms(parameters, plan.layers, optimization.max_norm)


@inlined_formula
def evaluate_step(
    parameters: Vector, statistics: Vector, plan: Plan, buffers: Buffers, examples: Examples, order: Rows, m: int
) -> None:
    """Measure the next m rows."""
    targets = _load(plan, buffers, examples, order, m)
    outputs = forward(parameters, statistics, plan, buffers, m)
    _measure(plan, buffers, outputs, targets, examples.weights, order)


_total_cost = by_code("total_cost", [cost.total for cost in COSTS.values()])


@formula
def _lasting_buffers(buffers: Buffers) -> Buffers:
    return Buffers(
        buffers.rows,
        lasting(buffers.activations),
        lasting(buffers.deltas),
        lasting(buffers.means),
        lasting(buffers.scales),
        lasting(buffers.shares),
        lasting(buffers.coefficients),
        lasting(buffers.length),
        lasting(buffers.totals),
        lasting(buffers.place),
    )


@formula
def _lasting_optimization(optimization: Optimization) -> Optimization:
    return Optimization(
        optimization.rule,
        lasting(optimization.settings),
        lasting(optimization.moments),
        lasting(optimization.memory),
        lasting(optimization.rates),
        optimization.l1,
        optimization.l2,
        optimization.clip_value,
        optimization.clip_norm,
        optimization.max_norm,
        optimization.seed,
    )


@entry
def train_steps(
    parameters: Vector,
    statistics: Vector,
    gradient: Vector,
    optimization: Optimization,
    plan: Plan,
    buffers: Buffers,
    examples: Examples,
    order: Rows,
    first: int,
    last: int,
) -> None:
    """Train on rows order[first:last], a mini-batch of `buffers.rows` at a time; the last may be shorter.

    The gradient of a mini-batch is the mean over its own rows. Adds to `buffers.totals` what the forward passes see
    before each update, penalties included; the norm of the gradient is that of the last of all mini-batches.
    """
    buffers.place[NEXT] = first
    lasting_buffers, lasting_optimization = _lasting_buffers(buffers), _lasting_optimization(optimization)
    lasting_examples = Examples(lasting(examples.x), lasting(examples.y), lasting(examples.weights))
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        train_step(
            lasting(parameters),
            lasting(statistics),
            lasting(gradient),
            lasting_optimization,
            plan,
            lasting_buffers,
            lasting_examples,
            lasting(order),
            m,
            start + m == order.size,
        )


@entry
def evaluate_rows(
    parameters: Vector,
    statistics: Vector,
    plan: Plan,
    buffers: Buffers,
    examples: Examples,
    order: Rows,
    first: int,
    last: int,
) -> None:
    """Add to `buffers.totals` the cost of rows order[first:last], without penalties, and what is counted beside it."""
    buffers.place[NEXT] = first
    for start in range(first, last, buffers.rows):
        evaluate_step(parameters, statistics, plan, buffers, examples, order, min(buffers.rows, last - start))


@entry
def predict_rows(parameters: Vector, statistics: Vector, plan: Plan, buffers: Buffers, x: Matrix, out: Matrix) -> None:
    """Work x (rows, inputs) through the network into out (rows, outputs). `buffers.rows` is a multiple of
    ROWS_ALIKE."""
    for start in range(0, x.shape[0], buffers.rows):
        m = min(buffers.rows, x.shape[0] - start)
        # What is in the buffers beyond the last row is worked out along, and forgotten.
        filled = (m + ROWS_ALIKE - 1) // ROWS_ALIKE * ROWS_ALIKE
        inputs = block(buffers.activations, 0, filled, x.shape[1])
        _copy(x[start : start + m], inputs[:m])
        inputs[m:] = 0.0
        _copy(forward_alike(parameters, statistics, plan, buffers, filled)[:m], out[start : start + m])


@formula
def _copy(source: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = source[i, j]


@entry
def cost_of_rows(plan: Plan, a: Matrix, y: Matrix, weights: Settings) -> float:
    """The sum over the rows of their cost times their weight, for outputs a and targets y, both (rows, outputs).

    An empty vector of weights means that each is 1.
    """
    total = 0.0
    target = np.empty((1, y.shape[1]), y.dtype)
    for i in range(a.shape[0]):
        _copy(y[i : i + 1], target)
        if plan.label_smoothing > 0.0:
            smooth(target, plan.label_smoothing)
        cost = _total_cost(plan.cost, a[i : i + 1], target, plan.cost_setting)
        if weights.size == 0:
            total += cost
        elif weights[i] > 0.0:
            total += weights[i] * cost
    return total


@entry
def add_penalty(parameters: Vector, gradient: Vector, plan: Plan, totals: Settings, l1: float, l2: float) -> None:
    """Add the penalty that training adds to the cost; its gradient is added to `gradient`."""
    penalize(parameters, gradient, plan.layers, totals, l1, l2, 1)
