"""Forward and backward: the four equations, written once.

Shapes: a mini-batch has m rows; layer l has uˡ units; activations aˡ and deltas δˡ are (m, uˡ), weights Wˡ are
(uˡ, uˡ⁻¹), biases bˡ are (uˡ). With the rows of a mini-batch stacked, and C the mean over them:

    (1) δᴸ = ∇ₐC ⊙ σ′(zᴸ) / m
    (2) δˡ = (δˡ⁺¹ Wˡ⁺¹) ⊙ σ′(zˡ)
    (3) ∂C/∂bˡ = Σ over rows of δˡ
    (4) ∂C/∂Wˡ = δˡᵀ aˡ⁻¹

Source: Nielsen, "Neural Networks and Deep Learning", chapter 2, whose column vectors are rows here.

Everything works in buffers made once per run: nothing is allocated while steps are made.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.nn.activations import ACTIVATIONS, Matrix, Vector
from engine.nn.compiling import entry, formula, scalar
from engine.nn.costs import COSTS
from engine.nn.dispatch import by_code
from engine.nn.optimizers import OPTIMIZERS, STEP, Settings

Rows = npt.NDArray[np.int64]

# Columns of Plan.layers.
INPUTS, UNITS, ACTIVATION, WEIGHTS_AT, BIASES_AT, SUM_AT, OUTPUT_AT, DELTA_AT = range(8)
# Columns of Buffers.totals.
COST, CORRECT = range(2)

_activate = by_code("activate", [activation.forward for activation in ACTIVATIONS.values()])
_through_activation = by_code("through_activation", [activation.backward for activation in ACTIVATIONS.values()])
_total_cost = by_code("total_cost", [cost.total for cost in COSTS.values()])
_differentiate_cost = by_code("differentiate_cost", [cost.differentiate for cost in COSTS.values()])
_update = by_code("update", [optimizer.update for optimizer in OPTIMIZERS.values()])


class Plan(NamedTuple):
    """A network as numbers.

    `layers` has a row for each layer and the columns named above; positions of weights and biases are in the flat
    parameter vector; positions of weighted sums z, of outputs a and of deltas are in units per row of a mini-batch.
    `cost_setting` goes to the cost as it is; `label_smoothing` is the share of a target spread over all classes.
    """

    layers: npt.NDArray[np.int64]
    cost: int
    cost_setting: float
    cost_to_input: bool
    label_smoothing: float
    classify: bool


class Buffers(NamedTuple):
    """Where a mini-batch of at most `rows` rows is worked out.

    `activations`: the inputs, then what every layer keeps, one block of rows after the other; `deltas`: a block for
    each layer, of which the last receives the targets and becomes δᴸ. `totals`: sums over the rows seen since it was
    last cleared.
    """

    rows: int
    activations: Vector
    deltas: Vector
    totals: npt.NDArray[np.float64]


class Optimization(NamedTuple):
    """How parameters change: the rule's number, its settings, moments and memory, and η for each step of the epoch."""

    rule: int
    settings: Settings
    moments: Matrix
    memory: Settings
    rates: Settings


@formula
def _block(flat: Vector, at: int, rows: int, columns: int) -> Matrix:
    """The matrix (rows, columns) that begins at position `at` of a flat vector; a view."""
    return flat[at : at + rows * columns].reshape(rows, columns)


@formula
def _gather(source: Matrix, order: Rows, first: int, out: Matrix) -> None:
    for i in range(out.shape[0]):
        row = order[first + i]
        for j in range(out.shape[1]):
            out[i, j] = source[row, j]


@formula
def _copy(source: Matrix, first: int, out: Matrix, out_first: int, rows: int) -> None:
    for i in range(rows):
        for j in range(out.shape[1]):
            out[out_first + i, j] = source[first + i, j]


@formula
def _correct(a: Matrix, y: Matrix) -> int:
    """How many rows name the right class: the largest output, or for a single output the side of ½."""
    count = 0
    for i in range(a.shape[0]):
        if a.shape[1] == 1:
            count += (a[i, 0] >= 0.5) == (y[i, 0] >= 0.5)
        else:
            count += np.argmax(a[i]) == np.argmax(y[i])
    return count


@formula
def _forward(parameters: Vector, plan: Plan, buffers: Buffers, m: int) -> Matrix:
    """Work the inputs in the first block of activations through all layers; returns aᴸ."""
    a = _block(buffers.activations, 0, m, plan.layers[0, INPUTS])
    for layer in range(plan.layers.shape[0]):
        inputs, units = plan.layers[layer, INPUTS], plan.layers[layer, UNITS]
        w = _block(parameters, plan.layers[layer, WEIGHTS_AT], units, inputs)
        b_at = plan.layers[layer, BIASES_AT]
        z = _block(buffers.activations, plan.layers[layer, SUM_AT] * buffers.rows, m, units)
        np.dot(a, w.T, z)
        a = _block(buffers.activations, plan.layers[layer, OUTPUT_AT] * buffers.rows, m, units)
        _activate(plan.layers[layer, ACTIVATION], z, parameters[b_at : b_at + units], a)
    return a


@formula
def _measure(plan: Plan, buffers: Buffers, a: Matrix, y: Matrix) -> None:
    buffers.totals[COST] += _total_cost(plan.cost, a, y, plan.cost_setting)
    if plan.classify:
        buffers.totals[CORRECT] += _correct(a, y)


@formula
def _backward(parameters: Vector, gradient: Vector, plan: Plan, buffers: Buffers, m: int) -> None:
    """From the targets in the last block of deltas to the gradient of every parameter."""
    last = plan.layers.shape[0] - 1
    for layer in range(last, -1, -1):
        inputs, units = plan.layers[layer, INPUTS], plan.layers[layer, UNITS]
        z = _block(buffers.activations, plan.layers[layer, SUM_AT] * buffers.rows, m, units)
        a = _block(buffers.activations, plan.layers[layer, OUTPUT_AT] * buffers.rows, m, units)
        delta = _block(buffers.deltas, plan.layers[layer, DELTA_AT] * buffers.rows, m, units)
        if layer == last:
            _differentiate_cost(plan.cost, a, delta, plan.cost_setting)
        if layer < last or not plan.cost_to_input:
            _through_activation(plan.layers[layer, ACTIVATION], z, a, delta)
        if layer == last:
            _average(delta, m)

        a_before_at = 0 if layer == 0 else plan.layers[layer - 1, OUTPUT_AT] * buffers.rows
        a_before = _block(buffers.activations, a_before_at, m, inputs)
        w_at, b_at = plan.layers[layer, WEIGHTS_AT], plan.layers[layer, BIASES_AT]
        np.dot(delta.T, a_before, _block(gradient, w_at, units, inputs))
        _sum_rows(delta, gradient[b_at : b_at + units])
        if layer > 0:
            before_at = plan.layers[layer - 1, DELTA_AT] * buffers.rows
            w = _block(parameters, w_at, units, inputs)
            np.dot(delta, w, _block(buffers.deltas, before_at, m, inputs))


@formula
def _average(delta: Matrix, m: int) -> None:
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            delta[i, j] /= m


@formula
def _sum_rows(delta: Matrix, out: Vector) -> None:
    for j in range(out.size):
        out[j] = 0
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            out[j] += delta[i, j]


@formula
def _load(plan: Plan, buffers: Buffers, x: Matrix, y: Matrix, order: Rows, first: int, m: int) -> Matrix:
    """Copy m rows into the buffers, in the order given; returns the targets' block."""
    last = plan.layers.shape[0] - 1
    _gather(x, order, first, _block(buffers.activations, 0, m, x.shape[1]))
    targets = _block(buffers.deltas, plan.layers[last, DELTA_AT] * buffers.rows, m, y.shape[1])
    _gather(y, order, first, targets)
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


@entry
def train_steps(
    parameters: Vector,
    gradient: Vector,
    optimization: Optimization,
    plan: Plan,
    buffers: Buffers,
    x: Matrix,
    y: Matrix,
    order: Rows,
    first: int,
    last: int,
) -> None:
    """Train on rows order[first:last], a mini-batch of `buffers.rows` at a time; the last may be shorter.

    The gradient of a mini-batch is the mean over its own rows. Adds to `buffers.totals` the cost and the correct
    answers that the forward passes see, before each update.
    """
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        targets = _load(plan, buffers, x, y, order, start, m)
        outputs = _forward(parameters, plan, buffers, m)
        _measure(plan, buffers, outputs, targets)
        _backward(parameters, gradient, plan, buffers, m)
        optimization.memory[STEP] += 1.0
        _update(
            optimization.rule,
            parameters,
            gradient,
            optimization.moments,
            optimization.settings,
            optimization.rates[start // buffers.rows],
            optimization.memory,
        )


@entry
def evaluate_rows(
    parameters: Vector, plan: Plan, buffers: Buffers, x: Matrix, y: Matrix, order: Rows, first: int, last: int
) -> None:
    """Add to `buffers.totals` the cost and the correct answers over rows order[first:last]."""
    for start in range(first, last, buffers.rows):
        m = min(buffers.rows, last - start)
        targets = _load(plan, buffers, x, y, order, start, m)
        _measure(plan, buffers, _forward(parameters, plan, buffers, m), targets)


@entry
def predict_rows(parameters: Vector, plan: Plan, buffers: Buffers, x: Matrix, out: Matrix) -> None:
    """Work x (rows, inputs) through the network into out (rows, outputs)."""
    for start in range(0, x.shape[0], buffers.rows):
        m = min(buffers.rows, x.shape[0] - start)
        _copy(x, start, _block(buffers.activations, 0, m, x.shape[1]), 0, m)
        _copy(_forward(parameters, plan, buffers, m), 0, out, start, m)


@entry
def cost_of_rows(plan: Plan, a: Matrix, y: Matrix, weights: Vector) -> float:
    """The sum over the rows of their cost times their weight, for outputs a and targets y, both (rows, outputs).

    An empty vector of weights means that each is 1.
    """
    total = 0.0
    target = np.empty((1, y.shape[1]), y.dtype)
    for i in range(a.shape[0]):
        _copy(y, i, target, 0, 1)
        if plan.label_smoothing > 0.0:
            _smooth(target, plan.label_smoothing)
        cost = _total_cost(plan.cost, a[i : i + 1], target, plan.cost_setting)
        if weights.size == 0:
            total += cost
        elif weights[i] > 0.0:
            total += weights[i] * cost
    return total
