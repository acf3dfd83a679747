"""Learning-rate schedules, step by step."""

from typing import get_args

import numpy as np
import pytest

from nabla.engine.literals import ScheduleName
from nabla.engine.nn.schedules import SCHEDULES, SchedulePoint


def compute_rates(name: ScheduleName, epochs: int, steps: int, **settings: float) -> list[float]:
    """Return the rates of all steps of a run with η = 1."""
    schedule = SCHEDULES[name]
    rates = []
    for epoch in range(epochs):
        epoch_rates = schedule.rates(1.0, SchedulePoint(epoch, epochs, steps), {**schedule.settings, **settings})
        rates += np.broadcast_to(np.asarray(epoch_rates), steps).tolist()
    return rates


def test_literals_list_the_entries_of_the_table() -> None:
    assert get_args(ScheduleName) == tuple(SCHEDULES)


def test_rates_that_change_per_epoch() -> None:
    assert compute_rates("constant", 2, 2) == [1, 1, 1, 1]
    assert compute_rates("step", 5, 1, every=2, factor=0.5) == [1, 1, 0.5, 0.5, 0.25]
    assert compute_rates("exponential", 3, 2, factor=0.5) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_overflowing_rate_is_infinite() -> None:
    assert compute_rates("exponential", 3, 1, factor=1e300) == [1, 1e300, np.inf]


def test_rates_that_change_per_step() -> None:
    assert compute_rates("inverse_scaling", 2, 2, power=0.5) == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])
    cosine = compute_rates("cosine", 10, 10, warmup_epochs=2, minimum=0.1)
    np.testing.assert_allclose(cosine[:20], np.arange(1, 21) / 20)
    assert cosine[20] == 1
    assert cosine[60] == pytest.approx(0.55)
    assert cosine[-1] == pytest.approx(0.1, abs=1e-3)
    assert (np.diff(cosine[20:]) < 0).all()


def test_warmup_longer_than_the_run_is_linear() -> None:
    np.testing.assert_allclose(compute_rates("cosine", 2, 2, warmup_epochs=8), np.arange(1, 5) / 16)


def test_plateau_reduces_the_rate_down_to_the_minimum() -> None:
    plateau = SCHEDULES["plateau"]
    for reductions, expected in ((0, 1.0), (1, 0.1), (2, 0.05)):
        point = SchedulePoint(7, 100, 3, reductions)
        assert plateau.rates(1.0, point, {**plateau.settings, "minimum": 0.05}) == pytest.approx(expected)
