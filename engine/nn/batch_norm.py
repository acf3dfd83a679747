"""Batch normalization: x̂ = (z − mean) / √(variance + ε), with mean and variance of each unit over the mini-batch.

The layer goes on with γ x̂ + b. Predictions use running statistics instead of the mini-batch's.
Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training", 2015; ε, the share of the newest
mini-batch in the running statistics, and their unbiased variance as in PyTorch.
"""

import math

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.array_views import Matrix, Vector
from nabla.engine.nn.jit import formula, kernel, scalar

EPSILON = 1e-5
NEWEST = 0.1

Statistics = npt.NDArray[np.float64]


@formula
def scale_of(variance: float) -> float:
    return 1.0 / math.sqrt(variance + EPSILON)


@formula
def unbiased_variance(scale: float, rows: int) -> float:
    """From 1/√(variance + ε) over so many rows."""
    return (1.0 / (scale * scale) - EPSILON) * (rows / (rows - 1.0))


@formula
def following(running: float, value: float) -> float:
    """A running statistic after a mini-batch with this value of its own."""
    return scalar(1.0 - NEWEST, running) * running + scalar(NEWEST, running) * scalar(value, running)


@formula
def standardized(z: float, mean: float, scale: float) -> float:
    return (z - mean) * scale


@formula
def standardized_delta(
    delta: float, x: float, gamma: float, scale: float, b_gradient: float, gamma_gradient: float, share: float
) -> float:
    """∂C/∂z = γ/σ (δ − mean of δ − x̂ · mean of δ x̂), from sums over the rows, each of which has the share 1/m.

    The equations of the paper's section 3, put together.
    """
    return gamma * (delta - share * (b_gradient + x * gamma_gradient)) * scale


@kernel("standardize")
def standardize(z: Matrix, mean: Statistics, scale: Statistics) -> None:
    """z becomes x̂; mean and scale (units) become the mini-batch's mean and 1/√(variance + ε)."""
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
        scale[j] = scale_of(scale[j] / rows)
    _standardize_all(z, mean, scale)


@formula
def _standardize_all(z: Matrix, mean: Statistics, scale: Statistics) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = standardized(z[i, j], mean[j], scale[j])


@kernel("remember")
def remember(mean: Statistics, scale: Statistics, statistics: Vector, rows: int) -> None:
    """Let the running means and variances, in this order in `statistics`, follow those of a mini-batch.

    A single row has no variance and is passed over.
    """
    if rows < 2:
        return
    units = mean.size
    for j in range(units):
        statistics[j] = following(statistics[j], mean[j])
        statistics[units + j] = following(statistics[units + j], unbiased_variance(scale[j], rows))


@kernel("standardize_as_remembered")
def standardize_as_remembered(z: Matrix, mean: Statistics, scale: Statistics, statistics: Vector) -> None:
    """z becomes x̂ by the running statistics; mean and scale are room for it."""
    units = z.shape[1]
    for j in range(units):
        mean[j] = statistics[j]
        scale[j] = scale_of(statistics[units + j])
    _standardize_all(z, mean, scale)


@kernel("multiply")
def multiply(x: Matrix, gamma: Vector, out: Matrix) -> None:
    """out = γ x̂."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = gamma[j] * x[i, j]


@kernel("through_batch_norm")
def through_batch_norm(
    x: Matrix, gamma: Vector, scale: Statistics, b_gradient: Vector, gamma_gradient: Vector, delta: Matrix
) -> None:
    """From δ = ∂C/∂(γ x̂ + b) to ∂C/∂γ = Σ δ x̂, and δ becomes ∂C/∂z. `b_gradient` holds Σ δ already."""
    rows = x.shape[0]
    gamma_gradient[:] = 0
    for i in range(rows):
        for j in range(x.shape[1]):
            gamma_gradient[j] += delta[i, j] * x[i, j]
    share = scalar(1.0 / rows, delta[0, 0])
    for i in range(rows):
        for j in range(x.shape[1]):
            delta[i, j] = standardized_delta(
                delta[i, j], x[i, j], gamma[j], scale[j], b_gradient[j], gamma_gradient[j], share
            )
