"""A learning rate that is changed while a run goes on: with stages, schedules, and what was changed before."""

import copy
from typing import Any

import numpy as np
import pytest

from nabla.engine.errors import InvalidInput
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import Checkpoint
from nabla.engine.training.config import Stage
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE, CLASSES, corners, epochs_of, spec

STAGES = (Stage(10, learning_rate=1.0), Stage(10, l2=5.0), Stage(10, learning_rate=0.1, momentum=0.5), Stage(10))


def test_a_new_rate_holds_until_a_stage_has_one_of_its_own() -> None:
    settings = spec(epochs=40, stages=STAGES, optimizer="momentum").with_rate(0.5, 4)
    rates = [settings.in_epoch(epoch).learning_rate for epoch in range(40)]
    assert rates == [1.0] * 4 + [0.5] * 16 + [0.1] * 20
    assert [settings.in_epoch(epoch).l2 for epoch in (9, 10, 39)] == [0.0, 5.0, 5.0]
    assert [settings.in_epoch(epoch).momentum for epoch in (19, 20, 39)] == [None, 0.5, 0.5]


@pytest.mark.parametrize("epoch", [20, 21, 29, 30, 39])
def test_a_new_rate_takes_the_place_of_a_stage_that_has_begun(epoch: int) -> None:
    settings = spec(epochs=40, stages=STAGES, optimizer="momentum").with_rate(0.5, 4).with_rate(0.3, epoch)
    rates = [settings.in_epoch(number).learning_rate for number in range(40)]
    assert rates == [1.0] * 4 + [0.5] * 16 + [0.1] * (epoch - 20) + [0.3] * (40 - epoch)


def test_the_newest_of_several_new_rates_holds() -> None:
    settings = spec(epochs=8).with_rate(0.2, 2).with_rate(0.3, 5)
    assert [settings.in_epoch(epoch).learning_rate for epoch in range(8)] == [0.1] * 2 + [0.2] * 3 + [0.3] * 3
    again = settings.with_rate(0.4, 5)
    assert [again.in_epoch(epoch).learning_rate for epoch in range(4, 7)] == [0.2, 0.4, 0.4]
    # A run that was set back to epoch 3 was told so there; what was said of later epochs is over.
    back = settings.with_rate(0.4, 3)
    assert [back.in_epoch(epoch).learning_rate for epoch in range(8)] == [0.1] * 2 + [0.2] + [0.4] * 5


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(InvalidInput, match="above 0") as refused:
        spec().with_rate(rate, 1)
    assert refused.value.problems[0][0] == "learning_rate"


def test_l_bfgs_has_no_rate() -> None:
    with pytest.raises(InvalidInput, match="it has no learning rate"):
        spec(optimizer="l-bfgs").with_rate(0.1, 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.8, 0.8, 0.8, 0.8, 0.8]),
        ({"schedule": "exponential", "schedule_settings": {"factor": 0.5}}, [0.1, 0.4, 0.2, 0.1, 0.05, 0.025]),
        ({"schedule": "step", "schedule_settings": {"every": 2.0, "factor": 0.5}}, [0.1, 0.8, 0.4, 0.4, 0.2, 0.2]),
        ({"stages": (Stage(4, learning_rate=0.1), Stage(2, learning_rate=0.2))}, [0.1, 0.8, 0.8, 0.8, 0.2, 0.2]),
    ],
    ids=["constant", "exponential", "step", "stages"],
)
def test_a_run_goes_on_with_another_rate(settings: dict[str, Any], expected: list[float]) -> None:
    """Told in the middle of the first epoch, it goes on so from the second."""
    network = Network(ARCHITECTURE)
    data = corners(64)
    trainer = Trainer(network, data, spec(epochs=6, **settings), classes=CLASSES)
    items = trainer.run()
    assert next(items) is None
    assert 0 < trainer.position.row < 64
    assert trainer.change_rate(0.8) == 1
    changed = trainer.spec
    middle = copy.deepcopy(Checkpoint.of(trainer))
    history = epochs_of(items)
    assert [epoch.learning_rate for epoch in history] == pytest.approx(expected, rel=1e-12)

    resumed_network = Network(ARCHITECTURE)
    resumed = Trainer(resumed_network, data, changed, classes=CLASSES)
    middle.restore(resumed)
    assert [epoch.cost for epoch in epochs_of(resumed.run())] == [epoch.cost for epoch in history]
    assert np.array_equal(resumed_network.parameters, network.parameters)


def test_between_two_epochs_the_next_one_has_the_new_rate() -> None:
    trainer = Trainer(Network(ARCHITECTURE), corners(64), spec(epochs=4), classes=CLASSES)
    history = []
    for item in trainer.run():
        history += epochs_of([item])
        if item is not None and item.epoch == 2:
            assert trainer.change_rate(0.8) == 2
    assert [epoch.learning_rate for epoch in history] == [0.1, 0.1, 0.8, 0.8]
