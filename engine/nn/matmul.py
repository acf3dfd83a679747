"""The three products of a layer: BLAS on a CPU, cuBLAS or a kernel on a GPU."""

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.array_views import Matrix
from nabla.engine.nn.jit import formula, kernel, scalar

ROWS_ALIKE = 4
"""What `multiply_alike` takes at once."""
# Numbers of weights that stay in a processor's second cache while all rows pass by.
_KEPT_NEAR = 2**16


@kernel("round_to_half")
def round_to_half(source: Matrix, out: npt.NDArray[np.uint16], scale: float) -> None:
    """out = source · scale, as the bits of 16-bit numbers, the largest of which stands for what is beyond it: operands
    of products in half precision, on a GPU."""
    most = np.finfo(np.float16).max
    out.view(np.float16)[:] = np.clip(source.astype(np.float32) * np.float32(scale), -most, most)


@kernel("multiply_by_transpose")
def multiply_by_transpose(a: Matrix, w: Matrix, z: Matrix) -> None:
    """z (m, units) = a (m, inputs) wᵀ, for w (units, inputs)."""
    np.dot(a, w.T, z)


@kernel("multiply_transpose")
def multiply_transpose(delta: Matrix, a: Matrix, gradient: Matrix) -> None:
    """gradient (units, inputs) = deltaᵀ a, for delta (m, units) and a (m, inputs)."""
    np.dot(delta.T, a, gradient)


@kernel("multiply_plainly")
def multiply_plainly(delta: Matrix, w: Matrix, before: Matrix) -> None:
    """before (m, inputs) = delta w, for delta (m, units) and w (units, inputs)."""
    np.dot(delta, w, before)


@formula
def multiply_alike(a: Matrix, w: Matrix, z: Matrix) -> None:
    """z (m, units) = a (m, inputs) wᵀ, for w (units, inputs) and m a multiple of ROWS_ALIKE: each row by the same
    operations in the same order, whatever is beside it. BLAS chooses them by the number of rows, and packs the weights
    anew each time, which takes longer than one row."""
    m, units = z.shape
    inputs = a.shape[1]
    near = max(2, _KEPT_NEAR // inputs // 2 * 2)
    for first in range(0, units, near):
        last = min(units, first + near)
        for i in range(0, m, 4):
            for j in range(first, last - 1, 2):
                _multiply_two(a, w, z, i, j, inputs)
            if (last - first) % 2:
                _multiply_one(a, w, z, i, last - 1, inputs)


@formula
def _multiply_two(a: Matrix, w: Matrix, z: Matrix, i: int, j: int, inputs: int) -> None:
    """Four rows by two units: as many sums as a processor's registers hold."""
    z00 = z01 = z10 = z11 = z20 = z21 = z30 = z31 = scalar(0.0, a[0, 0])
    for k in range(inputs):
        one, other = w[j, k], w[j + 1, k]
        z00 += a[i, k] * one
        z01 += a[i, k] * other
        z10 += a[i + 1, k] * one
        z11 += a[i + 1, k] * other
        z20 += a[i + 2, k] * one
        z21 += a[i + 2, k] * other
        z30 += a[i + 3, k] * one
        z31 += a[i + 3, k] * other
    z[i, j], z[i, j + 1] = z00, z01
    z[i + 1, j], z[i + 1, j + 1] = z10, z11
    z[i + 2, j], z[i + 2, j + 1] = z20, z21
    z[i + 3, j], z[i + 3, j + 1] = z30, z31


@formula
def _multiply_one(a: Matrix, w: Matrix, z: Matrix, i: int, j: int, inputs: int) -> None:
    z0 = z1 = z2 = z3 = scalar(0.0, a[0, 0])
    for k in range(inputs):
        weight = w[j, k]
        z0 += a[i, k] * weight
        z1 += a[i + 1, k] * weight
        z2 += a[i + 2, k] * weight
        z3 += a[i + 3, k] * weight
    z[i, j], z[i + 1, j], z[i + 2, j], z[i + 3, j] = z0, z1, z2, z3
