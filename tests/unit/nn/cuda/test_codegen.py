"""Formulas become CUDA C++ or are refused; none is changed in silence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nabla.engine.nn.cuda.codegen import Formulas

LIMIT = 0.25
MASK = np.uint64(0x9E3779B97F4A7C15)


def halved(x: float) -> float:
    return x / 2.0


def clipped_sum(x: float, values: list[float]) -> float:
    total = halved(x) + values[1]
    if total > LIMIT:
        total -= 1.0
    return -total if total < 0.0 else total


def mixed(bits: Any) -> Any:
    return (bits ^ (bits >> np.uint64(30))) * MASK


def test_what_a_formula_becomes() -> None:
    formulas = Formulas()
    assert formulas.add(clipped_sum) == "formula::clipped_sum"
    assert formulas.add(mixed) == "formula::mixed"
    text = formulas.source
    assert "auto total = (formula::halved(x) + values[1ll]);" in text
    assert "if ((total > 0.25)) {" in text
    assert "total -= 1.0;" in text
    assert "return ((total < 0.0) ? (-total) : total);" in text
    assert "0x9e3779b97f4a7c15ull" in text
    assert text.index("auto halved(") < text.index("auto clipped_sum(")


def with_loop(x: float) -> float:
    while x > 1.0:
        x = x - 1.0
    return x


def with_comprehension(x: float) -> float:
    return sum([x for _ in range(3)])


def with_chain(x: float) -> bool:
    return 0.0 < x < 1.0


def with_rest(x: int) -> int:
    return x % 3


def with_text(x: float) -> str:
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


def with_unknown(x: float) -> float:
    return undefined_here(x)  # type: ignore[name-defined,no-any-return]  # noqa: F821  # that is the test


@pytest.mark.parametrize(
    "formula",
    [with_loop, with_comprehension, with_chain, with_rest, with_text, with_else, with_infinity, with_unknown],
)
def test_what_cannot_be_said_is_refused(formula: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="cannot be"):
        Formulas().add(formula)


def test_two_formulas_of_one_name_are_refused() -> None:
    def halved(x: float) -> float:
        return x * 0.5

    formulas = Formulas()
    formulas.add(clipped_sum)
    with pytest.raises(TypeError, match="called halved"):
        formulas.add(halved)
