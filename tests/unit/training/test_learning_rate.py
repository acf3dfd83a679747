"""Changes of the learning rate during a run, in combination with stages, schedules and earlier changes."""

import copy
from typing import Any

import numpy as np
import pytest

from nabla.engine.errors import InvalidInput
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import Checkpoint
from nabla.engine.training.config import Stage
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE, CLASSES, collect_epochs, corners, spec

STAGES = (Stage(10, learning_rate=1.0), Stage(10, l2=5.0), Stage(10, learning_rate=0.1, momentum=0.5), Stage(10))


def test_override_holds_until_stage_sets_learning_rate() -> None:
    settings = spec(epochs=40, stages=STAGES, optimizer="momentum").with_learning_rate(0.5, 4)
    rates = [settings.settings_for_epoch(epoch).learning_rate for epoch in range(40)]
    assert rates == [1.0] * 4 + [0.5] * 16 + [0.1] * 20
    assert [settings.settings_for_epoch(epoch).l2 for epoch in (9, 10, 39)] == [0.0, 5.0, 5.0]
    assert [settings.settings_for_epoch(epoch).momentum for epoch in (19, 20, 39)] == [None, 0.5, 0.5]


@pytest.mark.parametrize("epoch", [20, 21, 29, 30, 39])
def test_override_replaces_learning_rate_of_current_stage(epoch: int) -> None:
    settings = (
        spec(epochs=40, stages=STAGES, optimizer="momentum").with_learning_rate(0.5, 4).with_learning_rate(0.3, epoch)
    )
    rates = [settings.settings_for_epoch(number).learning_rate for number in range(40)]
    assert rates == [1.0] * 4 + [0.5] * 16 + [0.1] * (epoch - 20) + [0.3] * (40 - epoch)


def test_latest_override_holds() -> None:
    settings = spec(epochs=8).with_learning_rate(0.2, 2).with_learning_rate(0.3, 5)
    assert [settings.settings_for_epoch(epoch).learning_rate for epoch in range(8)] == [0.1] * 2 + [0.2] * 3 + [0.3] * 3
    again = settings.with_learning_rate(0.4, 5)
    assert [again.settings_for_epoch(epoch).learning_rate for epoch in range(4, 7)] == [0.2, 0.4, 0.4]
    # A run that is resumed from epoch 3 drops overrides of later epochs.
    back = settings.with_learning_rate(0.4, 3)
    assert [back.settings_for_epoch(epoch).learning_rate for epoch in range(8)] == [0.1] * 2 + [0.2] + [0.4] * 5


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_invalid_learning_rates_are_rejected(rate: float) -> None:
    with pytest.raises(InvalidInput, match="above 0") as rejected:
        spec().with_learning_rate(rate, 1)
    assert rejected.value.problems[0][0] == "learning_rate"


def test_l_bfgs_has_no_learning_rate() -> None:
    with pytest.raises(InvalidInput, match="it has no learning rate"):
        spec(optimizer="l-bfgs").with_learning_rate(0.1, 1)


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
def test_changed_run_resumes_bitwise_with_new_learning_rate(settings: dict[str, Any], expected: list[float]) -> None:
    """A change within the first epoch takes effect in the second."""
    network = Network(ARCHITECTURE)
    data = corners(64)
    trainer = Trainer(network, data, spec(epochs=6, **settings), classes=CLASSES)
    items = trainer.run()
    assert next(items) is None
    assert 0 < trainer.position.row < 64
    assert trainer.change_learning_rate(0.8) == 1
    changed = trainer.spec
    middle = copy.deepcopy(Checkpoint.capture(trainer))
    history = collect_epochs(items)
    assert [epoch.learning_rate for epoch in history] == pytest.approx(expected, rel=1e-12)

    resumed_network = Network(ARCHITECTURE)
    resumed = Trainer(resumed_network, data, changed, classes=CLASSES)
    middle.restore(resumed)
    assert [epoch.cost for epoch in collect_epochs(resumed.run())] == [epoch.cost for epoch in history]
    assert np.array_equal(resumed_network.parameters, network.parameters)


def test_change_between_epochs_affects_next_epoch() -> None:
    trainer = Trainer(Network(ARCHITECTURE), corners(64), spec(epochs=4), classes=CLASSES)
    history = []
    for item in trainer.run():
        history += collect_epochs([item])
        if item is not None and item.epoch == 2:
            assert trainer.change_learning_rate(0.8) == 2
    assert [epoch.learning_rate for epoch in history] == [0.1, 0.1, 0.8, 0.8]
