"""cuBLAS's matrix product, of column-major matrices by address."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _allocations, _queues, monitor
from .._errors import (
    BLAS_INVALID_VALUE,
    BLAS_NOT_INITIALIZED,
    BLAS_NOT_SUPPORTED,
    ILLEGAL_ADDRESS,
    CUBLASError,
    runtime_error,
)
from . import runtime
from .device import get_cublas_handle
from .stream import get_current_stream

CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_OP_N, CUBLAS_OP_T = 0, 1

__all__ = [
    "CUBLAS_COMPUTE_32F",
    "CUBLAS_COMPUTE_32F_FAST_TF32",
    "CUBLAS_COMPUTE_64F",
    "CUBLAS_GEMM_DEFAULT",
    "CUBLAS_OP_N",
    "CUBLAS_OP_T",
    "CUBLASError",
    "gemmEx",
]

_TYPES = {runtime.CUDA_R_16F: np.float16, runtime.CUDA_R_32F: np.float32, runtime.CUDA_R_64F: np.float64}
_HALF, _SINGLE, _DOUBLE = runtime.CUDA_R_16F, runtime.CUDA_R_32F, runtime.CUDA_R_64F
# For each compute type, the types of operands and result that cuBLAS supports.
_SUPPORTED = {
    CUBLAS_COMPUTE_32F: {(_SINGLE, _SINGLE), (_HALF, _HALF), (_HALF, _SINGLE)},
    CUBLAS_COMPUTE_32F_FAST_TF32: {(_SINGLE, _SINGLE)},
    CUBLAS_COMPUTE_64F: {(_DOUBLE, _DOUBLE)},
}
Array = npt.NDArray[Any]


class _Operand:
    """A column-major matrix whose columns are `leading` elements apart."""

    def __init__(self, name: str, ptr: int, code: int, rows: int, columns: int, leading: int) -> None:
        if leading < max(1, rows):
            raise CUBLASError(BLAS_INVALID_VALUE)
        self.ptr, self.rows, self.columns, self.leading = ptr, rows, columns, leading
        self.dtype = np.dtype(_TYPES[code])
        self.span = (leading * (columns - 1) + rows) * self.dtype.itemsize if rows and columns else 0
        if ptr % self.dtype.itemsize:
            raise runtime_error(ILLEGAL_ADDRESS, f"{name} is not aligned to {self.dtype}.")
        if self.span and not _allocations.is_allocated(ptr, self.span):
            raise runtime_error(ILLEGAL_ADDRESS, f"{name} is not within one allocation on the device.")

    def overlaps(self, other: "_Operand") -> bool:
        return self.ptr < other.ptr + other.span and other.ptr < self.ptr + self.span

    def as_array(self) -> Array:
        if not self.span:
            return np.zeros((self.rows, self.columns), self.dtype)
        memory: Any = (ctypes.c_char * self.span).from_address(self.ptr)
        step = self.dtype.itemsize
        return np.ndarray((self.rows, self.columns), self.dtype, memory, strides=(step, step * self.leading))


def _round_to_tf32(matrix: Array) -> Array:
    """Round to ten fraction bits, halves away from zero; infinity and NaN stay."""
    bits = matrix.view(np.uint32) if matrix.flags.c_contiguous else np.ascontiguousarray(matrix).view(np.uint32)
    rounded = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(matrix), rounded, matrix)


def gemmEx(
    handle: int,
    transa: int,
    transb: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    A: int,
    Atype: int,
    lda: int,
    B: int,
    Btype: int,
    ldb: int,
    beta: int,
    C: int,
    Ctype: int,
    ldc: int,
    computeType: int,
    algo: int,
) -> None:
    """Compute C = alpha * op(A) @ op(B) + beta * C on the current stream; alpha and beta are read in the call."""
    if handle != get_cublas_handle():
        raise CUBLASError(BLAS_NOT_INITIALIZED)
    if {transa, transb} - {CUBLAS_OP_N, CUBLAS_OP_T} or min(m, n, k) < 0:
        raise CUBLASError(BLAS_INVALID_VALUE)
    if Atype != Btype or (Atype, Ctype) not in _SUPPORTED.get(computeType, ()) or algo != CUBLAS_GEMM_DEFAULT:
        raise CUBLASError(BLAS_NOT_SUPPORTED)
    left = _Operand("A", A, Atype, *((k, m) if transa else (m, k)), lda)
    right = _Operand("B", B, Btype, *((n, k) if transb else (k, n)), ldb)
    result = _Operand("C", C, Ctype, m, n, ldc)
    if result.overlaps(left) or result.overlaps(right):
        raise monitor.Misuse("gemmEx writes to a matrix that it reads.")
    for name, address in (("alpha", alpha), ("beta", beta)):
        if _allocations.is_allocated(address, 1) or not address:
            raise monitor.Misuse(f"{name} must be in host memory.")
    compute_dtype: Any = np.float64 if computeType == CUBLAS_COMPUTE_64F else np.float32
    c_type = ctypes.c_double if compute_dtype is np.float64 else ctypes.c_float
    product_factor = compute_dtype(c_type.from_address(alpha).value)
    previous_factor = compute_dtype(c_type.from_address(beta).value)
    monitor.counters.products += 1

    def run() -> None:
        # Transposed, so that NumPy sees rows where cuBLAS sees columns: op(B)' @ op(A)'.
        a, b, c = left.as_array().T, right.as_array().T, result.as_array().T
        if computeType == CUBLAS_COMPUTE_32F_FAST_TF32:
            a, b = _round_to_tf32(a), _round_to_tf32(b)
        a, b = a.astype(compute_dtype, copy=False), b.astype(compute_dtype, copy=False)
        # As on a GPU, overflows cause no warning.
        with np.errstate(all="ignore"):
            product = (b.T if transb else b) @ (a.T if transa else a)
            if product_factor != 1:
                product *= product_factor
            c[...] = product + previous_factor * c.astype(compute_dtype) if previous_factor else product

    _queues.enqueue(get_current_stream()._queue, run)
