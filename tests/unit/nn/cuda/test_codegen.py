"""Translation of formulas to CUDA C++: correct, or rejected."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nabla.engine.nn.cuda.codegen import Formulas

LIMIT = 0.25
MASK = np.uint64(0x9E3779B97F4A7C15)


def halve(x: float) -> float:
    return x / 2.0


def clipped_sum(x: float, values: list[float]) -> float:
    total = halve(x) + values[1]
    if total > LIMIT:
        total -= 1.0
    return -total if total < 0.0 else total


def mix(bits: Any) -> Any:
    return (bits ^ (bits >> np.uint64(30))) * MASK


def test_formulas_are_translated_with_the_formulas_they_call() -> None:
    formulas = Formulas()
    assert formulas.add(clipped_sum) == "formula::clipped_sum"
    assert formulas.add(mix) == "formula::mix"
    source = formulas.source
    assert "auto total = (formula::halve(x) + values[1ll]);" in source
    assert "if ((total > 0.25)) {" in source
    assert "total -= 1.0;" in source
    assert "return ((total < 0.0) ? (-total) : total);" in source
    assert "0x9e3779b97f4a7c15ull" in source
    assert source.index("auto halve(") < source.index("auto clipped_sum(")


def with_loop(x: float) -> float:
    while x > 1.0:
        x = x - 1.0
    return x


def with_comprehension(x: float) -> float:
    return sum([x for _ in range(3)])


def with_chained_comparison(x: float) -> bool:
    return 0.0 < x < 1.0


def with_modulo(x: int) -> int:
    return x % 3


def with_string(x: float) -> str:
    return f"{x}"


def with_else(x: float) -> float:
    y = x
    if x > 0.0:
        y = x * x
    else:
        y = y - LIMIT
        y = y * x
    return y


def with_infinity(x: float) -> float:
    return x * float("inf")


def with_undefined_name(x: float) -> float:
    return undefined_function(x)  # type: ignore[name-defined,no-any-return]  # noqa: F821  # undefined on purpose


@pytest.mark.parametrize(
    "formula",
    [
        with_loop,
        with_comprehension,
        with_chained_comparison,
        with_modulo,
        with_string,
        with_else,
        with_infinity,
        with_undefined_name,
    ],
)
def test_unsupported_syntax_is_rejected(formula: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="cannot be"):
        Formulas().add(formula)


def test_duplicate_formula_names_are_rejected() -> None:
    def halve(x: float) -> float:
        return x * 0.5

    formulas = Formulas()
    formulas.add(clipped_sum)
    with pytest.raises(TypeError, match="named halve"):
        formulas.add(halve)
