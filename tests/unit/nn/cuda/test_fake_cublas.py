"""The stand-in's products of matrices: as NumPy's, in every layout and precision, and only within bounds."""

import ctypes
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.fakes.load import standin

cupy = standin()
accounts, cublas, runtime = cupy.accounts, cupy.cuda.cublas, cupy.cuda.runtime
Numbers = npt.NDArray[Any]
pytestmark = pytest.mark.usefixtures("late")


def product(
    a: Numbers, b: Numbers, c: Numbers, transposed: tuple[int, int], scales: tuple[float, float], compute: int
) -> Numbers:
    """cuBLAS's product of host matrices, each with two numbers to spare behind every column."""
    codes = {"e": runtime.CUDA_R_16F, "f": runtime.CUDA_R_32F, "d": runtime.CUDA_R_64F}
    there = []
    for matrix in (a, b, c):
        held = np.full((matrix.shape[1], matrix.shape[0] + 2), np.nan, matrix.dtype)
        held[:, :-2] = matrix.T
        there.append(cupy.empty(held.shape, held.dtype))
        there[-1].set(held)
    number = ctypes.c_double if compute == cublas.CUBLAS_COMPUTE_64F else ctypes.c_float
    alpha, beta = number(scales[0]), number(scales[1])
    (m, n), k = c.shape, a.shape[0 if transposed[0] else 1]
    operands = [(one.data.ptr, codes[one.dtype.char], one.shape[1]) for one in there]
    handle = cupy.cuda.device.get_cublas_handle()
    first, second, third = operands
    sizes = (*transposed, m, n, k, ctypes.addressof(alpha))
    cublas.gemmEx(handle, *sizes, *first, *second, ctypes.addressof(beta), *third, compute, cublas.CUBLAS_GEMM_DEFAULT)
    alpha.value = beta.value = 99  # they were read
    found: Numbers = there[2].get()
    assert np.isnan(found[:, -2:]).all()
    return found[:, :-2].T


@pytest.mark.parametrize("transposed", list(itertools.product((0, 1), (0, 1))))
@pytest.mark.parametrize(
    ("of", "into", "compute", "tolerance"),
    [
        ("d", "d", cublas.CUBLAS_COMPUTE_64F, 1e-13),
        ("f", "f", cublas.CUBLAS_COMPUTE_32F, 1e-5),
        ("f", "f", cublas.CUBLAS_COMPUTE_32F_FAST_TF32, 5e-3),
        ("e", "f", cublas.CUBLAS_COMPUTE_32F, 1e-5),
        ("e", "e", cublas.CUBLAS_COMPUTE_32F, 5e-3),
    ],
)
def test_products(of: str, into: str, compute: int, tolerance: float, transposed: tuple[int, int]) -> None:
    generator = np.random.default_rng(2)
    a, b, c = (generator.uniform(0.5, 1, shape) for shape in ((7, 5), (5, 9), (7, 9)))
    a, b, c = a.astype(of), b.astype(of), c.astype(into)
    given = (a.T if transposed[0] else a, b.T if transposed[1] else b)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    for alpha, beta in ((1.0, 0.0), (0.5, 2.0)):
        found = product(*given, c, transposed, (alpha, beta), compute)
        np.testing.assert_allclose(found, alpha * exact + beta * c, rtol=tolerance)
    # With beta = 0, what the result held does not count.
    found = product(*given, np.full_like(c, np.nan), transposed, (1.0, 0.0), compute)
    np.testing.assert_allclose(found, exact, rtol=tolerance)
    if compute == cublas.CUBLAS_COMPUTE_32F_FAST_TF32:
        assert np.abs(found / exact - 1).max() > 1e-5


HERE, THERE = np.zeros(16), cupy.zeros(4)


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"lda": 3}, cublas.CUBLASError, "INVALID_VALUE"),
        ({"m": -1}, cublas.CUBLASError, "INVALID_VALUE"),
        ({"Atype": 1}, cublas.CUBLASError, "NOT_SUPPORTED"),
        ({"computeType": 70}, cublas.CUBLASError, "NOT_SUPPORTED"),
        ({"handle": 1}, cublas.CUBLASError, "NOT_INITIALIZED"),
        ({"lda": 5}, runtime.CUDARuntimeError, "A is not within"),
        ({"n": 5}, runtime.CUDARuntimeError, "B is not within"),
        ({"C": HERE.ctypes.data}, runtime.CUDARuntimeError, "C is not within"),
        ({"C": "A"}, accounts.Refused, "reads"),
        ({"alpha": THERE.data.ptr}, accounts.Refused, "alpha is read from the host"),
    ],
)
def test_products_that_would_go_wrong_are_refused(change: dict[str, Any], error: type[Exception], what: str) -> None:
    a, b, c = (cupy.zeros((4, 4), np.float32) for _ in range(3))
    one = ctypes.c_float(1)
    arguments: dict[str, Any] = {
        **{"handle": cupy.cuda.device.get_cublas_handle(), "transa": 0, "transb": 0, "m": 4, "n": 4, "k": 4},
        **{"alpha": ctypes.addressof(one), "A": a.data.ptr, "Atype": 0, "lda": 4},
        **{"B": b.data.ptr, "Btype": 0, "ldb": 4},
        **{"beta": ctypes.addressof(one), "C": c.data.ptr, "Ctype": 0, "ldc": 4},
        **{"computeType": cublas.CUBLAS_COMPUTE_32F, "algo": cublas.CUBLAS_GEMM_DEFAULT},
    }
    cublas.gemmEx(*arguments.values())
    changed = {name: arguments["A"] if value == "A" else value for name, value in change.items()}
    with pytest.raises(error, match=what):
        cublas.gemmEx(*{**arguments, **changed}.values())
