"""The fake cuBLAS multiplies like NumPy, in every layout and precision, and only within bounds."""

import ctypes
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.fakes.load import load_fake_cupy

cupy = load_fake_cupy()
monitor, cublas, runtime = cupy.monitor, cupy.cuda.cublas, cupy.cuda.runtime
Array = npt.NDArray[Any]
pytestmark = pytest.mark.usefixtures("lazy_queues")


def gemm(
    a: Array, b: Array, c: Array, transposed: tuple[int, int], factors: tuple[float, float], compute_type: int
) -> Array:
    """Return cuBLAS's product of host matrices, copied to the device with two elements of padding per column."""
    type_codes = {"e": runtime.CUDA_R_16F, "f": runtime.CUDA_R_32F, "d": runtime.CUDA_R_64F}
    device_arrays = []
    for matrix in (a, b, c):
        padded = np.full((matrix.shape[1], matrix.shape[0] + 2), np.nan, matrix.dtype)
        padded[:, :-2] = matrix.T
        device_arrays.append(cupy.empty(padded.shape, padded.dtype))
        device_arrays[-1].set(padded)
    c_type = ctypes.c_double if compute_type == cublas.CUBLAS_COMPUTE_64F else ctypes.c_float
    alpha, beta = c_type(factors[0]), c_type(factors[1])
    (m, n), k = c.shape, a.shape[0 if transposed[0] else 1]
    operands = [(array.data.ptr, type_codes[array.dtype.char], array.shape[1]) for array in device_arrays]
    handle = cupy.cuda.device.get_cublas_handle()
    first, second, third = operands
    sizes = (*transposed, m, n, k, ctypes.addressof(alpha))
    algorithm = cublas.CUBLAS_GEMM_DEFAULT
    cublas.gemmEx(handle, *sizes, *first, *second, ctypes.addressof(beta), *third, compute_type, algorithm)
    alpha.value = beta.value = 99  # without effect: the factors are read in the call
    result: Array = device_arrays[2].get()
    assert np.isnan(result[:, -2:]).all()
    return result[:, :-2].T


@pytest.mark.parametrize("transposed", list(itertools.product((0, 1), (0, 1))))
@pytest.mark.parametrize(
    ("operand_type", "result_type", "compute_type", "tolerance"),
    [
        ("d", "d", cublas.CUBLAS_COMPUTE_64F, 1e-13),
        ("f", "f", cublas.CUBLAS_COMPUTE_32F, 1e-5),
        ("f", "f", cublas.CUBLAS_COMPUTE_32F_FAST_TF32, 5e-3),
        ("e", "f", cublas.CUBLAS_COMPUTE_32F, 1e-5),
        ("e", "e", cublas.CUBLAS_COMPUTE_32F, 5e-3),
    ],
)
def test_gemm_matches_numpy(
    operand_type: str, result_type: str, compute_type: int, tolerance: float, transposed: tuple[int, int]
) -> None:
    generator = np.random.default_rng(2)
    a, b, c = (generator.uniform(0.5, 1, shape) for shape in ((7, 5), (5, 9), (7, 9)))
    a, b, c = a.astype(operand_type), b.astype(operand_type), c.astype(result_type)
    operands = (a.T if transposed[0] else a, b.T if transposed[1] else b)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    for alpha, beta in ((1.0, 0.0), (0.5, 2.0)):
        result = gemm(*operands, c, transposed, (alpha, beta), compute_type)
        np.testing.assert_allclose(result, alpha * exact + beta * c, rtol=tolerance)
    # With beta = 0, the previous value of the result is ignored, even a NaN.
    result = gemm(*operands, np.full_like(c, np.nan), transposed, (1.0, 0.0), compute_type)
    np.testing.assert_allclose(result, exact, rtol=tolerance)
    if compute_type == cublas.CUBLAS_COMPUTE_32F_FAST_TF32:
        assert np.abs(result / exact - 1).max() > 1e-5


HOST_ARRAY, DEVICE_ARRAY = np.zeros(16), cupy.zeros(4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lda": 3}, cublas.CUBLASError, "INVALID_VALUE"),
        ({"m": -1}, cublas.CUBLASError, "INVALID_VALUE"),
        ({"Atype": 1}, cublas.CUBLASError, "NOT_SUPPORTED"),
        ({"computeType": 70}, cublas.CUBLASError, "NOT_SUPPORTED"),
        ({"handle": 1}, cublas.CUBLASError, "NOT_INITIALIZED"),
        ({"lda": 5}, runtime.CUDARuntimeError, "A is not within"),
        ({"n": 5}, runtime.CUDARuntimeError, "B is not within"),
        ({"C": HOST_ARRAY.ctypes.data}, runtime.CUDARuntimeError, "C is not within"),
        ({"C": "A"}, monitor.Misuse, "writes to a matrix that it reads"),
        ({"alpha": DEVICE_ARRAY.data.ptr}, monitor.Misuse, "alpha must be in host memory"),
    ],
)
def test_gemm_rejects_invalid_arguments(change: dict[str, Any], error: type[Exception], message: str) -> None:
    a, b, c = (cupy.zeros((4, 4), np.float32) for _ in range(3))
    factor = ctypes.c_float(1)
    arguments: dict[str, Any] = {
        **{"handle": cupy.cuda.device.get_cublas_handle(), "transa": 0, "transb": 0, "m": 4, "n": 4, "k": 4},
        **{"alpha": ctypes.addressof(factor), "A": a.data.ptr, "Atype": 0, "lda": 4},
        **{"B": b.data.ptr, "Btype": 0, "ldb": 4},
        **{"beta": ctypes.addressof(factor), "C": c.data.ptr, "Ctype": 0, "ldc": 4},
        **{"computeType": cublas.CUBLAS_COMPUTE_32F, "algo": cublas.CUBLAS_GEMM_DEFAULT},
    }
    cublas.gemmEx(*arguments.values())
    changed = {name: arguments["A"] if value == "A" else value for name, value in change.items()}
    with pytest.raises(error, match=message):
        cublas.gemmEx(*{**arguments, **changed}.values())
