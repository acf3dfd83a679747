"""The three products of a layer: BLAS on a CPU, cuBLAS or a kernel on a GPU."""

import numpy as np
import numpy.typing as npt

from engine.nn.kernel import kernel
from engine.nn.views import Matrix


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
