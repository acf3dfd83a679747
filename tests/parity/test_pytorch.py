"""The same start, the same data: 50 steps end where PyTorch's end, to 1e-9 in float64."""

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

# PyTorch keeps nadam's product of momenta in its default type.
torch.set_default_dtype(torch.float64)

STEPS = 50
ROWS, BATCH = 20, 8
Array = npt.NDArray[np.float64]

ACTIVATION_IN_TORCH = {
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

# Of the sum over all outputs, from the last layer's weighted sums.
COST_IN_TORCH = {
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
OUTPUT_OF: dict[str, ActivationName] = {
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


def optimizer_in_torch(name: OptimizerName, parameters: list[Any], rate: float) -> Any:
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


def data(cost: str) -> tuple[Array, Array]:
    generator = np.random.default_rng(4)
    x = generator.normal(size=(ROWS, 4))
    if cost == "categorical_cross_entropy":
        return x, np.eye(3)[generator.integers(0, 3, ROWS)]
    return x, generator.uniform(0.1, 0.9, (ROWS, 3))


def trained(network: Network, cost: CostName, optimizer: OptimizerName, rate: float) -> Array:
    """Our parameters after the steps, in batches that include a short last one."""
    spec = TrainingSpec(
        epochs=-(-STEPS // -(-ROWS // BATCH)),
        batch_size=BATCH,
        learning_rate=rate,
        optimizer=optimizer,
        optimizer_settings=SETTINGS[optimizer],
        shuffle=False,
    )
    for _ in Trainer(network, OpenDataset(*data(cost)), spec).run():
        pass
    return np.asarray(network.parameters, np.float64)


def trained_in_torch(start: Network, cost: str, optimizer: OptimizerName, rate: float) -> Array:
    parameters = [torch.tensor(array.copy(), requires_grad=True) for layer in start.layers for array in layer]
    activations = [ACTIVATION_IN_TORCH[layer.activation] for layer in start.architecture.layers]
    if cost in OUTPUT_OF:
        activations[-1] = ACTIVATION_IN_TORCH["identity"]
    x, y = (torch.tensor(array) for array in data(cost))
    stepper = optimizer_in_torch(optimizer, parameters, rate)
    for _ in range(-(-STEPS // -(-ROWS // BATCH))):
        for first in range(0, ROWS, BATCH):
            a = x[first : first + BATCH]
            for layer, activation in enumerate(activations):
                a = activation(a @ parameters[2 * layer].T + parameters[2 * layer + 1])
            loss = COST_IN_TORCH[cost](a, y[first : first + BATCH]) / len(a)
            stepper.zero_grad()
            loss.backward()
            stepper.step()
    return np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in parameters])


def network(hidden: ActivationName, cost: CostName) -> Network:
    layers = (Layer(6, hidden), Layer(5, "tanh"), Layer(3, OUTPUT_OF.get(cost, "identity")))
    smoothing = 0.1 if cost == "categorical_cross_entropy" else 0.0
    return Network(
        Architecture(
            4, layers, cost, "glorot_normal", seed=2, dtype="float64", label_smoothing=smoothing, huber_delta=0.7
        )
    )


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])  # see test_scipy
def test_optimizers(optimizer: OptimizerName) -> None:
    check("tanh", "quadratic", optimizer)


@pytest.mark.parametrize("cost", COST_IN_TORCH)
def test_costs(cost: CostName) -> None:
    check("sigmoid", cost, "adam")


@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_activations(hidden: ActivationName) -> None:
    check(hidden, "quadratic", "sgd")


def check(hidden: ActivationName, cost: CostName, optimizer: OptimizerName) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    expected = trained_in_torch(network(hidden, cost), cost, optimizer, rate)
    start = network(hidden, cost).parameters
    found = trained(network(hidden, cost), cost, optimizer, rate)
    assert np.abs(expected - start).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
