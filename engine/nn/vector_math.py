"""Exponential functions that a compiler can vectorize.

The C library computes one value per call. These functions are plain arithmetic, so that SIMD units compute up to
sixteen float32 values at a time: a layer of sigmoids takes a hundredth of the time.

eˣ = 2ⁿ eʳ with n = round(x / ln 2) and |r| ≤ ln 2 / 2, where a Taylor series of degree 13 is exact in float64, of
degree 7 in float32.
Source of the method: Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6.
"""

import math
from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from nabla.engine.nn.jit import jit_strict, scalar, with_name

_PER_LN_2 = 1 / math.log(2)
# ln 2 in two parts: the first has so few bits that its product with n is exact in float32 and in float64.
_LN_2_HIGH = 0.693359375
_LN_2_LOW = -2.1219444005469058e-4
# Coefficients of (eʳ − 1 − r) / r², up to the degree where the remainder is below rounding.
_FLOAT64_SERIES = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
_FLOAT32_SERIES = _FLOAT64_SERIES[-6:]


@jit_strict
def exp(x: float) -> float:
    """Return eˣ to about 1 ulp, saturated at the largest and smallest normal power of the type."""
    power, rest = _exp_parts(x)
    return power * rest + power


@jit_strict
def expm1(x: float) -> float:
    """Return eˣ − 1, accurate also near 0."""
    power, rest = _exp_parts(x)
    return power * rest + (power - scalar(1.0, x))


@jit_strict
def tanh(x: float) -> float:
    """Return (e²ˣ − 1) / (e²ˣ + 1)."""
    e = expm1(x + x)
    return e / (e + scalar(2.0, x))


@jit_strict
def _exp_parts(x: float) -> tuple[float, float]:
    """Return (2ⁿ, eʳ − 1). A NaN passes both comparisons and stays a NaN."""
    limit = _max_argument(x)
    x = limit if x > limit else x
    x = -limit if x < -limit else x
    # Adding a number this large leaves the nearest integer in the last bits of the sum.
    shifted = x * scalar(_PER_LN_2, x) + _rounding_shift(x)
    n = shifted - _rounding_shift(x)
    r = (x - n * scalar(_LN_2_HIGH, x)) - n * scalar(_LN_2_LOW, x)
    return _power_of_two(shifted), _exp_series(r) * r * r + r


def _exp_series(r: float) -> float:
    """Return (eʳ − 1 − r) / r²."""
    return _horner(_FLOAT64_SERIES, r)


@jit_strict
def _horner(coefficients: tuple[float, ...], r: float) -> float:
    value = scalar(coefficients[0], r)
    for coefficient in coefficients[1:]:
        value = value * r + scalar(coefficient, r)
    return value


@overload(_exp_series)
def _compile_exp_series(r: Any) -> Callable[[Any], float]:
    coefficients = _FLOAT32_SERIES if r == types.float32 else _FLOAT64_SERIES

    @with_name(f"series_of_{r}")
    def compiled(r: Any) -> float:
        return _horner(coefficients, r)

    return compiled


def _max_argument(like: float) -> float:
    """Return a limit of x up to which eˣ and e⁻ˣ are normal numbers of the type."""
    return 708.0


def _rounding_shift(like: float) -> float:
    """Return 1.5 · 2ᵏ for the k bits of the type's fraction."""
    return 1.5 * 2**52


def _power_of_two(shifted: float) -> float:
    """Return 2ⁿ for `shifted` = n + the rounding shift."""
    return math.ldexp(1.0, int(shifted - 1.5 * 2**52)) if shifted == shifted else shifted


def _constant_by_type(name: str, float32_value: float, float64_value: float) -> Callable[[Any], Callable[[Any], float]]:
    """Build the compiled version of a function that returns a constant of its argument's type."""

    def choose(like: Any) -> Callable[[Any], float]:
        value = like(float32_value if like == types.float32 else float64_value)

        @with_name(f"{name}_of_{like}")
        def constant(like: Any) -> float:
            return value  # type: ignore[no-any-return]  # a number

        return constant

    return choose


overload(_max_argument)(_constant_by_type("max_argument", 87.0, 708.0))
overload(_rounding_shift)(_constant_by_type("rounding", 1.5 * 2**23, 1.5 * 2**52))


def _power_of_two_in_bits(context: Any, shifted: Any) -> Any:
    """Generate code that moves the last bits of the fraction into the exponent field, and adds the exponent's bias."""
    integer, fraction_bits, bias = (types.int32, 23, 127) if shifted == types.float32 else (types.int64, 52, 1023)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer_type, float_type = context.get_value_type(integer), context.get_value_type(shifted)
        bits = builder.bitcast(arguments[0], integer_type)
        exponent = builder.add(builder.shl(bits, integer_type(fraction_bits)), integer_type(bias << fraction_bits))
        return builder.bitcast(exponent, float_type)

    return shifted(shifted), generate


_compiled_power_of_two: Any = intrinsic(_power_of_two_in_bits)


@overload(_power_of_two)
def _compile_power_of_two(shifted: Any) -> Callable[[Any], Any]:
    def compiled(shifted: Any) -> Any:
        return _compiled_power_of_two(shifted)

    return compiled
