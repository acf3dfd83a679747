"""Parity with scikit-learn: from the same parameters and mini-batches, cost histories agree to 1e-6."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import ActivationName, CostName, OptimizerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

EPOCHS, BATCH_SIZE, RATE = 20, 64, 0.005
# scikit-learn adds ε to √v; the paper and PyTorch add it to √v̂. With so small an ε the results do not differ.
EPSILON = 1e-16
HIDDEN_ACTIVATIONS: dict[str, ActivationName] = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}


def fit(mlp: Any, x: Any, y: Any, alpha: float = 0.0) -> Any:
    """Return an untrained MLP, initialized by an epoch with a learning rate of nearly 0, and a trained copy of it."""
    initial = mlp.set_params(
        learning_rate_init=1e-300,
        max_iter=1,
        batch_size=BATCH_SIZE,
        shuffle=False,
        alpha=alpha,
        random_state=3,
        tol=0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        initial.fit(x, y)
        trained = copy.deepcopy(initial).set_params(learning_rate_init=RATE, max_iter=EPOCHS, warm_start=True)
        trained.loss_curve_ = []
        trained.fit(x, y)
    return initial, trained


@pytest.mark.parametrize(
    ("solver", "settings", "optimizer"),
    [
        ("adam", {"epsilon": EPSILON}, "adam"),
        ("sgd", {"momentum": 0.9, "nesterovs_momentum": True}, "nesterov"),
        ("sgd", {"momentum": 0.0}, "sgd"),
    ],
)
@pytest.mark.parametrize(
    ("task", "activation", "output", "cost"),
    [
        (MLPClassifier, "relu", "softmax", "categorical_cross_entropy"),
        (MLPClassifier, "tanh", "sigmoid", "binary_cross_entropy"),
        (MLPRegressor, "logistic", "identity", "quadratic"),
    ],
)
def test_cost_history_matches_scikit_learn(
    task: Any,
    activation: str,
    output: ActivationName,
    cost: CostName,
    solver: str,
    settings: dict[str, Any],
    optimizer: OptimizerName,
) -> None:
    x, y = load_digits(return_X_y=True) if task is MLPClassifier else load_diabetes(return_X_y=True)
    x = x / np.abs(x).max()
    if cost == "binary_cross_entropy":
        y = (y > 4).astype(int)
    if task is MLPRegressor:
        y = y / y.max()
    initial, trained = fit(task(hidden_layer_sizes=(16, 12), activation=activation, solver=solver, **settings), x, y)

    hidden = HIDDEN_ACTIVATIONS[activation]
    outputs = initial.coefs_[-1].shape[1]
    layers = (Layer(16, hidden), Layer(12, hidden), Layer(outputs, output))
    network = Network(Architecture(x.shape[1], layers, cost, dtype="float64"))
    for (w, b), coefficients, intercepts in zip(network.layers, initial.coefs_, initial.intercepts_, strict=True):
        w[:], b[:] = coefficients.T, intercepts
    targets = np.eye(outputs)[y] if output == "softmax" else y.reshape(-1, 1).astype(float)
    spec = TrainingSpec(
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=RATE,
        optimizer=optimizer,
        optimizer_settings={"epsilon": EPSILON} if optimizer == "adam" else {},
        shuffle=False,
    )
    costs = [epoch.cost for epoch in Trainer(network, OpenDataset(x, targets), spec).run() if epoch is not None]

    assert len(trained.loss_curve_) == EPOCHS
    np.testing.assert_allclose(costs, trained.loss_curve_[-EPOCHS:], rtol=0, atol=1e-6)
    assert costs[-1] < costs[0]


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_cost_history_with_l2_matches_scikit_learn(solver: str) -> None:
    """scikit-learn divides α by the rows of a mini-batch; here λ is divided by all training rows."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x[:384] / np.abs(x).max(), y[:384] / y.max()
    alpha = 0.3
    mlp = MLPRegressor(hidden_layer_sizes=(16,), activation="tanh", solver=solver, momentum=0.0, epsilon=EPSILON)
    initial, trained = fit(mlp, x, y, alpha)
    network = Network(Architecture(x.shape[1], (Layer(16, "tanh"), Layer(1, "identity")), "quadratic", dtype="float64"))
    for (w, b), coefficients, intercepts in zip(network.layers, initial.coefs_, initial.intercepts_, strict=True):
        w[:], b[:] = coefficients.T, intercepts
    spec = TrainingSpec(
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=RATE,
        optimizer="adam" if solver == "adam" else "sgd",
        optimizer_settings={"epsilon": EPSILON} if solver == "adam" else {},
        l2=alpha * len(x) / BATCH_SIZE,
        shuffle=False,
    )
    dataset = OpenDataset(x, y.reshape(-1, 1))
    costs = [epoch.cost for epoch in Trainer(network, dataset, spec).run() if epoch is not None]
    np.testing.assert_allclose(costs, trained.loss_curve_[-EPOCHS:], rtol=0, atol=1e-6)


def test_l_bfgs_converges_to_the_cost_of_scikit_learn() -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = x / np.abs(x).max(), y / y.max()
    mlp = MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", solver="lbfgs", alpha=0.5, tol=1e-5, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp = copy.deepcopy(mlp).set_params(max_fun=1, random_state=3).fit(x, y)
        coefficients, intercepts = copy.deepcopy(mlp.coefs_), copy.deepcopy(mlp.intercepts_)
        trained = mlp.set_params(warm_start=True, max_iter=1000, max_fun=15000).fit(x, y)
    network = Network(Architecture(x.shape[1], (Layer(6, "tanh"), Layer(1, "identity")), "quadratic", dtype="float64"))
    for (w, b), coefficient, intercept in zip(network.layers, coefficients, intercepts, strict=True):
        w[:], b[:] = coefficient.T, intercept
    spec = TrainingSpec(epochs=1000, batch_size=1, learning_rate=1.0, optimizer="l-bfgs", l2=0.5)
    dataset = OpenDataset(x, y.reshape(-1, 1))
    costs = [epoch.cost for epoch in Trainer(network, dataset, spec).run() if epoch is not None]
    assert costs[-1] == pytest.approx(trained.loss_, rel=1e-4)
