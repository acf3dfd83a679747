"""Forward and backward pass: the four equations of backpropagation, written once.

Shapes: a mini-batch has m rows; layer l has uˡ units; activations aˡ and deltas δˡ are (m, uˡ), weights Wˡ are
(uˡ, uˡ⁻¹), biases bˡ are (uˡ). With the rows of a mini-batch stacked, and C the mean over them:

    (1) δᴸ = ∇ₐC ⊙ σ′(zᴸ) / m
    (2) δˡ = (δˡ⁺¹ Wˡ⁺¹) ⊙ σ′(zˡ)
    (3) ∂C/∂bˡ = Σ over rows of δˡ
    (4) ∂C/∂Wˡ = δˡᵀ aˡ⁻¹

Source: Nielsen, "Neural Networks and Deep Learning", chapter 2, whose column vectors are rows here. A layer with batch
normalization works with γ x̂ + b instead of W a + b; dropout stands between a layer's outputs and the next one's inputs.

All work happens in buffers allocated once per run: no step allocates memory. The functions call kernels, so that with
traced arrays they record a step.
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
from nabla.engine.nn.jit import device_kernel
from nabla.engine.nn.layout import Buffers, LayerLayout, NetworkLayout
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.matmul import matmul_nn, matmul_nt, matmul_tn
from nabla.engine.nn.regularization import apply_dropout
from nabla.engine.typing import Float64Array, Matrix, Vector


def train_forward(
    parameters: Vector,
    statistics: Vector,
    layout: NetworkLayout,
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
    a = matrix_view(buffers.activations, 0, m, layout.layers[0].inputs)
    for layer in layout.layers:
        if layer.dropout > 0.0:
            offset = layer.inputs_offset * buffers.rows
            masked = matrix_view(buffers.activations, offset, m, layer.inputs)
            apply_dropout(a, optimizer_state, masked, seed, offset, layer.dropout)
            a = masked
        z = _normalized_view(layer, buffers, m)
        matmul_nt(a, _weights_view(parameters, layer), z)
        if layer.statistics_offset is not None:
            mean = vector_view(buffers.means, layer.statistics_offset, layer.units)
            scale = vector_view(buffers.scales, layer.statistics_offset, layer.units)
            normalize_batch(z, mean, scale)
            update_running_stats(mean, scale, _statistics_view(statistics, layer, layer.statistics_offset), m)
        a = _finish_layer(parameters, layer, buffers, z)
    return a


def forward(
    parameters: Vector,
    statistics: Vector,
    layout: NetworkLayout,
    buffers: Buffers,
    m: int,
    multiply: Callable[[Matrix, Matrix, Matrix], None] = matmul_nt,
) -> Matrix:
    """Run the forward pass of evaluation and prediction: no dropout, batch normalization by running statistics.

    Args:
        parameters: The parameters.
        statistics: The running statistics.
        layout: The layout of the network.
        buffers: The buffers; that of activations begins with the inputs.
        m: Number of rows.
        multiply: Computes W a. With `matmul_batch_invariant`, the outputs of a row do not depend on the others, not
            even in the last bit; m must then be a multiple of `matmul.ROW_TILE`.

    Returns:
        aᴸ, shape (m, outputs).
    """
    a = matrix_view(buffers.activations, 0, m, layout.layers[0].inputs)
    for layer in layout.layers:
        z = _normalized_view(layer, buffers, m)
        multiply(a, _weights_view(parameters, layer), z)
        if layer.statistics_offset is not None:
            mean = vector_view(buffers.means, layer.statistics_offset, layer.units)
            scale = vector_view(buffers.scales, layer.statistics_offset, layer.units)
            running = _statistics_view(statistics, layer, layer.statistics_offset)
            normalize_with_running_stats(z, mean, scale, running)
        a = _finish_layer(parameters, layer, buffers, z)
    return a


def _weights_view(parameters: Vector, layer: LayerLayout) -> Matrix:
    return matrix_view(parameters, layer.weights_offset, layer.units, layer.inputs)


def _normalized_view(layer: LayerLayout, buffers: Buffers, m: int) -> Matrix:
    """Return the buffer for W a, shape (m, units)."""
    return matrix_view(buffers.activations, layer.normalized_offset * buffers.rows, m, layer.units)


def _statistics_view(statistics: Vector, layer: LayerLayout, statistics_offset: int) -> Vector:
    """Return the running means and variances of a layer."""
    return vector_view(statistics, 2 * statistics_offset, 2 * layer.units)


def _finish_layer(parameters: Vector, layer: LayerLayout, buffers: Buffers, x: Matrix) -> Matrix:
    """Compute a layer's outputs from W a, or from x̂ with batch normalization."""
    m, units = x.shape
    z = matrix_view(buffers.activations, layer.weighted_sums_offset * buffers.rows, m, units)
    if layer.gamma_offset is not None:
        scale_by_gamma(x, vector_view(parameters, layer.gamma_offset, units), z)
    a = matrix_view(buffers.activations, layer.outputs_offset * buffers.rows, m, units)
    ACTIVATIONS[layer.activation].forward(z, vector_view(parameters, layer.biases_offset, units), a)
    return a


def backward(
    parameters: Vector,
    gradient: Vector,
    layout: NetworkLayout,
    buffers: Buffers,
    optimizer_state: Float64Array,
    seed: int,
    m: int,
) -> None:
    """Compute the gradient of every parameter from the targets in the deltas buffer.

    `buffers.batch_weights` (m) holds the weight of each row in the mean: 1/m without sample weights.
    """
    cost = COSTS[layout.cost]
    last = len(layout.layers) - 1
    for index in range(last, -1, -1):
        layer = layout.layers[index]
        z = matrix_view(buffers.activations, layer.weighted_sums_offset * buffers.rows, m, layer.units)
        a = matrix_view(buffers.activations, layer.outputs_offset * buffers.rows, m, layer.units)
        delta = matrix_view(buffers.deltas, layer.deltas_offset * buffers.rows, m, layer.units)
        if index == last:
            cost.differentiate(a, delta, vector_view(buffers.batch_weights, 0, m), layout.cost_parameter)
        if index < last or not cost.wrt_input:
            ACTIVATIONS[layer.activation].backward(z, a, delta)
        _layer_backward(parameters, gradient, layer, buffers, delta)
        if index > 0:
            previous_offset = layout.layers[index - 1].deltas_offset * buffers.rows
            previous = matrix_view(buffers.deltas, previous_offset, m, layer.inputs)
            matmul_nn(delta, _weights_view(parameters, layer), previous)
            if layer.dropout > 0.0:  # the mask of the forward pass
                offset = layer.inputs_offset * buffers.rows
                apply_dropout(previous, optimizer_state, previous, seed, offset, layer.dropout)


def _layer_backward(parameters: Vector, gradient: Vector, layer: LayerLayout, buffers: Buffers, delta: Matrix) -> None:
    """Compute equations (3) and (4), with the backward pass of batch normalization in between."""
    m, units = delta.shape
    b_gradient = vector_view(gradient, layer.biases_offset, units)
    sum_rows(delta, b_gradient)
    if layer.gamma_offset is not None and layer.statistics_offset is not None:
        x = _normalized_view(layer, buffers, m)
        gamma = vector_view(parameters, layer.gamma_offset, units)
        gamma_gradient = vector_view(gradient, layer.gamma_offset, units)
        scale = vector_view(buffers.scales, layer.statistics_offset, units)
        batch_norm_backward(x, gamma, scale, b_gradient, gamma_gradient, delta)
    previous_a = matrix_view(buffers.activations, layer.inputs_offset * buffers.rows, m, layer.inputs)
    matmul_tn(delta, previous_a, matrix_view(gradient, layer.weights_offset, units, layer.inputs))


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
