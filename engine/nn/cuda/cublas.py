"""Products of matrices by cuBLAS, which writes into the result and allocates nothing.

cuBLAS counts columns where the rows of ours lie in memory, so that each of our matrices is a transpose to it:
zᵀ = w aᵀ is asked for where z = a wᵀ is wanted.
"""

from typing import Any

import numpy as np

from nabla.engine.literals import DtypeName, Precision
from nabla.engine.nn.cuda.tracing import Call, Recorded

"""How products of float32 numbers are worked out: as they are; with operands rounded to 10 bits behind the point
(TensorFloat-32); or with operands rounded to 16-bit numbers. Sums are taken in float32."""

# Of each kernel: the places of the operands of outᵀ, and whether cuBLAS is to transpose what it sees of them.
PRODUCTS = {
    "multiply_by_transpose": ((1, True), (0, False)),
    "multiply_transpose": ((1, False), (0, True)),
    "multiply_plainly": ((1, False), (0, False)),
}


class Products:
    """Makes recorded products, with one precision."""

    def __init__(self, cupy: Any, dtype: DtypeName, precision: Precision) -> None:
        cublas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        kinds = {"float32": runtime.CUDA_R_32F, "float64": runtime.CUDA_R_64F}
        computing = {
            "full": cublas.CUBLAS_COMPUTE_32F if dtype == "float32" else cublas.CUBLAS_COMPUTE_64F,
            "tf32": cublas.CUBLAS_COMPUTE_32F_FAST_TF32,
            "half": cublas.CUBLAS_COMPUTE_32F,
        }
        self._multiply = cublas.gemmEx
        self._handle = cupy.cuda.device.get_cublas_handle()
        self._operations = (cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T)
        self._kind = kinds[dtype]
        self._kind_of_operands = runtime.CUDA_R_16F if precision == "half" else self._kind
        self._computing = computing[precision]
        self._algorithm = cublas.CUBLAS_GEMM_DEFAULT
        self._dtype = dtype
        # cuBLAS reads these when it is called.
        self._zero = np.zeros(1, dtype)
        self._factors: dict[float, Any] = {}

    def arguments(self, call: Call, operands: tuple[Recorded, Recorded], scale: float) -> tuple[Any, ...]:
        """What `make` takes, worked out once. `operands` stand for the first two arrays of the call, with the same
        shapes; their product is `scale` times as large as it should be."""
        out = call.arrays[2]
        (left, left_turned), (right, right_turned) = PRODUCTS[call.kernel.name]
        first, second = operands[left], operands[right]
        rows, columns = out.shape
        inner = first.shape[1] if left_turned else first.shape[0]
        factor = self._factors.setdefault(scale, np.array([1.0 / scale], self._dtype))
        return (
            self._handle,
            self._operations[left_turned],
            self._operations[right_turned],
            columns,
            rows,
            inner,
            factor.ctypes.data,
            first.pointer,
            self._kind_of_operands,
            first.shape[1],
            second.pointer,
            self._kind_of_operands,
            second.shape[1],
            self._zero.ctypes.data,
            out.pointer,
            self._kind,
            columns,
            self._computing,
            self._algorithm,
        )

    def make(self, arguments: tuple[Any, ...]) -> None:
        """On the current stream."""
        self._multiply(*arguments)
