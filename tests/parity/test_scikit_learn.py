"""The same start and the same batches: scikit-learn's MLP has our cost history, to 1e-6."""

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

EPOCHS, BATCH, RATE = 20, 64, 0.005
# scikit-learn adds ε to √v, the paper's algorithm and PyTorch add it to √v̂; this is too small to tell.
EPSILON = 1e-16
HIDDEN: dict[str, ActivationName] = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}


def fit(mlp: Any, x: Any, y: Any, alpha: float = 0.0) -> Any:
    """scikit-learn's start, by an epoch with the learning rate 0, and a copy of it that is trained from there."""
    start = mlp.set_params(
        learning_rate_init=1e-300, max_iter=1, batch_size=BATCH, shuffle=False, alpha=alpha, random_state=3, tol=0.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start.fit(x, y)
        trained = copy.deepcopy(start).set_params(learning_rate_init=RATE, max_iter=EPOCHS, warm_start=True)
        trained.loss_curve_ = []
        trained.fit(x, y)
    return start, trained


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
def test_cost_history(
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
    start, theirs = fit(task(hidden_layer_sizes=(16, 12), activation=activation, solver=solver, **settings), x, y)

    hidden = HIDDEN[activation]
    outputs = start.coefs_[-1].shape[1]
    layers = (Layer(16, hidden), Layer(12, hidden), Layer(outputs, output))
    network = Network(Architecture(x.shape[1], layers, cost, dtype="float64"))
    for (w, b), coefficients, intercepts in zip(network.layers, start.coefs_, start.intercepts_, strict=True):
        w[:], b[:] = coefficients.T, intercepts
    targets = np.eye(outputs)[y] if output == "softmax" else y.reshape(-1, 1).astype(float)
    spec = TrainingSpec(
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        optimizer=optimizer,
        optimizer_settings={"epsilon": EPSILON} if optimizer == "adam" else {},
        shuffle=False,
    )
    ours = [item.cost for item in Trainer(network, OpenDataset(x, targets), spec).run() if item is not None]

    assert len(theirs.loss_curve_) == EPOCHS
    np.testing.assert_allclose(ours, theirs.loss_curve_[-EPOCHS:], rtol=0, atol=1e-6)
    assert ours[-1] < ours[0]


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_cost_history_with_l2(solver: str) -> None:
    """scikit-learn divides its α by the rows of a mini-batch, we divide λ by those of the training part."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x[:384] / np.abs(x).max(), y[:384] / y.max()
    alpha = 0.3
    mlp = MLPRegressor(hidden_layer_sizes=(16,), activation="tanh", solver=solver, momentum=0.0, epsilon=EPSILON)
    start, theirs = fit(mlp, x, y, alpha)
    network = Network(Architecture(x.shape[1], (Layer(16, "tanh"), Layer(1, "identity")), "quadratic", dtype="float64"))
    for (w, b), coefficients, intercepts in zip(network.layers, start.coefs_, start.intercepts_, strict=True):
        w[:], b[:] = coefficients.T, intercepts
    spec = TrainingSpec(
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        optimizer="adam" if solver == "adam" else "sgd",
        optimizer_settings={"epsilon": EPSILON} if solver == "adam" else {},
        l2=alpha * len(x) / BATCH,
        shuffle=False,
    )
    ours = [item.cost for item in Trainer(network, OpenDataset(x, y.reshape(-1, 1)), spec).run() if item is not None]
    np.testing.assert_allclose(ours, theirs.loss_curve_[-EPOCHS:], rtol=0, atol=1e-6)


def test_l_bfgs_finds_what_scikit_learn_finds() -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = x / np.abs(x).max(), y / y.max()
    mlp = MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", solver="lbfgs", alpha=0.5, tol=1e-5, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = copy.deepcopy(mlp).set_params(max_fun=1, random_state=3).fit(x, y)
        coefficients, intercepts = copy.deepcopy(start.coefs_), copy.deepcopy(start.intercepts_)
        theirs = start.set_params(warm_start=True, max_iter=1000, max_fun=15000).fit(x, y)
    network = Network(Architecture(x.shape[1], (Layer(6, "tanh"), Layer(1, "identity")), "quadratic", dtype="float64"))
    for (w, b), coefficient, intercept in zip(network.layers, coefficients, intercepts, strict=True):
        w[:], b[:] = coefficient.T, intercept
    spec = TrainingSpec(epochs=1000, batch_size=1, learning_rate=1.0, optimizer="l-bfgs", l2=0.5)
    ours = [item.cost for item in Trainer(network, OpenDataset(x, y.reshape(-1, 1)), spec).run() if item is not None]
    assert ours[-1] == pytest.approx(theirs.loss_, rel=1e-4)
