"""Selection and weights of rows, stages and schedules, and stopping criteria."""

import numpy as np
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.network import Network
from nabla.engine.training.config import EarlyStopping, Stage
from nabla.engine.training.data_split import split_rows
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE, CLASSES, collect_epochs, corners, spec, train


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3, 0.5])
def test_stratified_split_has_share_of_each_class(fraction: float) -> None:
    codes = np.repeat([0, 1, 2], [200, 30, 10]).astype(np.int32)
    for seed in range(5):
        training, validation = split_rows(240, codes, spec(validation_fraction=fraction, seed=seed))
        assert len(validation) == round(240 * fraction)
        assert sorted([*training, *validation]) == list(range(240))
        counts = np.bincount(codes[validation], minlength=3)
        assert np.abs(counts - fraction * np.array([200, 30, 10])).max() <= 1
    first, second = (split_rows(240, codes, spec(validation_fraction=fraction, seed=seed))[1] for seed in (1, 2))
    assert not np.array_equal(first, second)
    drawn = [split_rows(240, codes, spec(validation_fraction=0.1, seed=s, stratified=False))[1] for s in range(20)]
    assert len({tuple(np.bincount(codes[rows], minlength=3)) for rows in drawn}) > 5


@pytest.mark.parametrize(
    ("stratified", "expected"), [(False, [1, 6, 10]), (True, [1, 6, 8])], ids=["plain", "stratified"]
)
def test_a_seed_holds_out_the_same_rows_in_every_version(stratified: bool, expected: list[int]) -> None:
    codes = (np.arange(12) % 3).astype(np.int32)
    _, validation = split_rows(12, codes, spec(validation_fraction=0.25, seed=7, stratified=stratified))
    assert validation.tolist() == expected


def test_sample_weights_scale_costs_and_gradients() -> None:
    weights = np.random.default_rng(4).uniform(0, 3, 30)
    data = corners(30, weights)
    start = Network(ARCHITECTURE)
    outputs = start.predict(data.x)
    _, (epoch,) = train(data, spec(epochs=1, batch_size=30))
    assert epoch.cost == pytest.approx(np.average(-np.log(outputs[data.y == 1]), weights=weights), rel=1e-12)
    doubled, _ = train(corners(30, 2 * weights), spec())
    single, _ = train(data, spec())
    np.testing.assert_allclose(doubled.parameters, single.parameters, rtol=1e-12)


def test_rows_of_weight_zero_have_no_effect() -> None:
    """In full batches; weights are scaled to a mean of 1, which makes up for the smaller number of rows."""
    weights = np.ones(30)
    weights[10:] = 0
    with_zeros, _ = train(corners(30, weights), spec(batch_size=30))
    data = corners(30)
    assert data.codes is not None
    short = OpenDataset(data.x[:10], data.y[:10], data.codes[:10])
    without, _ = train(short, spec(batch_size=30))
    np.testing.assert_allclose(with_zeros.parameters, without.parameters, rtol=1e-10)
    with pytest.raises(InvalidInput, match="the sum 0;"):
        train(corners(30, np.zeros(30)), spec())
    with pytest.raises(InvalidInput, match="the sum inf;"):
        train(corners(30, np.full(30, 1e300)), spec(class_weights={"0": 1e300}))


def test_balanced_class_weights_equal_inverse_frequencies() -> None:
    data = corners(90)
    assert data.codes is not None
    rows = np.flatnonzero((data.codes != 2) | (np.arange(90) < 12))
    uneven = OpenDataset(data.x[rows], data.y[rows], data.codes[rows])
    assert uneven.codes is not None
    counts = np.bincount(uneven.codes)
    assert len(set(counts)) > 1
    balanced, _ = train(uneven, spec(class_weights="balanced"))
    given, _ = train(uneven, spec(class_weights={label: 1 / counts[int(label)] for label in CLASSES}))
    by_row, _ = train(OpenDataset(uneven.x, uneven.y, uneven.codes, 1 / counts[uneven.codes]), spec())
    np.testing.assert_allclose(balanced.parameters, given.parameters, rtol=1e-12)
    np.testing.assert_allclose(balanced.parameters, by_row.parameters, rtol=1e-12)
    plain, _ = train(uneven, spec())
    assert not np.allclose(balanced.parameters, plain.parameters, rtol=1e-3)


def test_early_stopping_restores_best_epoch() -> None:
    data = corners(40)
    generator = np.random.default_rng(1)
    noisy = OpenDataset(data.x, np.eye(3)[generator.integers(0, 3, 40)], None)  # random labels, so that it overfits
    settings = spec(
        epochs=1000,
        batch_size=5,
        learning_rate=0.5,
        validation_fraction=0.4,
        early_stopping=EarlyStopping(patience=7),
    )
    network = Network(ARCHITECTURE)
    trainer = Trainer(network, noisy, settings)
    history = collect_epochs(trainer.run())
    costs = [epoch.validation_cost or 0 for epoch in history]
    best = int(np.argmin(costs)) + 1
    assert trainer.position.stop_reason == "patience"
    assert trainer.position.best_epoch == best
    assert len(history) == best + 7
    assert trainer._validation is not None
    held_out = trainer._validation.rows
    outputs = network.predict(noisy.x[held_out])
    assert -np.log(outputs[noisy.y[held_out] == 1]).mean() == pytest.approx(min(costs), rel=1e-12)

    until_best = spec(epochs=best, batch_size=5, learning_rate=0.5, validation_fraction=0.4)
    assert np.array_equal(train(noisy, until_best)[0].parameters, network.parameters)


def test_gains_below_min_delta_do_not_reset_patience() -> None:
    settings = spec(epochs=100, early_stopping=EarlyStopping(patience=3, min_delta=10.0, restore_best_weights=False))
    network, history = train(corners(40), settings)
    assert len(history) == 4  # the first is always the best so far
    assert np.array_equal(network.parameters, train(corners(40), spec(epochs=4))[0].parameters)


def test_target_cost_stops_run() -> None:
    history = train(corners(100), spec(epochs=1000, target_cost=0.5))[1]
    assert history[-1].cost <= 0.5
    assert all(epoch.cost > 0.5 for epoch in history[:-1])
    watched = train(corners(100), spec(epochs=1000, target_cost=0.5, validation_fraction=0.3))[1]
    assert watched[-1].validation_cost is not None
    assert watched[-1].validation_cost <= 0.5


def test_max_seconds_stops_run_within_epoch() -> None:
    network = Network(ARCHITECTURE)
    trainer = Trainer(network, corners(100), spec(epochs=10**9, max_seconds=0.01))
    history = collect_epochs(trainer.run())
    assert trainer.position.stop_reason == "max_seconds"
    assert trainer.position.total_seconds + trainer.position.epoch_seconds >= 0.01
    assert sum(epoch.seconds for epoch in history) == pytest.approx(trainer.position.total_seconds)
    assert np.isfinite(network.parameters).all()


def test_stages_change_only_named_settings() -> None:
    stages = (Stage(2), Stage(3, learning_rate=0.02), Stage(3, l2=5.0), Stage(2, learning_rate=0.3, momentum=0.5))
    settings = spec(epochs=10, stages=stages, optimizer="momentum")
    network, history = train(corners(64), settings)
    assert [epoch.learning_rate for epoch in history] == [0.1] * 2 + [0.02] * 6 + [0.3] * 2
    without = Network(ARCHITECTURE)
    for _ in Trainer(without, corners(64), spec(epochs=5, stages=stages[:2], optimizer="momentum")).run():
        pass
    assert history[5].cost > history[4].cost + 0.01  # the penalty has begun
    plain, _ = train(
        corners(64), spec(epochs=10, stages=(*stages[:3], Stage(2, learning_rate=0.3)), optimizer="momentum")
    )
    assert not np.array_equal(network.parameters, plain.parameters)
    with pytest.raises(InvalidInput, match="10 epochs together, the job 8"):
        spec(stages=stages, optimizer="momentum")
    with pytest.raises(InvalidInput, match="no momentum"):
        spec(stages=(Stage(8, momentum=0.1),), optimizer="adam")


def test_plateau_reduces_learning_rate_repeatedly() -> None:
    settings = spec(
        epochs=9,
        schedule="plateau",
        schedule_settings={"patience": 2.0, "min_delta": 10.0, "factor": 0.5, "minimum": 0.02},
    )
    rates = [epoch.learning_rate for epoch in train(corners(64), settings)[1]]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.02, 0.02])
