"""Batch normalization: x̂ = (z − mean) / √(variance + ε), with mean and variance of each unit over the mini-batch.

The layer goes on with γ x̂ + b. Predictions use running statistics instead of the mini-batch's.
Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training", 2015; ε, the share of the newest
mini-batch in the running statistics, and their unbiased variance as in PyTorch.
"""

import numpy as np
import numpy.typing as npt

from engine.nn.compiling import formula, scalar
from engine.nn.views import Matrix, Vector

EPSILON = 1e-5
NEWEST = 0.1

Statistics = npt.NDArray[np.float64]


@formula
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
        scale[j] = 1.0 / np.sqrt(scale[j] / rows + EPSILON)
    _shift_and_scale(z, mean, scale)


@formula
def _shift_and_scale(z: Matrix, mean: Statistics, scale: Statistics) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = (z[i, j] - mean[j]) * scale[j]


@formula
def remember(mean: Statistics, scale: Statistics, rows: int, statistics: Vector) -> None:
    """Let the running means and variances, in this order in `statistics`, follow those of a mini-batch.

    A single row has no variance and is passed over.
    """
    if rows < 2:
        return
    units = mean.size
    newest, kept = scalar(NEWEST, statistics[0]), scalar(1.0 - NEWEST, statistics[0])
    unbiased = rows / (rows - 1.0)
    for j in range(units):
        variance = (1.0 / (scale[j] * scale[j]) - EPSILON) * unbiased
        statistics[j] = kept * statistics[j] + newest * scalar(mean[j], statistics[0])
        statistics[units + j] = kept * statistics[units + j] + newest * scalar(variance, statistics[0])


@formula
def standardize_as_remembered(z: Matrix, mean: Statistics, scale: Statistics, statistics: Vector) -> None:
    """z becomes x̂ by the running statistics; mean and scale are room for it."""
    units = z.shape[1]
    for j in range(units):
        mean[j] = statistics[j]
        scale[j] = 1.0 / np.sqrt(statistics[units + j] + EPSILON)
    _shift_and_scale(z, mean, scale)


@formula
def multiply(x: Matrix, gamma: Vector, out: Matrix) -> None:
    """out = γ x̂."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = gamma[j] * x[i, j]


@formula
def through_batch_norm(
    x: Matrix, gamma: Vector, scale: Statistics, b_gradient: Vector, gamma_gradient: Vector, delta: Matrix
) -> None:
    """From δ = ∂C/∂(γ x̂ + b) to ∂C/∂γ = Σ δ x̂, and δ becomes ∂C/∂z = γ/σ (δ − mean of δ − x̂ · mean of δ x̂).

    `b_gradient` holds Σ δ already. Equations of the paper's section 3, put together.
    """
    rows = x.shape[0]
    gamma_gradient[:] = 0
    for i in range(rows):
        for j in range(x.shape[1]):
            gamma_gradient[j] += delta[i, j] * x[i, j]
    share = scalar(1.0 / rows, delta[0, 0])
    for i in range(rows):
        for j in range(x.shape[1]):
            centred = delta[i, j] - share * (b_gradient[j] + x[i, j] * gamma_gradient[j])
            delta[i, j] = gamma[j] * centred * scale[j]
