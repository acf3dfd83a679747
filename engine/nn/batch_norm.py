"""Batch normalization: x̂ = (z − mean) / √(variance + ε), with mean and variance of each unit over the mini-batch.

The layer goes on with γ x̂ + b. Predictions use running statistics instead of the mini-batch's.
Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training", 2015; ε, the momentum of the
running statistics and their unbiased variance are PyTorch's.
"""

import math

from nabla.engine.nn.jit import device_kernel, jit_inline, scalar
from nabla.engine.typing import Float64Array, Matrix, Vector

EPSILON = 1e-5
MOMENTUM = 0.1


@jit_inline
def inverse_std(variance: float) -> float:
    """Return 1 / √(variance + ε)."""
    return 1.0 / math.sqrt(variance + EPSILON)


@jit_inline
def unbiased_variance(scale: float, rows: int) -> float:
    """Return the unbiased variance for `scale` = 1/√(variance + ε) over `rows` rows."""
    return (1.0 / (scale * scale) - EPSILON) * (rows / (rows - 1.0))


@jit_inline
def ema(running: float, value: float) -> float:
    """Return a running statistic, an exponential moving average, updated with the `value` of a mini-batch."""
    return scalar(1.0 - MOMENTUM, running) * running + scalar(MOMENTUM, running) * scalar(value, running)


@jit_inline
def normalize(z: float, mean: float, scale: float) -> float:
    """Return x̂ = (z − mean) · scale."""
    return (z - mean) * scale


@jit_inline
def normalize_delta(
    delta: float, x: float, gamma: float, scale: float, b_gradient: float, gamma_gradient: float, inverse_m: float
) -> float:
    """Return ∂C/∂z = γ/σ (δ − mean(δ) − x̂ · mean(δ x̂)), from sums over the rows and `inverse_m` = 1/m.

    Source: the equations of the paper's section 3, combined.
    """
    return gamma * (delta - inverse_m * (b_gradient + x * gamma_gradient)) * scale


@device_kernel("normalize_batch")
def normalize_batch(z: Matrix, mean: Float64Array, scale: Float64Array) -> None:
    """Replace z by x̂; set mean and scale (units) to the mini-batch's mean and 1/√(variance + ε)."""
    rows = z.shape[0]
    mean[:] = 0.0
    for i in range(rows):
        for j in range(z.shape[1]):
            mean[j] += z[i, j]
    for j in range(mean.size):
        mean[j] /= rows
    scale[:] = 0.0
    for i in range(rows):
        for j in range(z.shape[1]):
            scale[j] += (z[i, j] - mean[j]) ** 2
    for j in range(scale.size):
        scale[j] = inverse_std(scale[j] / rows)
    _normalize_rows(z, mean, scale)


@jit_inline
def _normalize_rows(z: Matrix, mean: Float64Array, scale: Float64Array) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = normalize(z[i, j], mean[j], scale[j])


@device_kernel("update_running_stats")
def update_running_stats(mean: Float64Array, scale: Float64Array, statistics: Vector, rows: int) -> None:
    """Update the running means and variances, stored in this order in `statistics`, with those of a mini-batch.

    A mini-batch of one row has no variance and is skipped.
    """
    if rows < 2:
        return
    units = mean.size
    for j in range(units):
        statistics[j] = ema(statistics[j], mean[j])
        statistics[units + j] = ema(statistics[units + j], unbiased_variance(scale[j], rows))


@device_kernel("normalize_with_running_stats")
def normalize_with_running_stats(z: Matrix, mean: Float64Array, scale: Float64Array, statistics: Vector) -> None:
    """Replace z by x̂ computed from the running statistics; mean and scale (units) are scratch space."""
    units = z.shape[1]
    for j in range(units):
        mean[j] = statistics[j]
        scale[j] = inverse_std(statistics[units + j])
    _normalize_rows(z, mean, scale)


@device_kernel("scale_by_gamma")
def scale_by_gamma(x: Matrix, gamma: Vector, out: Matrix) -> None:
    """Set out to γ x̂."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = gamma[j] * x[i, j]


@device_kernel("batch_norm_backward")
def batch_norm_backward(
    x: Matrix, gamma: Vector, scale: Float64Array, b_gradient: Vector, gamma_gradient: Vector, delta: Matrix
) -> None:
    """Set ∂C/∂γ = Σ δ x̂ for δ = ∂C/∂(γ x̂ + b), and replace δ by ∂C/∂z; `b_gradient` already holds Σ δ."""
    rows = x.shape[0]
    gamma_gradient[:] = 0
    for i in range(rows):
        for j in range(x.shape[1]):
            gamma_gradient[j] += delta[i, j] * x[i, j]
    inverse_m = scalar(1.0 / rows, delta[0, 0])
    for i in range(rows):
        for j in range(x.shape[1]):
            delta[i, j] = normalize_delta(
                delta[i, j], x[i, j], gamma[j], scale[j], b_gradient[j], gamma_gradient[j], inverse_m
            )
