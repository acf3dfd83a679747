"""Gradient check: every activation, hidden and at the output, with every cost it goes with, by central differences."""

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import InvalidInput
from engine.nn.activations import ACTIVATIONS, ActivationName
from engine.nn.backprop import COST, Optimization, evaluate_rows, train_steps
from engine.nn.costs import COSTS, CostName
from engine.nn.dispatch import code_of
from engine.nn.network import Architecture, Layer, Network
from engine.nn.optimizers import OPTIMIZERS, fresh_memory

ROWS = 7
Array = npt.NDArray[np.float64]
STANDING_STILL = Optimization(
    rule=code_of("sgd", OPTIMIZERS),
    settings=np.zeros(0),
    moments=np.zeros((0, 0)),
    memory=fresh_memory(),
    rates=np.zeros(1),
)
PAIRS = [(cost, output) for cost in COSTS for output in ACTIVATIONS]


def targets_for(cost: str) -> Array:
    generator = np.random.default_rng(3)
    if cost == "categorical_cross_entropy":
        return generator.dirichlet(np.ones(3), ROWS)
    return generator.uniform(0, 1, (ROWS, 3))


def gradient_of(network: Network, x: Array, y: Array) -> Array:
    """What backpropagation finds: a step with the learning rate 0 leaves the parameters and fills the gradient."""
    gradient = np.zeros_like(network.parameters)
    architecture = network.architecture
    train_steps(
        network.parameters,
        gradient,
        STANDING_STILL,
        architecture.plan(),
        architecture.buffers(ROWS),
        x,
        y,
        np.arange(ROWS),
        0,
        ROWS,
    )
    return np.asarray(gradient, np.float64)


def cost_of(network: Network, x: Array, y: Array) -> float:
    architecture = network.architecture
    buffers = architecture.buffers(ROWS)
    evaluate_rows(network.parameters, architecture.plan(), buffers, x, y, np.arange(ROWS), 0, ROWS)
    return float(buffers.totals[COST]) / ROWS


@pytest.mark.parametrize("hidden", get_args(ActivationName))
@pytest.mark.parametrize(("cost", "output"), PAIRS)
def test_gradient(cost: CostName, output: ActivationName, hidden: ActivationName) -> None:
    layers = (Layer(5, hidden), Layer(4, "tanh"), Layer(3, output))
    if output not in COSTS[cost].outputs:
        with pytest.raises(InvalidInput, match=" or ".join(COSTS[cost].outputs)):
            Architecture(4, layers, cost)
        return
    network = Network(Architecture(4, layers, cost, "standard_normal", seed=11, dtype="float64"))
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), targets_for(cost)

    found = gradient_of(network, x, y)

    step = 1e-5
    numeric = np.empty_like(found)
    for i in range(found.size):
        kept = network.parameters[i]
        network.parameters[i] = kept + step
        above = cost_of(network, x, y)
        network.parameters[i] = kept - step
        below = cost_of(network, x, y)
        network.parameters[i] = kept
        numeric[i] = (above - below) / (2 * step)
    error = np.linalg.norm(found - numeric) / (np.linalg.norm(found) + np.linalg.norm(numeric))
    assert error < 1e-6
    assert np.linalg.norm(found) > 1e-4  # the check would also pass where there is nothing to find


def test_the_mean_is_over_the_rows_of_the_mini_batch() -> None:
    """The gradient of a mini-batch of equal rows is that of one row."""
    architecture = Architecture(4, (Layer(3, "sigmoid"),), "quadratic", "standard_normal", dtype="float64")
    network = Network(architecture)
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), targets_for("quadratic")
    x[:], y[:] = x[0], y[0]
    one = np.zeros_like(network.parameters)
    train_steps(
        network.parameters,
        one,
        STANDING_STILL,
        architecture.plan(),
        architecture.buffers(1),
        x,
        y,
        np.arange(ROWS),
        0,
        1,
    )
    np.testing.assert_allclose(gradient_of(network, x, y), one, rtol=1e-13)
