"""Epochs: mini-batches, validation, divergence, and runs that go on where they stopped."""

import copy
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import Diverged, InvalidInput
from engine.nn.network import Architecture, Layer, Network
from engine.nn.optimizers import OPTIMIZERS, OptimizerName
from engine.training.checkpoint import Checkpoint
from engine.training.spec import Epoch, TrainingSpec
from engine.training.trainer import Trainer

Array = npt.NDArray[np.floating]
ARCHITECTURE = Architecture(4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64")


def classes(rows: int) -> tuple[Array, Array]:
    """Rows around three corners, one class each."""
    generator = np.random.default_rng(2)
    codes = np.arange(rows) % 3
    x = np.eye(4)[codes] + generator.normal(scale=0.3, size=(rows, 4))
    return x, np.eye(3)[codes]


def epochs_of(items: Iterable[Epoch | None]) -> list[Epoch]:
    return [item for item in items if item is not None]


def test_the_last_short_mini_batch_counts_with_its_own_size() -> None:
    """One epoch of 10 rows by 4 against the same three steps written out in NumPy."""
    architecture = Architecture(4, (Layer(3, "identity"),), "quadratic", dtype="float64")
    x, y = classes(10)
    network, expected = Network(architecture), Network(architecture)
    spec = TrainingSpec(epochs=1, batch_size=4, learning_rate=0.5, seed=3)
    trainer = Trainer(network, x, y, spec, classify=False)
    (epoch,) = epochs_of(trainer.run())

    w, b = expected.layers[0]
    order = trainer._order
    costs = []
    for rows in (order[:4], order[4:8], order[8:]):
        error = x[rows] @ w.T + b - y[rows]
        costs.append((error**2).sum() / 2)
        w -= 0.5 * error.T @ x[rows] / len(rows)
        b -= 0.5 * error.mean(axis=0)
    np.testing.assert_allclose(network.parameters, expected.parameters, rtol=1e-12)
    assert epoch.cost == pytest.approx(sum(costs) / 10, rel=1e-12)
    assert sorted(order) == list(range(10))


def test_learns_and_counts_what_it_gets_right() -> None:
    x, y = classes(300)
    network = Network(ARCHITECTURE)
    spec = TrainingSpec(epochs=30, batch_size=16, learning_rate=0.5, validation_fraction=0.2)
    history = epochs_of(Trainer(network, x, y, spec, classify=True).run())
    assert [epoch.epoch for epoch in history] == list(range(1, 31))
    last = history[-1]
    assert last.cost < history[0].cost / 3
    assert last.accuracy is not None
    assert last.validation_accuracy is not None
    assert last.validation_cost is not None
    assert last.accuracy > 0.9
    assert last.validation_accuracy > 0.9
    assert 0 < last.validation_cost < 0.5


def test_validation_rows_are_never_trained_on_and_measured_after_the_epoch() -> None:
    x, y = classes(50)
    spec = TrainingSpec(epochs=1, batch_size=7, learning_rate=0.1, validation_fraction=0.3, seed=5)
    network = Network(ARCHITECTURE)
    trainer = Trainer(network, x, y, spec, classify=True)
    (epoch,) = epochs_of(trainer.run())
    kept, trained = trainer._validation, trainer._order
    assert len(kept) == 15
    assert sorted([*kept, *trained]) == list(range(50))
    outputs = network.predict(x[kept])
    assert epoch.validation_cost == pytest.approx(-np.log(outputs[y[kept] == 1]).mean(), rel=1e-12)
    assert epoch.validation_accuracy == (outputs.argmax(axis=1) == y[kept].argmax(axis=1)).mean()


def test_a_validation_that_leaves_nothing_to_train_on_is_refused() -> None:
    x, y = classes(2)
    spec = TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, validation_fraction=0.9)
    with pytest.raises(InvalidInput, match="none would be left"):
        Trainer(Network(ARCHITECTURE), x, y, spec, classify=True)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_continued_from_any_point_ends_with_the_same_bits(batch_size: int, optimizer: OptimizerName) -> None:
    x, y = classes(64)
    spec = TrainingSpec(
        epochs=3, batch_size=batch_size, learning_rate=0.01, validation_fraction=0.2, seed=9, optimizer=optimizer
    )
    whole = Network(ARCHITECTURE)
    trainer = Trainer(whole, x, y, spec, classify=True)
    stops = [copy.deepcopy(Checkpoint.of(trainer))]
    history = []
    for item in trainer.run():
        stops.append(copy.deepcopy(Checkpoint.of(trainer)))
        if item is not None:
            history.append(item)

    assert len(stops) > 6
    for stop in stops:
        network = Network(ARCHITECTURE)
        resumed = Trainer(network, x, y, spec, classify=True)
        stop.restore(resumed)
        again = epochs_of(resumed.run())
        assert np.array_equal(network.parameters, whole.parameters)
        assert [(e.epoch, e.cost, e.accuracy, e.validation_cost) for e in again] == [
            (e.epoch, e.cost, e.accuracy, e.validation_cost) for e in history[stop.position.epoch :]
        ]


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    x, y = classes(64)

    def trained(seed: int) -> Array:
        network = Network(ARCHITECTURE)
        spec = TrainingSpec(epochs=2, batch_size=8, learning_rate=0.3, seed=seed)
        for _ in Trainer(network, x, y, spec, classify=False).run():
            pass
        return network.parameters

    assert np.array_equal(trained(1), trained(1))
    assert not np.array_equal(trained(1), trained(2))


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_divergence_is_said_and_leaves_a_finite_history(validation: float) -> None:
    architecture = Architecture(4, (Layer(8, "identity"), Layer(3, "identity")), "quadratic")
    x, y = (array.astype(np.float32) for array in classes(60))
    spec = TrainingSpec(epochs=1000, batch_size=60, learning_rate=50.0, validation_fraction=validation)
    history: list[Epoch] = []
    run = Trainer(Network(architecture), x, y, spec, classify=False).run()
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
        ({"validation_fraction": 1.0}, "validation.fraction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_are_checked(change: dict[str, object], field: str) -> None:
    good: dict[str, object] = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}
    with pytest.raises(InvalidInput) as refused:
        TrainingSpec(**{**good, **change})  # type: ignore[arg-type]
    assert refused.value.problems[0][0] == field
