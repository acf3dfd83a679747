"""The loops over mini-batches: training, measuring, predicting. This is the code that Python calls."""

import numpy as np

from engine.nn.backprop import forward_alike
from engine.nn.compiling import entry, formula
from engine.nn.costs import COSTS
from engine.nn.dispatch import by_code
from engine.nn.optimizers import Settings
from engine.nn.plan import NEXT, Buffers, Plan, Rows
from engine.nn.products import ROWS_ALIKE
from engine.nn.regularization import penalize
from engine.nn.steps import Examples, Optimization, evaluate_step, smooth, train_step
from engine.nn.views import Matrix, Vector, block, lasting

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
