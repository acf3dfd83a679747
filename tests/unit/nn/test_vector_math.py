"""Compiled exponential functions: accuracy against extended precision, and limits of floating point."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit

from nabla.engine.nn import vector_math

FUNCTIONS = [(vector_math.exp, np.exp), (vector_math.expm1, np.expm1), (vector_math.tanh, np.tanh)]
Function = Callable[[float], float]


def compile_loop(function: Function) -> Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]:
    """Compile a loop over an array as a training step does, with the options that allow vectorization."""

    @njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
    def apply(z: Any) -> Any:
        for i in range(z.size):
            z[i] = function(z[i])
        return z

    return apply


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "reference"), FUNCTIONS, ids=["exp", "expm1", "tanh"])
def test_error_is_below_two_units_in_the_last_place(function: Function, reference: Any, dtype: type) -> None:
    generator = np.random.default_rng(1)
    z: npt.NDArray[np.floating] = np.concatenate(
        [generator.normal(0, 4, 200_000), generator.uniform(-80, 80, 50_000), generator.normal(0, 1e-4, 50_000)]
    ).astype(dtype)
    expected = reference(z.astype(np.longdouble))
    result = compile_loop(function)(z.copy())
    assert result.dtype == dtype
    assert np.abs(result / expected - 1).max() < 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_subnormals_infinities_and_nan(dtype: type) -> None:
    z: npt.NDArray[np.floating] = np.array([0.0, -0.0, 1e-40, 1e30, -1e30, np.inf, -np.inf, np.nan], dtype)
    tanh = compile_loop(vector_math.tanh)(z.copy())
    np.testing.assert_array_equal(tanh[[0, 1, 3, 4, 5, 6]], [0, 0, 1, -1, 1, -1])
    assert tanh[2] == z[2]
    assert np.isnan(tanh[7])
    exp = compile_loop(vector_math.exp)(z.copy())
    assert exp[0] == exp[1] == exp[2] == 1
    assert np.isfinite(exp[:7]).all()
    assert exp[3] == exp[5] > 1e37
    assert 0 < exp[4] == exp[6] < 1e-37
    assert np.isnan(exp[7])


@pytest.mark.parametrize(("function", "reference"), FUNCTIONS, ids=["exp", "expm1", "tanh"])
def test_uncompiled_functions_match_numpy(function: Function, reference: Any) -> None:
    for z in (-700.0, -1.0, 1e-9, 0.3, 2.0, 700.0):
        assert function(z) == pytest.approx(float(reference(z)), rel=1e-15)
    assert np.isnan(function(np.nan))
