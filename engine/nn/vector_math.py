"""Exponential functions that a compiler can vectorize.

The C library computes one value per call; these are plain arithmetic, so that sixteen float32 values are worked out at
once where the processor can: a hundred times less time in a layer of sigmoids.

eˣ = 2ⁿ eʳ with n = round(x / ln 2) and |r| ≤ ln 2 / 2, where the Taylor series to the 13th degree is exact in float64,
to the 7th in float32.
Source of the method: Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6.
"""

import math
from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from nabla.engine.nn.jit import exact_formula, named, scalar

_PER_LN_2 = 1 / math.log(2)
# ln 2 in two parts: the first has so few bits that its product with n is exact (in float32 and in float64).
_LN_2_HIGH = 0.693359375
_LN_2_LOW = -2.1219444005469058e-4
# The series of eʳ − 1 − r, divided by r², to the degree at which what is left out is less than a rounding.
_WIDE_SERIES = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
_NARROW_SERIES = _WIDE_SERIES[-6:]


@exact_formula
def exp(x: float) -> float:
    """eˣ to about 1 unit in the last place. Beyond what the type can hold, its largest or smallest normal power."""
    scale, rest = _exponential(x)
    return scale * rest + scale


@exact_formula
def expm1(x: float) -> float:
    """eˣ − 1, exact also where x is near 0."""
    scale, rest = _exponential(x)
    return scale * rest + (scale - scalar(1.0, x))


@exact_formula
def tanh(x: float) -> float:
    """(e²ˣ − 1) / (e²ˣ + 1)."""
    e = expm1(x + x)
    return e / (e + scalar(2.0, x))


@exact_formula
def _exponential(x: float) -> tuple[float, float]:
    """(2ⁿ, eʳ − 1). A NaN passes both comparisons and stays one."""
    limit = _largest_exponent(x)
    x = limit if x > limit else x
    x = -limit if x < -limit else x
    # Adding so large a number leaves the nearest whole number in the last bits of the sum.
    shifted = x * scalar(_PER_LN_2, x) + _rounding(x)
    n = shifted - _rounding(x)
    r = (x - n * scalar(_LN_2_HIGH, x)) - n * scalar(_LN_2_LOW, x)
    return _power_of_two(shifted), _series(r) * r * r + r


def _series(r: float) -> float:
    """(eʳ − 1 − r) / r²."""
    return _horner(_WIDE_SERIES, r)


@exact_formula
def _horner(coefficients: tuple[float, ...], r: float) -> float:
    value = scalar(coefficients[0], r)
    for coefficient in coefficients[1:]:
        value = value * r + scalar(coefficient, r)
    return value


@overload(_series)
def _series_of_type(r: Any) -> Callable[[Any], float]:
    coefficients = _NARROW_SERIES if r == types.float32 else _WIDE_SERIES

    @named(f"series_of_{r}")
    def compiled(r: Any) -> float:
        return _horner(coefficients, r)

    return compiled


def _largest_exponent(like: float) -> float:
    """The exponent whose power, and its inverse, are normal numbers of the type."""
    return 708.0


def _rounding(like: float) -> float:
    """1.5 times two to the bits of the type's fraction."""
    return 1.5 * 2**52


def _power_of_two(shifted: float) -> float:
    """2ⁿ for n + _rounding(n)."""
    return math.ldexp(1.0, int(shifted - 1.5 * 2**52)) if shifted == shifted else shifted


def _by_type(name: str, narrow: float, wide: float) -> Callable[[Any], Callable[[Any], float]]:
    """What compiled code uses instead of a function that is constant for each type."""

    def choose(like: Any) -> Callable[[Any], float]:
        value = like(narrow if like == types.float32 else wide)

        @named(f"{name}_of_{like}")
        def constant(like: Any) -> float:
            return value  # type: ignore[no-any-return]  # a number

        return constant

    return choose


overload(_largest_exponent)(_by_type("largest_exponent", 87.0, 708.0))
overload(_rounding)(_by_type("rounding", 1.5 * 2**23, 1.5 * 2**52))


def _power_of_two_in_bits(context: Any, shifted: Any) -> Any:
    """Moves the last bits of the fraction into the exponent, on top of that of 1."""
    whole, fraction, bias = (types.int32, 23, 127) if shifted == types.float32 else (types.int64, 52, 1023)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        as_whole, as_float = context.get_value_type(whole), context.get_value_type(shifted)
        bits = builder.bitcast(arguments[0], as_whole)
        exponent = builder.add(builder.shl(bits, as_whole(fraction)), as_whole(bias << fraction))
        return builder.bitcast(exponent, as_float)

    return shifted(shifted), generate


_compiled_power_of_two: Any = intrinsic(_power_of_two_in_bits)


@overload(_power_of_two)
def _choose_power_of_two(shifted: Any) -> Callable[[Any], Any]:
    def compiled(shifted: Any) -> Any:
        return _compiled_power_of_two(shifted)

    return compiled
