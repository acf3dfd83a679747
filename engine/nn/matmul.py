"""The three matrix products of a layer: computed by BLAS on a CPU, by cuBLAS or a kernel on a GPU."""

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.jit import device_kernel, jit_inline, scalar
from nabla.engine.nn.matmul_threads import MIN_SHARED_MULTIPLY_ADDS, multiply
from nabla.engine.typing import Matrix

ROW_TILE = 4
"""Number of rows that `matmul_batch_invariant` multiplies at a time."""
# Number of weights that stay in the L2 cache while they are multiplied with all rows.
_WEIGHTS_IN_L2 = 2**16


@device_kernel("round_to_half")
def round_to_half(source: Matrix, out: npt.NDArray[np.uint16], scale: float) -> None:
    """Set out to the bits of source · scale as float16, saturated at the largest float16.

    On a GPU, these are the operands of matrix products in half precision.
    """
    limit = np.finfo(np.float16).max
    out.view(np.float16)[:] = np.clip(source.astype(np.float32) * np.float32(scale), -limit, limit)


@device_kernel("matmul_nt")
def matmul_nt(a: Matrix, w: Matrix, z: Matrix) -> None:
    """Compute z (m, units) = a (m, inputs) wᵀ for w (units, inputs)."""
    multiply(a, w.T, z)


@device_kernel("matmul_tn")
def matmul_tn(delta: Matrix, a: Matrix, gradient: Matrix) -> None:
    """Compute gradient (units, inputs) = deltaᵀ a for delta (m, units) and a (m, inputs)."""
    multiply(delta.T, a, gradient)


@device_kernel("matmul_nn")
def matmul_nn(delta: Matrix, w: Matrix, out: Matrix) -> None:
    """Compute out (m, inputs) = delta w for delta (m, units) and w (units, inputs)."""
    multiply(delta, w, out)


@device_kernel(None)
def matmul_batch_invariant(a: Matrix, w: Matrix, z: Matrix) -> None:
    """Compute z (m, units) = a (m, inputs) wᵀ with operations per row that do not depend on the other rows.

    w has shape (units, inputs); m is a multiple of ROW_TILE. BLAS chooses its operations by the number of rows, and
    packs the weights for each product, which takes longer than the product of a single row.
    """
    m, units = z.shape
    inputs = a.shape[1]
    tile = max(2, _WEIGHTS_IN_L2 // inputs // 2 * 2)
    for first in range(0, units, tile):
        last = min(units, first + tile)
        for i in range(0, m, 4):
            for j in range(first, last - 1, 2):
                _dot_4x2(a, w, z, i, j, inputs)
            if (last - first) % 2:
                _dot_4x1(a, w, z, i, last - 1, inputs)


@jit_inline
def _dot_4x2(a: Matrix, w: Matrix, z: Matrix, i: int, j: int, inputs: int) -> None:
    """Compute four rows of two units: as many sums as fit into a processor's registers."""
    z00 = z01 = z10 = z11 = z20 = z21 = z30 = z31 = scalar(0.0, a[0, 0])
    for k in range(inputs):
        w0, w1 = w[j, k], w[j + 1, k]
        z00 += a[i, k] * w0
        z01 += a[i, k] * w1
        z10 += a[i + 1, k] * w0
        z11 += a[i + 1, k] * w1
        z20 += a[i + 2, k] * w0
        z21 += a[i + 2, k] * w1
        z30 += a[i + 3, k] * w0
        z31 += a[i + 3, k] * w1
    z[i, j], z[i, j + 1] = z00, z01
    z[i + 1, j], z[i + 1, j + 1] = z10, z11
    z[i + 2, j], z[i + 2, j + 1] = z20, z21
    z[i + 3, j], z[i + 3, j + 1] = z30, z31


@jit_inline
def _dot_4x1(a: Matrix, w: Matrix, z: Matrix, i: int, j: int, inputs: int) -> None:
    z0 = z1 = z2 = z3 = scalar(0.0, a[0, 0])
    for k in range(inputs):
        w0 = w[j, k]
        z0 += a[i, k] * w0
        z1 += a[i + 1, k] * w0
        z2 += a[i + 2, k] * w0
        z3 += a[i + 3, k] * w0
    z[i, j], z[i + 1, j], z[i + 2, j], z[i + 3, j] = z0, z1, z2, z3


def count_matmul_threads(architecture: Architecture, rows: int, cores: int) -> int:
    """Return the number of threads that share the largest product of a step with mini-batches of `rows`."""
    largest = max(inputs * units for inputs, units in architecture.shapes) * rows
    return cores if largest >= MIN_SHARED_MULTIPLY_ADDS else 1
