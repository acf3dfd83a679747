"""The benchmark for GPUs runs, so that it can be trusted to where there is one."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.gpu import Products, measured
from benchmarks.workloads import WORKLOADS
from nabla.engine.literals import Precision
from tests.fakes.load import standin

WORKLOAD = replace(WORKLOADS[1], steps=3)


@pytest.mark.parametrize("way", [{}, {"in_one_block": False}, {"precision": "half"}])
def test_a_line_of_the_table(way: dict[str, Any]) -> None:
    found = measured(standin(), WORKLOAD, rounds=1, **way)
    assert found.step > 0
    assert found.products > 0
    assert "13-64-64-1, batch 16, sgd" in found.line()


@pytest.mark.parametrize("precision", ["full", "half"])
def test_the_products_alone_are_as_many_as_those_of_the_steps(precision: Precision) -> None:
    accounts = standin().accounts
    products = Products(standin(), WORKLOAD, precision)
    with accounts.counting() as alone:
        products.epoch()
    with accounts.counting() as both:
        measured(standin(), WORKLOAD, rounds=1, precision=precision, in_one_block=False)
    assert both.products == 4 * alone.products > 0  # two epochs of each, one of them to prepare
