"""Parity of l-bfgs with SciPy's own loop: from the same parameters, costs agree in every iteration."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize  # type: ignore[import-untyped]  # SciPy ships no types
from sklearn.datasets import load_diabetes

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

Array = npt.NDArray[np.float64]
ARCHITECTURE = Architecture(10, (Layer(8, "tanh"), Layer(1, "identity")), "quadratic", dtype="float64")
L2 = 0.3


def create_data() -> OpenDataset:
    x, y = load_diabetes(return_X_y=True)
    return OpenDataset(x * 10, y.reshape(-1, 1) / 100)


def cost_and_gradient(parameters: Array) -> tuple[float, Array]:
    """Compute cost and gradient of the network in plain NumPy."""
    network, examples = Network(ARCHITECTURE, parameters.copy()), create_data()
    (w1, b1), (w2, b2) = network.layers
    rows = len(examples.x)
    a = np.tanh(examples.x @ w1.T + b1)
    error = a @ w2.T + b2 - examples.y
    cost = (error**2).sum() / 2 / rows + L2 / 2 / rows * ((w1**2).sum() + (w2**2).sum())
    delta_2 = error / rows
    delta_1 = delta_2 @ w2 * (1 - a**2)
    gradients = [
        delta_1.T @ examples.x + L2 / rows * w1,
        delta_1.sum(axis=0),
        delta_2.T @ a + L2 / rows * w2,
        delta_2.sum(axis=0),
    ]
    return cost, np.concatenate([gradient.ravel() for gradient in gradients])


def train(epochs: int, **settings: Any) -> tuple[Trainer, list[float]]:
    spec = TrainingSpec(epochs=epochs, batch_size=1, learning_rate=1.0, optimizer="l-bfgs", l2=L2, **settings)
    trainer = Trainer(Network(ARCHITECTURE), create_data(), spec)
    return trainer, [epoch.cost for epoch in trainer.run() if epoch is not None]


def test_iterations_match_scipy() -> None:
    expected: list[float] = []
    result = minimize(
        cost_and_gradient,
        np.asarray(Network(ARCHITECTURE).parameters, np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 25},
        callback=lambda intermediate_result: expected.append(float(intermediate_result.fun)),
    )
    trainer, costs = train(25)
    assert len(costs) == 25
    # Rounding errors grow with each iteration.
    np.testing.assert_allclose(costs[:10], expected[:10], rtol=1e-9)
    np.testing.assert_allclose(costs, expected, rtol=1e-4)
    np.testing.assert_allclose(trainer.network.parameters, result.x, rtol=0, atol=0.05)
    assert costs[-1] < 0.6 * costs[0]


@pytest.mark.parametrize(("setting", "value"), [("gtol", 0.01), ("ftol", 1e-3)])
def test_training_stops_on_convergence(setting: str, value: float) -> None:
    trainer, costs = train(10_000, optimizer_settings={setting: value})
    assert trainer.position.stop_reason == "converged"
    assert len(costs) < 200
    assert trainer.position.epoch == len(costs)
    gradient = cost_and_gradient(np.asarray(trainer.network.parameters))[1]
    if setting == "gtol":
        assert np.abs(gradient).max() <= value
