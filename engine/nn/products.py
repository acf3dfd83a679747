"""The three products of a layer: BLAS on a CPU, cuBLAS or a kernel on a GPU."""

import numpy as np

from engine.nn.kernel import kernel
from engine.nn.views import Matrix


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
