"""Forward and backward: the four equations, written once.

Shapes: a mini-batch has m rows; layer l has uˡ units; activations aˡ and deltas δˡ are (m, uˡ), weights Wˡ are
(uˡ, uˡ⁻¹), biases bˡ are (uˡ). With the rows of a mini-batch stacked, and C the mean over them:

    (1) δᴸ = ∇ₐC ⊙ σ′(zᴸ) / m
    (2) δˡ = (δˡ⁺¹ Wˡ⁺¹) ⊙ σ′(zˡ)
    (3) ∂C/∂bˡ = Σ over rows of δˡ
    (4) ∂C/∂Wˡ = δˡᵀ aˡ⁻¹

Source: Nielsen, "Neural Networks and Deep Learning", chapter 2, whose column vectors are rows here. A layer with batch
normalization works with γ x̂ + b instead of W a + b; dropout stands between a layer's outputs and the next one's inputs.

Everything works in buffers made once per run: nothing is allocated while steps are made.
"""

from collections.abc import Callable

from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.array_views import Matrix, Vector, block, span
from nabla.engine.nn.batch_norm import multiply, remember, standardize, standardize_as_remembered, through_batch_norm
from nabla.engine.nn.compiled_layout import (
    ACTIVATION,
    BIASES_AT,
    DELTA_AT,
    INPUT_AT,
    INPUTS,
    NORMAL_AT,
    OUTPUT_AT,
    SCALES_AT,
    STATISTICS_AT,
    SUM_AT,
    UNITS,
    WEIGHTS_AT,
    Buffers,
    Plan,
)
from nabla.engine.nn.jit import by_code, formula, kernel, named
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.matmul import multiply_alike, multiply_by_transpose, multiply_plainly, multiply_transpose
from nabla.engine.nn.optimizers import Settings
from nabla.engine.nn.regularization import drop

_activate = by_code("activate", [activation.forward for activation in ACTIVATIONS.values()])
_through_activation = by_code("through_activation", [activation.backward for activation in ACTIVATIONS.values()])
_differentiate_cost = by_code("differentiate_cost", [cost.differentiate for cost in COSTS.values()])


@formula
def train_forward(
    parameters: Vector, statistics: Vector, plan: Plan, buffers: Buffers, memory: Settings, seed: int, m: int
) -> Matrix:
    """Work the inputs in the first block of activations through all layers as training does; returns aᴸ (m, outputs).

    `seed` and the step in the optimizer's `memory` draw what is dropped; the running statistics follow the
    mini-batch's.
    """
    a = block(buffers.activations, 0, m, plan.layers[0, INPUTS])
    for layer in range(plan.layers.shape[0]):
        if plan.dropout[layer] > 0.0:
            kept_at = plan.layers[layer, INPUT_AT] * buffers.rows
            kept = block(buffers.activations, kept_at, m, plan.layers[layer, INPUTS])
            drop(a, memory, kept, seed, kept_at, plan.dropout[layer])
            a = kept
        z = _sums(plan, buffers, layer, m)
        multiply_by_transpose(a, _weights(parameters, plan, layer), z)
        at = plan.layers[layer, STATISTICS_AT]
        if at >= 0:
            units = plan.layers[layer, UNITS]
            mean, scale = span(buffers.means, at, units), span(buffers.scales, at, units)
            standardize(z, mean, scale)
            remember(mean, scale, span(statistics, 2 * at, 2 * units), m)
        a = _finish_layer(parameters, plan, buffers, layer, z)
    return a


Forward = Callable[[Vector, Vector, Plan, Buffers, int], Matrix]


def _forward_by(multiply: Callable[[Matrix, Matrix, Matrix], None]) -> Forward:
    @formula
    @named(f"forward_by_{multiply.__name__}")
    def forward(parameters: Vector, statistics: Vector, plan: Plan, buffers: Buffers, m: int) -> Matrix:
        a = block(buffers.activations, 0, m, plan.layers[0, INPUTS])
        for layer in range(plan.layers.shape[0]):
            z = _sums(plan, buffers, layer, m)
            multiply(a, _weights(parameters, plan, layer), z)
            at = plan.layers[layer, STATISTICS_AT]
            if at >= 0:
                units = plan.layers[layer, UNITS]
                mean, scale = span(buffers.means, at, units), span(buffers.scales, at, units)
                standardize_as_remembered(z, mean, scale, span(statistics, 2 * at, 2 * units))
            a = _finish_layer(parameters, plan, buffers, layer, z)
        return a

    return forward


forward = _forward_by(multiply_by_transpose)
"""Without what only training does: nothing is dropped, and normalization is by the running statistics."""

forward_alike = _forward_by(multiply_alike)
"""The same for predictions: a row's outputs have the same bits whatever rows are beside it. m is a multiple of
`products.ROWS_ALIKE`."""


@formula
def _weights(parameters: Vector, plan: Plan, layer: int) -> Matrix:
    units, inputs = plan.layers[layer, UNITS], plan.layers[layer, INPUTS]
    return block(parameters, plan.layers[layer, WEIGHTS_AT], units, inputs)


@formula
def _sums(plan: Plan, buffers: Buffers, layer: int, m: int) -> Matrix:
    """Room for W a of every row."""
    return block(buffers.activations, plan.layers[layer, NORMAL_AT] * buffers.rows, m, plan.layers[layer, UNITS])


@formula
def _finish_layer(parameters: Vector, plan: Plan, buffers: Buffers, layer: int, x: Matrix) -> Matrix:
    """From W a, or what normalization made of it, to the layer's outputs."""
    m, units = x.shape
    scales_at, b_at = plan.layers[layer, SCALES_AT], plan.layers[layer, BIASES_AT]
    z = block(buffers.activations, plan.layers[layer, SUM_AT] * buffers.rows, m, units)
    if scales_at >= 0:
        multiply(x, span(parameters, scales_at, units), z)
    a = block(buffers.activations, plan.layers[layer, OUTPUT_AT] * buffers.rows, m, units)
    _activate(plan.layers[layer, ACTIVATION], z, span(parameters, b_at, units), a)
    return a


@formula
def backward(
    parameters: Vector, gradient: Vector, plan: Plan, buffers: Buffers, memory: Settings, seed: int, m: int
) -> None:
    """From the targets in the last block of deltas to the gradient of every parameter.

    `buffers.shares` (m): how much each row counts in the mean, 1/m where all count alike.
    """
    last = plan.layers.shape[0] - 1
    for layer in range(last, -1, -1):
        units = plan.layers[layer, UNITS]
        z = block(buffers.activations, plan.layers[layer, SUM_AT] * buffers.rows, m, units)
        a = block(buffers.activations, plan.layers[layer, OUTPUT_AT] * buffers.rows, m, units)
        delta = block(buffers.deltas, plan.layers[layer, DELTA_AT] * buffers.rows, m, units)
        if layer == last:
            _differentiate_cost(plan.cost, a, delta, span(buffers.shares, 0, m), plan.cost_setting)
        if layer < last or not plan.cost_to_input:
            _through_activation(plan.layers[layer, ACTIVATION], z, a, delta)
        _through_layer(parameters, gradient, plan, buffers, layer, delta)
        if layer > 0:
            _to_layer_before(parameters, plan, buffers, memory, seed, layer, delta)


@formula
def _through_layer(
    parameters: Vector, gradient: Vector, plan: Plan, buffers: Buffers, layer: int, delta: Matrix
) -> None:
    """Equations (3) and (4); through batch normalization in between."""
    m, units = delta.shape
    inputs = plan.layers[layer, INPUTS]
    b_at, at = plan.layers[layer, BIASES_AT], plan.layers[layer, STATISTICS_AT]
    b_gradient = span(gradient, b_at, units)
    sum_rows(delta, b_gradient)
    if at >= 0:
        scales_at = plan.layers[layer, SCALES_AT]
        x = block(buffers.activations, plan.layers[layer, NORMAL_AT] * buffers.rows, m, units)
        gamma, gamma_gradient = span(parameters, scales_at, units), span(gradient, scales_at, units)
        through_batch_norm(x, gamma, span(buffers.scales, at, units), b_gradient, gamma_gradient, delta)
    a_before = block(buffers.activations, plan.layers[layer, INPUT_AT] * buffers.rows, m, inputs)
    multiply_transpose(delta, a_before, block(gradient, plan.layers[layer, WEIGHTS_AT], units, inputs))


@kernel("sum_rows")
def sum_rows(delta: Matrix, out: Vector) -> None:
    """Four rows at a time: each sum is then loaded and stored a quarter as often."""
    for j in range(out.size):
        out[j] = 0
    rows = delta.shape[0] - delta.shape[0] % 4
    for i in range(0, rows, 4):
        for j in range(out.size):
            out[j] += (delta[i, j] + delta[i + 1, j]) + (delta[i + 2, j] + delta[i + 3, j])
    for i in range(rows, delta.shape[0]):
        for j in range(out.size):
            out[j] += delta[i, j]


@formula
def _to_layer_before(
    parameters: Vector, plan: Plan, buffers: Buffers, memory: Settings, seed: int, layer: int, delta: Matrix
) -> None:
    """The product of equation (2), and back through what was dropped."""
    m, units = delta.shape
    inputs = plan.layers[layer, INPUTS]
    before = block(buffers.deltas, plan.layers[layer - 1, DELTA_AT] * buffers.rows, m, inputs)
    multiply_plainly(delta, block(parameters, plan.layers[layer, WEIGHTS_AT], units, inputs), before)
    if plan.dropout[layer] > 0.0:
        drop(before, memory, before, seed, plan.layers[layer, INPUT_AT] * buffers.rows, plan.dropout[layer])
