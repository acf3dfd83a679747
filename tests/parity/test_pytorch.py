"""Parity with PyTorch: from the same parameters and data, parameters agree to 1e-9 in float64 after 50 steps."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import ActivationName, CostName, OptimizerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

torch = pytest.importorskip("torch", reason="PyTorch is not installed; .ci/run installs it")

# PyTorch stores nadam's product of momenta in its default dtype.
torch.set_default_dtype(torch.float64)

STEPS = 50
ROWS, BATCH_SIZE = 20, 8
EPOCHS = math.ceil(STEPS / math.ceil(ROWS / BATCH_SIZE))
Array = npt.NDArray[np.float64]

TORCH_ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "selu": torch.selu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "softplus": torch.nn.functional.softplus,
    "sin": torch.sin,
    "softmax": lambda z: torch.softmax(z, dim=1),
}

# Sums over all outputs, computed from the weighted sums z of the last layer.
TORCH_COSTS = {
    "quadratic": lambda z, y: torch.nn.functional.mse_loss(z, y, reduction="sum") / 2,
    "mean_absolute": lambda z, y: torch.nn.functional.l1_loss(z, y, reduction="sum"),
    "huber": lambda z, y: torch.nn.functional.huber_loss(z, y, reduction="sum", delta=0.7),
    "poisson": lambda z, y: torch.nn.functional.poisson_nll_loss(
        torch.nn.functional.softplus(z), y, log_input=False, reduction="sum", eps=0
    ),
    "binary_cross_entropy": lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum"),
    "categorical_cross_entropy": lambda z, y: torch.nn.functional.cross_entropy(
        z, y, reduction="sum", label_smoothing=0.1
    ),
}
OUTPUT_ACTIVATIONS: dict[str, ActivationName] = {
    "poisson": "softplus",
    "binary_cross_entropy": "sigmoid",
    "categorical_cross_entropy": "softmax",
}

SETTINGS: dict[OptimizerName, dict[str, float]] = {
    "sgd": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8},
    "adagrad": {},
    "rmsprop": {"rho": 0.95},
    "adam": {"beta_1": 0.85},
    "adamw": {"weight_decay": 0.1},
    "nadam": {},
}


def create_torch_optimizer(name: OptimizerName, parameters: list[Any], rate: float) -> Any:
    settings = {**OPTIMIZERS[name].settings, **SETTINGS[name]}
    adam = {"lr": rate, "betas": (settings.get("beta_1"), settings.get("beta_2")), "eps": settings.get("epsilon")}
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, rate)
        case "momentum" | "nesterov":
            return torch.optim.SGD(parameters, rate, momentum=settings["momentum"], nesterov=name == "nesterov")
        case "adagrad":
            return torch.optim.Adagrad(parameters, rate, eps=settings["epsilon"])
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, alpha=settings["rho"], eps=settings["epsilon"])
        case "adam":
            return torch.optim.Adam(parameters, **adam)
        case "adamw":
            return torch.optim.AdamW(parameters, **adam, weight_decay=settings["weight_decay"])
    return torch.optim.NAdam(parameters, **adam, momentum_decay=settings["momentum_decay"])


def create_data(cost: str) -> tuple[Array, Array]:
    generator = np.random.default_rng(4)
    x = generator.normal(size=(ROWS, 4))
    if cost == "categorical_cross_entropy":
        return x, np.eye(3)[generator.integers(0, 3, ROWS)]
    return x, generator.uniform(0.1, 0.9, (ROWS, 3))


def train(network: Network, cost: CostName, optimizer: OptimizerName, rate: float) -> Array:
    """Return the parameters after at least STEPS steps; an epoch's last mini-batch is shorter."""
    spec = TrainingSpec(
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        optimizer=optimizer,
        optimizer_settings=SETTINGS[optimizer],
        shuffle=False,
    )
    for _ in Trainer(network, OpenDataset(*create_data(cost)), spec).run():
        pass
    return np.asarray(network.parameters, np.float64)


def train_in_torch(network: Network, cost: str, optimizer: OptimizerName, rate: float) -> Array:
    parameters = [torch.tensor(array.copy(), requires_grad=True) for layer in network.layers for array in layer]
    activations = [TORCH_ACTIVATIONS[layer.activation] for layer in network.architecture.layers]
    if cost in OUTPUT_ACTIVATIONS:
        activations[-1] = TORCH_ACTIVATIONS["identity"]
    x, y = (torch.tensor(array) for array in create_data(cost))
    torch_optimizer = create_torch_optimizer(optimizer, parameters, rate)
    for _ in range(EPOCHS):
        for first in range(0, ROWS, BATCH_SIZE):
            a = x[first : first + BATCH_SIZE]
            for layer, activation in enumerate(activations):
                a = activation(a @ parameters[2 * layer].T + parameters[2 * layer + 1])
            loss = TORCH_COSTS[cost](a, y[first : first + BATCH_SIZE]) / len(a)
            torch_optimizer.zero_grad()
            loss.backward()
            torch_optimizer.step()
    return np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in parameters])


def create_network(hidden: ActivationName, cost: CostName) -> Network:
    layers = (Layer(6, hidden), Layer(5, "tanh"), Layer(3, OUTPUT_ACTIVATIONS.get(cost, "identity")))
    smoothing = 0.1 if cost == "categorical_cross_entropy" else 0.0
    return Network(
        Architecture(
            4, layers, cost, "glorot_normal", seed=2, dtype="float64", label_smoothing=smoothing, huber_delta=0.7
        )
    )


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])  # see test_scipy.py
def test_optimizers_match_pytorch(optimizer: OptimizerName) -> None:
    check_parity("tanh", "quadratic", optimizer)


@pytest.mark.parametrize("cost", TORCH_COSTS)
def test_costs_match_pytorch(cost: CostName) -> None:
    check_parity("sigmoid", cost, "adam")


@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_activations_match_pytorch(hidden: ActivationName) -> None:
    check_parity(hidden, "quadratic", "sgd")


def check_parity(hidden: ActivationName, cost: CostName, optimizer: OptimizerName) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    initial = create_network(hidden, cost).parameters
    expected = train_in_torch(create_network(hidden, cost), cost, optimizer, rate)
    parameters = train(create_network(hidden, cost), cost, optimizer, rate)
    assert np.abs(expected - initial).max() > 0.01
    np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-9)
