"""Learning rates, step by step."""

from typing import get_args

import numpy as np
import pytest

from nabla.engine.literals import ScheduleName
from nabla.engine.nn.schedules import SCHEDULES, Moment


def rates(name: ScheduleName, epochs: int, steps: int, **settings: float) -> list[float]:
    """Of every step of a run with η = 1."""
    schedule = SCHEDULES[name]
    found = []
    for epoch in range(epochs):
        of_epoch = schedule.rates(1.0, Moment(epoch, epochs, steps), {**schedule.settings, **settings})
        found += np.broadcast_to(np.asarray(of_epoch), steps).tolist()
    return found


def test_every_name_has_its_entry() -> None:
    assert get_args(ScheduleName) == tuple(SCHEDULES)


def test_by_epochs() -> None:
    assert rates("constant", 2, 2) == [1, 1, 1, 1]
    assert rates("step", 5, 1, every=2, factor=0.5) == [1, 1, 0.5, 0.5, 0.25]
    assert rates("exponential", 3, 2, factor=0.5) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_rate_beyond_all_numbers_is_infinite() -> None:
    assert rates("exponential", 3, 1, factor=1e300) == [1, 1e300, np.inf]


def test_by_steps() -> None:
    assert rates("inverse_scaling", 2, 2, power=0.5) == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])
    cosine = rates("cosine", 10, 10, warmup_epochs=2, minimum=0.1)
    np.testing.assert_allclose(cosine[:20], np.arange(1, 21) / 20)
    assert cosine[20] == 1
    assert cosine[60] == pytest.approx(0.55)
    assert cosine[-1] == pytest.approx(0.1, abs=1e-3)
    assert (np.diff(cosine[20:]) < 0).all()


def test_a_warm_up_longer_than_the_run_is_a_line() -> None:
    np.testing.assert_allclose(rates("cosine", 2, 2, warmup_epochs=8), np.arange(1, 5) / 16)


def test_a_plateau_counts_reductions() -> None:
    plateau = SCHEDULES["plateau"]
    for reductions, expected in ((0, 1.0), (1, 0.1), (2, 0.05)):
        moment = Moment(7, 100, 3, reductions)
        assert plateau.rates(1.0, moment, {**plateau.settings, "minimum": 0.05}) == pytest.approx(expected)
