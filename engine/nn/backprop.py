"""Forward and backward pass: the four equations of backpropagation, written once.

Shapes: a mini-batch has m rows; layer l has uˡ units; activations aˡ and deltas δˡ are (m, uˡ), weights Wˡ are
(uˡ, uˡ⁻¹), biases bˡ are (uˡ). With the rows of a mini-batch stacked, and C the mean over them:

    (1) δᴸ = ∇ₐC ⊙ σ′(zᴸ) / m
    (2) δˡ = (δˡ⁺¹ Wˡ⁺¹) ⊙ σ′(zˡ)
    (3) ∂C/∂bˡ = Σ over rows of δˡ
    (4) ∂C/∂Wˡ = δˡᵀ aˡ⁻¹

Source: Nielsen, "Neural Networks and Deep Learning", chapter 2, whose column vectors are rows here. A layer with batch
normalization works with γ x̂ + b instead of W a + b; dropout stands between a layer's outputs and the next one's inputs.

All work happens in buffers allocated once per run: no step allocates memory.
"""

from collections.abc import Callable

from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.array_views import matrix_view, vector_view
from nabla.engine.nn.batch_norm import (
    batch_norm_backward,
    normalize_batch,
    normalize_with_running_stats,
    scale_by_gamma,
    update_running_stats,
)
from nabla.engine.nn.compiled_layout import (
    ACTIVATION,
    BIASES_OFFSET,
    DELTA_OFFSET,
    GAMMA_OFFSET,
    INPUT_OFFSET,
    INPUTS,
    NORMALIZED_OFFSET,
    OUTPUT_OFFSET,
    STATISTICS_OFFSET,
    UNITS,
    WEIGHTED_SUM_OFFSET,
    WEIGHTS_OFFSET,
    Buffers,
    CompiledLayout,
)
from nabla.engine.nn.jit import build_switch, device_kernel, jit_inline, with_name
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.matmul import matmul_batch_invariant, matmul_nn, matmul_nt, matmul_tn
from nabla.engine.nn.regularization import apply_dropout
from nabla.engine.typing import Float64Array, Matrix, Vector

_activate = build_switch("activate", [activation.forward for activation in ACTIVATIONS.values()])
_activation_backward = build_switch("activation_backward", [activation.backward for activation in ACTIVATIONS.values()])
_differentiate_cost = build_switch("differentiate_cost", [cost.differentiate for cost in COSTS.values()])


@jit_inline
def train_forward(
    parameters: Vector,
    statistics: Vector,
    layout: CompiledLayout,
    buffers: Buffers,
    optimizer_state: Float64Array,
    seed: int,
    m: int,
) -> Matrix:
    """Run the forward pass of training on the inputs in the activations buffer.

    Dropout masks are drawn from `seed` and the step number in `optimizer_state`. The running statistics of batch
    normalization are updated.

    Returns:
        aᴸ, shape (m, outputs).
    """
    a = matrix_view(buffers.activations, 0, m, layout.layers[0, INPUTS])
    for layer in range(layout.layers.shape[0]):
        if layout.dropout[layer] > 0.0:
            offset = layout.layers[layer, INPUT_OFFSET] * buffers.rows
            masked = matrix_view(buffers.activations, offset, m, layout.layers[layer, INPUTS])
            apply_dropout(a, optimizer_state, masked, seed, offset, layout.dropout[layer])
            a = masked
        z = _weighted_sums(layout, buffers, layer, m)
        matmul_nt(a, _weights(parameters, layout, layer), z)
        statistics_offset = layout.layers[layer, STATISTICS_OFFSET]
        if statistics_offset >= 0:
            units = layout.layers[layer, UNITS]
            mean, scale = (
                vector_view(buffers.means, statistics_offset, units),
                vector_view(buffers.scales, statistics_offset, units),
            )
            normalize_batch(z, mean, scale)
            update_running_stats(mean, scale, vector_view(statistics, 2 * statistics_offset, 2 * units), m)
        a = _finish_layer(parameters, layout, buffers, layer, z)
    return a


Forward = Callable[[Vector, Vector, CompiledLayout, Buffers, int], Matrix]


def _build_forward(multiply: Callable[[Matrix, Matrix, Matrix], None]) -> Forward:
    @jit_inline
    @with_name(f"forward_by_{multiply.__name__}")
    def forward(parameters: Vector, statistics: Vector, layout: CompiledLayout, buffers: Buffers, m: int) -> Matrix:
        a = matrix_view(buffers.activations, 0, m, layout.layers[0, INPUTS])
        for layer in range(layout.layers.shape[0]):
            z = _weighted_sums(layout, buffers, layer, m)
            multiply(a, _weights(parameters, layout, layer), z)
            statistics_offset = layout.layers[layer, STATISTICS_OFFSET]
            if statistics_offset >= 0:
                units = layout.layers[layer, UNITS]
                mean, scale = (
                    vector_view(buffers.means, statistics_offset, units),
                    vector_view(buffers.scales, statistics_offset, units),
                )
                normalize_with_running_stats(z, mean, scale, vector_view(statistics, 2 * statistics_offset, 2 * units))
            a = _finish_layer(parameters, layout, buffers, layer, z)
        return a

    return forward


forward = _build_forward(matmul_nt)
"""Forward pass of evaluation: no dropout, batch normalization by running statistics."""

forward_batch_invariant = _build_forward(matmul_batch_invariant)
"""Forward pass of predictions: the outputs of a row do not depend on the rest of the batch, not even in the last bit.

m must be a multiple of `matmul.ROW_TILE`.
"""


@jit_inline
def _weights(parameters: Vector, layout: CompiledLayout, layer: int) -> Matrix:
    units, inputs = layout.layers[layer, UNITS], layout.layers[layer, INPUTS]
    return matrix_view(parameters, layout.layers[layer, WEIGHTS_OFFSET], units, inputs)


@jit_inline
def _weighted_sums(layout: CompiledLayout, buffers: Buffers, layer: int, m: int) -> Matrix:
    """Return the buffer for W a, shape (m, units)."""
    return matrix_view(
        buffers.activations, layout.layers[layer, NORMALIZED_OFFSET] * buffers.rows, m, layout.layers[layer, UNITS]
    )


@jit_inline
def _finish_layer(parameters: Vector, layout: CompiledLayout, buffers: Buffers, layer: int, x: Matrix) -> Matrix:
    """Compute a layer's outputs from W a, or from x̂ with batch normalization."""
    m, units = x.shape
    gamma_offset, b_offset = layout.layers[layer, GAMMA_OFFSET], layout.layers[layer, BIASES_OFFSET]
    z = matrix_view(buffers.activations, layout.layers[layer, WEIGHTED_SUM_OFFSET] * buffers.rows, m, units)
    if gamma_offset >= 0:
        scale_by_gamma(x, vector_view(parameters, gamma_offset, units), z)
    a = matrix_view(buffers.activations, layout.layers[layer, OUTPUT_OFFSET] * buffers.rows, m, units)
    _activate(layout.layers[layer, ACTIVATION], z, vector_view(parameters, b_offset, units), a)
    return a


@jit_inline
def backward(
    parameters: Vector,
    gradient: Vector,
    layout: CompiledLayout,
    buffers: Buffers,
    optimizer_state: Float64Array,
    seed: int,
    m: int,
) -> None:
    """Compute the gradient of every parameter from the targets in the deltas buffer.

    `buffers.batch_weights` (m) holds the weight of each row in the mean: 1/m without sample weights.
    """
    last = layout.layers.shape[0] - 1
    for layer in range(last, -1, -1):
        units = layout.layers[layer, UNITS]
        z = matrix_view(buffers.activations, layout.layers[layer, WEIGHTED_SUM_OFFSET] * buffers.rows, m, units)
        a = matrix_view(buffers.activations, layout.layers[layer, OUTPUT_OFFSET] * buffers.rows, m, units)
        delta = matrix_view(buffers.deltas, layout.layers[layer, DELTA_OFFSET] * buffers.rows, m, units)
        if layer == last:
            _differentiate_cost(layout.cost, a, delta, vector_view(buffers.batch_weights, 0, m), layout.cost_parameter)
        if layer < last or not layout.cost_wrt_input:
            _activation_backward(layout.layers[layer, ACTIVATION], z, a, delta)
        _layer_backward(parameters, gradient, layout, buffers, layer, delta)
        if layer > 0:
            _propagate_delta(parameters, layout, buffers, optimizer_state, seed, layer, delta)


@jit_inline
def _layer_backward(
    parameters: Vector, gradient: Vector, layout: CompiledLayout, buffers: Buffers, layer: int, delta: Matrix
) -> None:
    """Compute equations (3) and (4), with the backward pass of batch normalization in between."""
    m, units = delta.shape
    inputs = layout.layers[layer, INPUTS]
    b_offset, statistics_offset = layout.layers[layer, BIASES_OFFSET], layout.layers[layer, STATISTICS_OFFSET]
    b_gradient = vector_view(gradient, b_offset, units)
    sum_rows(delta, b_gradient)
    if statistics_offset >= 0:
        gamma_offset = layout.layers[layer, GAMMA_OFFSET]
        x = matrix_view(buffers.activations, layout.layers[layer, NORMALIZED_OFFSET] * buffers.rows, m, units)
        gamma, gamma_gradient = (
            vector_view(parameters, gamma_offset, units),
            vector_view(gradient, gamma_offset, units),
        )
        batch_norm_backward(
            x, gamma, vector_view(buffers.scales, statistics_offset, units), b_gradient, gamma_gradient, delta
        )
    previous_a = matrix_view(buffers.activations, layout.layers[layer, INPUT_OFFSET] * buffers.rows, m, inputs)
    matmul_tn(delta, previous_a, matrix_view(gradient, layout.layers[layer, WEIGHTS_OFFSET], units, inputs))


@device_kernel("sum_rows")
def sum_rows(delta: Matrix, out: Vector) -> None:
    """Set out to the sum over the rows of delta, four at a time: each sum is loaded and stored a quarter as often."""
    for j in range(out.size):
        out[j] = 0
    rows = delta.shape[0] - delta.shape[0] % 4
    for i in range(0, rows, 4):
        for j in range(out.size):
            out[j] += (delta[i, j] + delta[i + 1, j]) + (delta[i + 2, j] + delta[i + 3, j])
    for i in range(rows, delta.shape[0]):
        for j in range(out.size):
            out[j] += delta[i, j]


@jit_inline
def _propagate_delta(
    parameters: Vector,
    layout: CompiledLayout,
    buffers: Buffers,
    optimizer_state: Float64Array,
    seed: int,
    layer: int,
    delta: Matrix,
) -> None:
    """Compute the matrix product of equation (2), and apply the dropout mask of the forward pass to it."""
    m, units = delta.shape
    inputs = layout.layers[layer, INPUTS]
    previous = matrix_view(buffers.deltas, layout.layers[layer - 1, DELTA_OFFSET] * buffers.rows, m, inputs)
    matmul_nn(delta, matrix_view(parameters, layout.layers[layer, WEIGHTS_OFFSET], units, inputs), previous)
    if layout.dropout[layer] > 0.0:
        apply_dropout(
            previous,
            optimizer_state,
            previous,
            seed,
            layout.layers[layer, INPUT_OFFSET] * buffers.rows,
            layout.dropout[layer],
        )
