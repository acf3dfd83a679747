"""Penalties, limits, dropout and batch normalization against their definitions."""

import numpy as np
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE, collect_epochs, corners, spec, train

LINEAR = Architecture(4, (Layer(3, "identity"),), "quadratic", "standard_normal", dtype="float64")


def one_step(**settings: object) -> tuple[Network, np.ndarray[tuple[int], np.dtype[np.float64]], float]:
    """Make a full-batch step with LINEAR; return the network, the gradient without regularization, and the cost."""
    data, start = corners(12), Network(LINEAR)
    error = start.predict(data.x) - data.y
    gradient = np.concatenate([(error.T @ data.x).ravel(), error.sum(axis=0)]) / 12
    network, (epoch,) = train(data, spec(epochs=1, batch_size=12, **settings), LINEAR, None)
    return network, gradient, epoch.cost


def test_penalties_apply_to_weights_and_are_divided_by_training_rows() -> None:
    start = Network(LINEAR).parameters
    weights = np.arange(15) < 12
    network, gradient, cost = one_step(l1=0.6, l2=1.8)
    expected = start - 0.1 * (gradient + np.where(weights, 1.8 / 12 * start + 0.6 / 12 * np.sign(start), 0))
    np.testing.assert_allclose(network.parameters, expected, rtol=1e-12)
    plain = one_step()[2]
    penalty = 0.6 / 12 * np.abs(start[:12]).sum() + 1.8 / 24 * (start[:12] ** 2).sum()
    assert cost == pytest.approx(plain + penalty, rel=1e-12)


def test_validation_cost_includes_penalties() -> None:
    data = corners(30)
    network = Network(LINEAR)
    trainer = Trainer(network, data, spec(epochs=1, l1=0.6, l2=1.8, validation_fraction=0.5))
    (epoch,) = collect_epochs(trainer.run())
    assert trainer._validation is not None
    rows = trainer._validation.rows
    (w, _), *_ = network.layers
    errors = ((network.predict(data.x[rows]) - data.y[rows]) ** 2).sum() / 2 / 15
    assert epoch.validation_cost == pytest.approx(
        errors + 0.6 / 15 * np.abs(w).sum() + 1.8 / 30 * (w**2).sum(), rel=1e-12
    )


def test_gradients_are_clipped_by_value_and_norm() -> None:
    start = Network(LINEAR).parameters
    network, gradient, _ = one_step(clip_value=0.05)
    np.testing.assert_allclose(network.parameters, start - 0.1 * np.clip(gradient, -0.05, 0.05), rtol=1e-12)
    network, gradient, _ = one_step(clip_norm=0.05)
    length = np.linalg.norm(gradient)
    assert length > 0.05
    np.testing.assert_allclose(network.parameters, start - 0.1 * gradient * 0.05 / length, rtol=1e-12)
    network, gradient, _ = one_step(clip_norm=2 * length)
    np.testing.assert_allclose(network.parameters, start - 0.1 * gradient, rtol=1e-12)


def test_max_norm_limits_weights_into_each_unit() -> None:
    free, _, _ = one_step()
    limited, _, _ = one_step(max_norm=1.9)
    lengths = np.linalg.norm(free.layers[0][0], axis=1)
    assert lengths.min() < 1.9 < lengths.max()
    expected = free.layers[0][0] * np.minimum(1, 1.9 / lengths)[:, None]
    np.testing.assert_allclose(limited.layers[0][0], expected, rtol=1e-12)
    np.testing.assert_allclose(limited.layers[0][1], free.layers[0][1], rtol=1e-12)


def test_dropout_has_expected_mean_and_variance() -> None:
    """Over many copies of one row, a linear unit's cost is ½ ((w·x + b − y)² + Σ w² x² p / (1 − p))."""
    architecture = Architecture(4, (Layer(1, "identity"),), "quadratic", dtype="float64", input_dropout=0.3)
    row, rows = np.array([0.5, -1.0, 2.0, 0.3]), 40_000
    data = OpenDataset(np.tile(row, (rows, 1)), np.full((rows, 1), 0.4))
    start = Network(architecture)
    w = start.layers[0][0][0]
    _, (epoch,) = train(data, spec(epochs=1, batch_size=rows), architecture, None)
    expected = 0.5 * ((w @ row - 0.4) ** 2 + (w**2 * row**2).sum() * 0.3 / 0.7)
    assert epoch.cost == pytest.approx(expected, rel=0.02)
    assert start.predict(row[None])[0, 0] == pytest.approx(w @ row)  # predictions drop nothing


def test_dropped_units_depend_on_seed_and_step_alone() -> None:
    layers = (Layer(6, "tanh", dropout=0.5), Layer(3, "softmax"))
    architecture = Architecture(4, layers, "categorical_cross_entropy", dtype="float64")
    data = corners(32)

    def costs(seed: int, rate: float) -> list[float]:
        settings = spec(epochs=3, batch_size=32, seed=seed, learning_rate=rate)
        return [round(epoch.cost, 9) for epoch in train(data, settings, architecture)[1]]

    assert costs(1, 0.1) == costs(1, 0.1)
    assert costs(1, 1e-12)[0] != costs(2, 1e-12)[0]
    assert len(set(costs(1, 1e-12))) == 3


def test_network_with_dropout_and_batch_normalization_learns() -> None:
    layers = (Layer(16, "relu", dropout=0.2, batch_norm=True), Layer(3, "softmax"))
    architecture = Architecture(4, layers, "categorical_cross_entropy", dtype="float64", input_dropout=0.05)
    network, history = train(corners(300), spec(epochs=40, validation_fraction=0.2), architecture)
    assert history[-1].validation_accuracy is not None
    assert history[-1].validation_accuracy > 0.9
    means, variances = network.normalizations[0][1:]
    assert np.abs(means).max() > 0.05
    assert np.abs(variances - 1).max() > 0.05


def test_predictions_use_running_statistics() -> None:
    """With the statistics of the rows, the prediction of a row does not depend on the others."""
    layers = (Layer(5, "tanh", batch_norm=True), Layer(2, "identity", batch_norm=True))
    network = Network(Architecture(4, layers, "quadratic", dtype="float64"))
    x = np.random.default_rng(2).normal(size=(50, 4))
    a = x
    for (w, b), (gamma, means, variances), last in zip(
        network.layers, network.normalizations.values(), (False, True), strict=True
    ):
        z = a @ w.T
        gamma[:], b[:] = np.random.default_rng(3).uniform(0.5, 2, (2, b.size))
        means[:], variances[:] = z.mean(axis=0), z.var(axis=0)
        a = (z - means) / np.sqrt(variances + 1e-5) * gamma + b
        a = a if last else np.tanh(a)
    np.testing.assert_allclose(network.predict(x), a, rtol=1e-10)
    np.testing.assert_allclose(network.predict(x[:1]), a[:1], rtol=1e-10)


def test_inactive_limits_change_nothing() -> None:
    plain, _ = train(corners(64), spec())
    explicit, _ = train(corners(64), spec(l1=0.0, l2=0.0, clip_norm=1e30, clip_value=1e30, max_norm=1e30))
    assert np.array_equal(plain.parameters, explicit.parameters)
    ones, _ = train(corners(64, np.full(64, 3.0)), spec())
    np.testing.assert_allclose(ones.parameters, plain.parameters, rtol=1e-12)
    assert ARCHITECTURE.parameters == plain.parameters.size
