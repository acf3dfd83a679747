"""The GPU benchmark runs on the fake CuPy, so that it can be trusted on a real GPU."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.gpu import MatrixProducts, measure
from benchmarks.support.workloads import WORKLOADS
from nabla.engine.literals import Precision
from tests.fakes.load import load_fake_cupy

WORKLOAD = replace(WORKLOADS[1], steps=3)


@pytest.mark.parametrize("settings", [{}, {"single_block": False}, {"precision": "half"}])
def test_benchmark_measures_a_workload(settings: dict[str, Any]) -> None:
    result = measure(load_fake_cupy(), WORKLOAD, rounds=1, **settings)
    assert result.step > 0
    assert result.products > 0
    assert "13-64-64-1, batch 16, sgd" in result.summary()


@pytest.mark.parametrize("precision", ["full", "half"])
def test_benchmark_of_products_runs_as_many_as_the_steps(precision: Precision) -> None:
    monitor = load_fake_cupy().monitor
    products = MatrixProducts(load_fake_cupy(), WORKLOAD, precision)
    with monitor.count_operations() as products_only:
        products.epoch()
    with monitor.count_operations() as benchmark:
        measure(load_fake_cupy(), WORKLOAD, rounds=1, precision=precision, single_block=False)
    # The benchmark runs two epochs of the products and two of the steps, one of each for warm-up.
    assert benchmark.products == 4 * products_only.products > 0
