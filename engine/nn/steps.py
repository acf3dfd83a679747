"""The loops over mini-batches: training, measuring, predicting. This is the code that Python calls."""

from typing import NamedTuple

import numpy as np

from engine.nn.backprop import backward, forward, train_forward
from engine.nn.compiling import entry, formula, scalar
from engine.nn.costs import COSTS
from engine.nn.dispatch import by_code
from engine.nn.measures import count
from engine.nn.optimizers import OPTIMIZERS, STEP, Settings
from engine.nn.plan import COST, DELTA_AT, GRADIENT_NORM, Buffers, Plan, Rows
from engine.nn.random import DROPOUT, key
from engine.nn.regularization import clip_norm, clip_values, limit_norms, norm, penalize
from engine.nn.views import Matrix, Vector, block, span

_total_cost = by_code("total_cost", [cost.total for cost in COSTS.values()])
_update = by_code("update", [optimizer.update for optimizer in OPTIMIZERS.values()])


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


@formula
def _gather(source: Matrix, order: Rows, first: int, out: Matrix) -> None:
    for i in range(out.shape[0]):
        row = order[first + i]
        for j in range(out.shape[1]):
            out[i, j] = source[row, j]


@formula
def _load(plan: Plan, buffers: Buffers, examples: Examples, order: Rows, first: int, m: int) -> Matrix:
    """Copy m rows into the buffers, in the order given; returns the targets' block."""
    last = plan.layers.shape[0] - 1
    _gather(examples.x, order, first, block(buffers.activations, 0, m, examples.x.shape[1]))
    targets = block(buffers.deltas, plan.layers[last, DELTA_AT] * buffers.rows, m, examples.y.shape[1])
    _gather(examples.y, order, first, targets)
    if plan.label_smoothing > 0.0:
        _smooth(targets, plan.label_smoothing)
    return targets


@formula
def _smooth(y: Matrix, share: float) -> None:
    """y ← (1 − s) y + s / K over K classes. Szegedy et al., "Rethinking the Inception architecture", 2016."""
    kept, even = scalar(1.0 - share, y[0, 0]), scalar(share / y.shape[1], y[0, 0])
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = kept * y[i, j] + even


@formula
def _measure(plan: Plan, buffers: Buffers, a: Matrix, y: Matrix, weights: Settings, order: Rows, first: int) -> None:
    """Add the cost of m rows to the totals, and what is counted beside it."""
    if weights.size == 0:
        buffers.totals[COST] += _total_cost(plan.cost, a, y, plan.cost_setting)
    else:
        for i in range(a.shape[0]):
            cost = _total_cost(plan.cost, a[i : i + 1], y[i : i + 1], plan.cost_setting)
            buffers.totals[COST] += weights[order[first + i]] * cost
    count(plan.measure, a, y, buffers.totals)


@formula
def _divide(shares: Vector, weights: Settings, order: Rows, first: int) -> None:
    """How much each row of a mini-batch counts in its mean."""
    m = shares.size
    for i in range(m):
        weight = 1.0 if weights.size == 0 else weights[order[first + i]]
        shares[i] = scalar(weight / m, shares[0])


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
    memory = optimization.memory
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        memory[STEP] += 1.0
        mask = key(optimization.seed, DROPOUT, int(memory[STEP]))
        targets = _load(plan, buffers, examples, order, start, m)
        outputs = train_forward(parameters, statistics, plan, buffers, mask, m)
        _measure(plan, buffers, outputs, targets, examples.weights, order, start)
        _divide(span(buffers.shares, 0, m), examples.weights, order, start)
        backward(parameters, gradient, plan, buffers, mask, span(buffers.shares, 0, m), m)
        if optimization.l1 > 0.0 or optimization.l2 > 0.0:
            penalty = penalize(parameters, gradient, plan.layers, optimization.l1, optimization.l2)
            buffers.totals[COST] += m * penalty
        if start + m == order.size:
            buffers.totals[GRADIENT_NORM] = norm(gradient)
        if optimization.clip_value < np.inf:
            clip_values(gradient, optimization.clip_value)
        if optimization.clip_norm < np.inf:
            clip_norm(gradient, optimization.clip_norm)
        _update(
            optimization.rule,
            parameters,
            gradient,
            optimization.moments,
            optimization.settings,
            optimization.rates[start // buffers.rows],
            memory,
        )
        if optimization.max_norm < np.inf:
            limit_norms(parameters, plan.layers, optimization.max_norm)


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
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        targets = _load(plan, buffers, examples, order, start, m)
        outputs = forward(parameters, statistics, plan, buffers, m)
        _measure(plan, buffers, outputs, targets, examples.weights, order, start)


@entry
def predict_rows(parameters: Vector, statistics: Vector, plan: Plan, buffers: Buffers, x: Matrix, out: Matrix) -> None:
    """Work x (rows, inputs) through the network into out (rows, outputs)."""
    for start in range(0, x.shape[0], buffers.rows):
        m = min(buffers.rows, x.shape[0] - start)
        _copy(x[start : start + m], block(buffers.activations, 0, m, x.shape[1]))
        _copy(forward(parameters, statistics, plan, buffers, m), out[start : start + m])


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
            _smooth(target, plan.label_smoothing)
        cost = _total_cost(plan.cost, a[i : i + 1], target, plan.cost_setting)
        if weights.size == 0:
            total += cost
        elif weights[i] > 0.0:
            total += weights[i] * cost
    return total


@entry
def weight_penalty(parameters: Vector, gradient: Vector, plan: Plan, l1: float, l2: float) -> float:
    """The penalty that training adds to the cost; its gradient is added to `gradient`."""
    return penalize(parameters, gradient, plan.layers, l1, l2)
