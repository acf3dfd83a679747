"""Parity of l-bfgs with SciPy's: from the same start, costs agree in every iteration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize, rosen, rosen_der  # type: ignore[import-untyped]  # SciPy ships no types
from sklearn.datasets import load_diabetes

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.lbfgs import Lbfgs, LbfgsAction
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
    print(np.abs(np.array(costs) - expected) / expected)
    np.testing.assert_allclose(costs[:10], expected[:10], rtol=1e-9)
    np.testing.assert_allclose(costs, expected, rtol=1e-4)
    np.testing.assert_allclose(trainer.network.parameters, result.x, rtol=0, atol=0.05)
    assert costs[-1] < 0.6 * costs[0]


Function = Callable[[Array], Any]
SCALES = 10.0 ** np.linspace(-3, 5, 12)
# Functions, their gradients, and number and size of the coordinates at the start. They take every branch of the search.
FUNCTIONS: dict[str, tuple[Function, Function, int, float]] = {
    "rosenbrock": (rosen, rosen_der, 10, 3.0),
    "badly scaled": (lambda x: SCALES @ x**2 / 2, lambda x: SCALES * x, 12, 1.0),
    "flat": (lambda x: 1e-6 * x @ x, lambda x: 2e-6 * x, 4, 1e3),
    "steep": (lambda x: np.exp(x).sum() + np.exp(-2 * x).sum(), lambda x: np.exp(x) - 2 * np.exp(-2 * x), 3, 20.0),
    "not convex": (lambda x: (x**4 - 3 * x**2 + x).sum(), lambda x: 4 * x**3 - 6 * x + 1, 8, 50.0),
    "waves": (lambda x: (np.sin(5 * x) + x**2 / 10).sum(), lambda x: 5 * np.cos(5 * x) + x / 5, 6, 10.0),
    "growing slowly": (lambda x: np.log1p(x @ x), lambda x: 2 * x / (1 + x @ x), 4, 100.0),
    "not smooth": (lambda x: (np.abs(x) ** 1.5).sum(), lambda x: 1.5 * np.sign(x) * np.abs(x) ** 0.5, 5, 10.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_iterations_on_functions_match_scipy(name: str, seed: int) -> None:
    """Costs of the first iterations, and the number of evaluations."""
    function, gradient, size, scale = FUNCTIONS[name]
    start, iterations = np.random.default_rng(seed).normal(size=size) * scale, 15
    expected: list[float] = []
    result = minimize(
        function,
        start,
        jac=gradient,
        method="L-BFGS-B",
        options={"maxiter": iterations},
        callback=lambda intermediate_result: expected.append(float(intermediate_result.fun)),
    )
    lbfgs = Lbfgs(start, OPTIMIZERS["l-bfgs"].settings)
    costs: list[float] = []
    evaluations = 0
    while len(costs) < iterations and (action := lbfgs.advance()) is not LbfgsAction.STOP:
        if action is LbfgsAction.EVALUATE:
            evaluations += 1
            lbfgs.set_evaluation(float(function(lbfgs.x)), gradient(lbfgs.x))
        else:
            costs.append(float(function(lbfgs.x)))
    assert costs == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert evaluations == result.nfev


@pytest.mark.parametrize(("setting", "value"), [("gtol", 0.01), ("ftol", 1e-3)])
def test_training_stops_on_convergence(setting: str, value: float) -> None:
    trainer, costs = train(10_000, optimizer_settings={setting: value})
    assert trainer.position.stop_reason == "converged"
    assert len(costs) < 200
    assert trainer.position.epoch == len(costs)
    gradient = cost_and_gradient(np.asarray(trainer.network.parameters))[1]
    if setting == "gtol":
        assert np.abs(gradient).max() <= value
