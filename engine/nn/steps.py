"""A step: forward, backward, update, and what is counted on the way. Written once, for CPU and GPU."""

import functools
from typing import NamedTuple

import numpy as np

from engine.nn.backprop import backward, forward, train_forward
from engine.nn.compiling import formula, inlined_formula, named, scalar
from engine.nn.costs import COSTS, weight_of_row
from engine.nn.dispatch import Formula, by_code
from engine.nn.kernel import kernel
from engine.nn.measures import count
from engine.nn.optimizers import OPTIMIZERS, STEP, Settings
from engine.nn.plan import DELTA_AT, FIRST, GRADIENT_NORM, NEXT, Buffers, Plan, Rows
from engine.nn.regularization import clip_values, limit_norms, measure_length, penalize, shorten
from engine.nn.views import Matrix, Vector, block, span


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
