"""Matrix products of BLAS in compiled code: of the library that NumPy has loaded, with as many threads as it uses.

Compiled code knows the two functions by the names of symbols, which stand for their addresses in this process.
"""

import ctypes
import importlib
from typing import Any

import llvmlite.binding
from numba import types
from threadpoolctl import ThreadpoolController

# Names of the C interface: of the OpenBLAS in NumPy's wheels, and of other libraries, with 64-bit or 32-bit integers.
_NAMES = (
    "scipy_cblas_{}gemm64_",
    "scipy_cblas_{}gemm",
    "cblas_{}gemm64_",
    "cblas_{}gemm",
    "cblas_{}gemm$NEWLAPACK$ILP64",
)
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
"""Values of the C interface's arguments."""


def _find_function(letter: str) -> int:
    """Return the address of the matrix product for a type. NumPy's dependencies are searched, but no other library."""
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    for name in _NAMES:
        function = getattr(library, name.format(letter), None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    raise RuntimeError("This NumPy has been built without BLAS; install the one from PyPI.")


def _declare(letter: str, number: types.Type) -> Any:
    """Declare cblas_?gemm(order, transpose a, transpose b, m, n, k, α, a, columns of a, b, …, β, c, columns of c).

    Integers and pointers are declared as 64-bit words; a library with 32-bit integers reads the lower half.
    """
    symbol = f"nabla_{letter}gemm"
    llvmlite.binding.add_symbol(symbol, _find_function(letter))
    words = [types.intp] * 4
    return types.ExternalFunction(symbol, types.void(*[types.intp] * 6, number, *words, number, *words[:2]))


sgemm, dgemm = _declare("s", types.float32), _declare("d", types.float64)


def limit_blas_threads() -> None:
    """Let the BLAS libraries of this process use one thread: `matmul_threads` shares the products.

    Raises:
        RuntimeError: A library does not accept it.
    """
    controller = ThreadpoolController().select(user_api="blas")
    controller.limit(limits=1)
    mismatched = [library for library in controller.info() if library["num_threads"] != 1]
    if mismatched:
        raise RuntimeError(f"BLAS did not accept one thread: {mismatched}")
