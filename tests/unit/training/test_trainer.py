"""Epochs: mini-batches, validation, metrics, divergence, and checks of settings."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import Diverged, InvalidInput
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import (
    ARCHITECTURE,
    CLASSES,
    Array,
    collect_epochs,
    corners,
    numbers,
    spec,
    train,
)


def test_last_short_mini_batch_is_averaged_over_its_own_size() -> None:
    """Compare an epoch of 10 rows by 4 with the same three steps in NumPy."""
    architecture = Architecture(4, (Layer(3, "identity"),), "quadratic", dtype="float64")
    data = corners(10)
    network, expected = Network(architecture), Network(architecture)
    trainer = Trainer(network, data, spec(epochs=1, batch_size=4, learning_rate=0.5, seed=3))
    (epoch,) = collect_epochs(trainer.run())

    w, b = expected.layers[0]
    order = trainer._order
    costs = []
    for rows in (order[:4], order[4:8], order[8:]):
        error = data.x[rows] @ w.T + b - data.y[rows]
        costs.append((error**2).sum() / 2)
        gradient = np.concatenate([(error.T @ data.x[rows]).ravel(), error.sum(axis=0)]) / len(rows)
        w -= 0.5 * error.T @ data.x[rows] / len(rows)
        b -= 0.5 * error.mean(axis=0)
    np.testing.assert_allclose(network.parameters, expected.parameters, rtol=1e-12)
    assert epoch.cost == pytest.approx(sum(costs) / 10, rel=1e-12)
    assert epoch.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
    assert sorted(order) == list(range(10))


def test_cost_falls_and_accuracy_rises() -> None:
    _, history = train(corners(300), spec(epochs=30, learning_rate=0.5, validation_fraction=0.2))
    assert [epoch.epoch for epoch in history] == list(range(1, 31))
    last = history[-1]
    assert last.cost < history[0].cost / 3
    assert last.accuracy is not None
    assert last.validation_accuracy is not None
    assert last.validation_cost is not None
    assert last.rows_per_second is not None
    assert last.accuracy > 0.9
    assert last.validation_accuracy > 0.9
    assert 0 < last.validation_cost < 0.5
    assert last.rows_per_second * last.seconds > 240
    assert (last.r2, last.mae, last.rmse) == (None, None, None)


def test_validation_rows_are_held_out_and_evaluated_after_epoch() -> None:
    data = corners(50)
    network = Network(ARCHITECTURE)
    trainer = Trainer(network, data, spec(epochs=1, batch_size=7, validation_fraction=0.3, seed=5), classes=CLASSES)
    (epoch,) = collect_epochs(trainer.run())
    assert trainer._validation is not None
    held_out, used = trainer._validation.rows, trainer._order
    assert len(held_out) == 15
    assert sorted([*held_out, *used]) == list(range(50))
    outputs = network.predict(data.x[held_out])
    assert epoch.validation_cost == pytest.approx(-np.log(outputs[data.y[held_out] == 1]).mean(), rel=1e-12)
    assert epoch.validation_accuracy == (outputs.argmax(axis=1) == data.y[held_out].argmax(axis=1)).mean()


def test_validation_dataset_leaves_all_rows_for_training() -> None:
    data, other = corners(50), numbers(30, outputs=3)
    other = OpenDataset(other.x, np.eye(3)[np.arange(30) % 3], (np.arange(30) % 3).astype(np.int32))
    network = Network(ARCHITECTURE)
    (epoch,) = collect_epochs(Trainer(network, data, spec(epochs=1), classes=CLASSES, validation=other).run())
    outputs = network.predict(other.x)
    assert epoch.validation_cost == pytest.approx(-np.log(outputs[other.y == 1]).mean(), rel=1e-12)
    alone, _ = train(data, spec(epochs=1))
    assert np.array_equal(network.parameters, alone.parameters)  # all rows of the first are trained on


def test_regression_metrics_match_scikit_learn() -> None:
    architecture = Architecture(4, (Layer(6, "tanh"), Layer(3, "identity")), "quadratic", dtype="float64")
    data, drawn = numbers(60, outputs=3), numbers(40, outputs=3)
    other = OpenDataset(drawn.x, np.where([False, False, True], 0.5, drawn.y))  # the last has no variance, and no R²
    network = Network(architecture)
    before = network.predict(data.x)
    (epoch,) = collect_epochs(Trainer(network, data, spec(epochs=1, batch_size=60), validation=other).run())
    assert epoch.r2 == pytest.approx(r2_score(data.y, before), rel=1e-12)
    assert epoch.mae == pytest.approx(mean_absolute_error(data.y, before), rel=1e-12)
    assert epoch.rmse == pytest.approx(root_mean_squared_error(data.y, before), rel=1e-12)
    after = network.predict(other.x)
    assert epoch.validation_r2 == pytest.approx(r2_score(other.y[:, :2], after[:, :2]), rel=1e-12)
    assert epoch.validation_mae == pytest.approx(mean_absolute_error(other.y, after), rel=1e-12)
    first_output = OpenDataset(data.x, data.y[:, :1])
    single = Architecture(4, (Layer(1, "identity"),), "mean_absolute", dtype="float64")
    (epoch,) = train(first_output, spec(epochs=1, batch_size=60), single, None)[1]
    assert epoch.rmse == pytest.approx(
        root_mean_squared_error(first_output.y, Network(single).predict(first_output.x)), rel=1e-12
    )


def test_independent_binary_labels_have_accuracy() -> None:
    architecture = Architecture(4, (Layer(2, "sigmoid"),), "binary_cross_entropy", dtype="float64")
    x = corners(50).x
    y = (x[:, :2] > 0.5).astype(float)
    outputs = Network(architecture).predict(x)
    (epoch,) = train(OpenDataset(x, y), spec(epochs=1, batch_size=50), architecture, None)[1]
    assert epoch.accuracy == ((outputs >= 0.5) == (y == 1)).mean()


def test_validation_of_all_rows_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="none would be left"):
        train(corners(2), spec(validation_fraction=0.9))


def test_seed_determines_result() -> None:
    def parameters(seed: int) -> Array:
        return train(corners(64), spec(epochs=2, batch_size=8, seed=seed))[0].parameters

    assert np.array_equal(parameters(1), parameters(1))
    assert not np.array_equal(parameters(1), parameters(2))


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_divergence_is_raised_after_finite_history(validation: float) -> None:
    architecture = Architecture(4, (Layer(8, "identity"), Layer(3, "identity")), "quadratic")
    data = corners(60)
    narrow = OpenDataset(data.x.astype(np.float32), data.y.astype(np.float32))
    settings = spec(epochs=1000, batch_size=60, learning_rate=50.0, validation_fraction=validation)
    history: list[Epoch] = []
    run = Trainer(Network(architecture), narrow, settings).run()
    with pytest.raises(Diverged, match=r"learning rate that is too large \(now 50\)"):
        history.extend(item for item in run if item is not None)
    assert history
    assert all(np.isfinite(epoch.cost) for epoch in history)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"optimizer": "magic"}, "optimizer"),
        ({"optimizer": "adam", "optimizer_settings": {"momentum": 0.9}}, "optimizer.momentum"),
        ({"schedule": "magic"}, "schedule"),
        ({"schedule": "step", "schedule_settings": {"power": 1.0}}, "schedule.power"),
        ({"schedule": "step", "schedule_settings": {"every": 0.0}}, "schedule.every"),
        ({"l1": -1.0}, "l1"),
        ({"l2": float("inf")}, "l2"),
        ({"clip_value": 0.0}, "clip_value"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"max_norm": -1.0}, "max_norm"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"target_cost": float("nan")}, "target_cost"),
        ({"class_weights": {"0": -1.0}}, "class_weights.0"),
        ({"validation_fraction": 1.0}, "validation.fraction"),
        ({"seed": -1}, "seed"),
        ({"optimizer": "l-bfgs", "clip_norm": 1.0}, "clip_norm"),
        ({"optimizer": "l-bfgs", "schedule": "step"}, "schedule"),
    ],
)
def test_invalid_settings_are_rejected(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as rejected:
        spec(**change)
    assert rejected.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("layer", "change", "field"),
    [
        (Layer(4, "relu", dropout=0.5), {"optimizer": "l-bfgs"}, "optimizer"),
        (Layer(4, "relu", batch_norm=True), {"optimizer": "l-bfgs"}, "optimizer"),
        (Layer(4, "relu", batch_norm=True), {"batch_size": 1}, "batch_size"),
        (Layer(4, "relu"), {"class_weights": {"7": 1.0}}, "class_weights.7"),
        (Layer(4, "relu"), {"class_weights": {"0": 0.0, "1": 0.0, "2": 0.0}}, "class_weights"),
    ],
)
def test_settings_that_do_not_fit_network_or_data_are_rejected(
    layer: Layer, change: dict[str, object], field: str
) -> None:
    architecture = Architecture(4, (layer, Layer(3, "softmax")), "quadratic", dtype="float64")
    with pytest.raises(InvalidInput) as rejected:
        train(corners(9), spec(**{"epochs": 1, "batch_size": 4, **change}), architecture)
    assert rejected.value.problems[0][0] == field
