"""The benchmark for GPUs runs, so that it can be trusted to where there is one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks.gpu import measured
from tests.benchmarks.workloads import WORKLOADS
from tests.standin.load import standin


@pytest.mark.parametrize("way", [{}, {"in_one_block": False}, {"precision": "half"}])
def test_a_line_of_the_table(way: dict[str, Any]) -> None:
    found = measured(standin(), replace(WORKLOADS[1], steps=3), rounds=1, **way)
    assert 0 < found.products < found.step
    assert "13-64-64-1, batch 16, sgd" in found.line()
