"""cuBLAS's product of matrices by address, which lie column by column."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _allocations, _queues, accounts
from .._failures import (
    BLAS_INVALID_VALUE,
    BLAS_NOT_INITIALIZED,
    BLAS_NOT_SUPPORTED,
    ILLEGAL_ADDRESS,
    CUBLASError,
    failure,
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
# For each precision of the sums, what cuBLAS multiplies into what.
_KNOWN = {
    CUBLAS_COMPUTE_32F: {(_SINGLE, _SINGLE), (_HALF, _HALF), (_HALF, _SINGLE)},
    CUBLAS_COMPUTE_32F_FAST_TF32: {(_SINGLE, _SINGLE)},
    CUBLAS_COMPUTE_64F: {(_DOUBLE, _DOUBLE)},
}
Numbers = npt.NDArray[Any]


class _Operand:
    """`columns` columns of `rows` numbers, each `leading` numbers behind the one before."""

    def __init__(self, name: str, ptr: int, code: int, rows: int, columns: int, leading: int) -> None:
        if leading < max(1, rows):
            raise CUBLASError(BLAS_INVALID_VALUE)
        self.ptr, self.rows, self.columns, self.leading = ptr, rows, columns, leading
        self.dtype = np.dtype(_TYPES[code])
        self.span = (leading * (columns - 1) + rows) * self.dtype.itemsize if rows and columns else 0
        if ptr % self.dtype.itemsize:
            raise failure(ILLEGAL_ADDRESS, f"{name} does not begin where a {self.dtype} may.")
        if self.span and not _allocations.lies_in_one(ptr, self.span):
            raise failure(ILLEGAL_ADDRESS, f"{name} is not within one allocation on the device.")

    def overlaps(self, other: "_Operand") -> bool:
        return self.ptr < other.ptr + other.span and other.ptr < self.ptr + self.span

    def matrix(self) -> Numbers:
        if not self.span:
            return np.zeros((self.rows, self.columns), self.dtype)
        memory: Any = (ctypes.c_char * self.span).from_address(self.ptr)
        step = self.dtype.itemsize
        return np.ndarray((self.rows, self.columns), self.dtype, memory, strides=(step, step * self.leading))


def _rounded_to_tf32(matrix: Numbers) -> Numbers:
    """To ten bits behind the point, halves away from zero; what is not finite stays."""
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
    """C = alpha * op(A) @ op(B) + beta * C on the current stream; alpha and beta are read at once, from the host."""
    if handle != get_cublas_handle():
        raise CUBLASError(BLAS_NOT_INITIALIZED)
    if {transa, transb} - {CUBLAS_OP_N, CUBLAS_OP_T} or min(m, n, k) < 0:
        raise CUBLASError(BLAS_INVALID_VALUE)
    if Atype != Btype or (Atype, Ctype) not in _KNOWN.get(computeType, ()) or algo != CUBLAS_GEMM_DEFAULT:
        raise CUBLASError(BLAS_NOT_SUPPORTED)
    left = _Operand("A", A, Atype, *((k, m) if transa else (m, k)), lda)
    right = _Operand("B", B, Btype, *((n, k) if transb else (k, n)), ldb)
    result = _Operand("C", C, Ctype, m, n, ldc)
    if result.overlaps(left) or result.overlaps(right):
        raise accounts.Refused("gemmEx writes into one of the matrices that it reads.")
    for name, address in (("alpha", alpha), ("beta", beta)):
        if _allocations.lies_in_one(address, 1) or not address:
            raise accounts.Refused(f"{name} is read from the host.")
    wide: Any = np.float64 if computeType == CUBLAS_COMPUTE_64F else np.float32
    number = ctypes.c_double if wide is np.float64 else ctypes.c_float
    scale, kept = wide(number.from_address(alpha).value), wide(number.from_address(beta).value)
    accounts.counters.products += 1

    def run() -> None:
        # Transposed, so that NumPy sees rows where cuBLAS sees columns: op(B)' @ op(A)'.
        a, b, c = left.matrix().T, right.matrix().T, result.matrix().T
        if computeType == CUBLAS_COMPUTE_32F_FAST_TF32:
            a, b = _rounded_to_tf32(a), _rounded_to_tf32(b)
        a, b = a.astype(wide, copy=False), b.astype(wide, copy=False)
        # As on a GPU, nothing warns of numbers that are too large.
        with np.errstate(all="ignore"):
            product = (b.T if transb else b) @ (a.T if transa else a)
            if scale != 1:
                product *= scale
            c[...] = product + kept * c.astype(wide) if kept else product

    _queues.enqueue(get_current_stream()._queue, run)
