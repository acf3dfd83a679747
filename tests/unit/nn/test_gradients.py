"""Gradient check by central differences: every activation, hidden and at the output, with every cost it goes with.

Each as it is, with batch normalization, with a fixed dropout mask, with row weights, with penalties, and with all of
them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ActivationName, CostName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.compiled_layout import COST
from nabla.engine.nn.jit import code_of
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS, fresh_memory
from nabla.engine.nn.training_step import Examples, Optimization, train_steps

ROWS = 7
Array = npt.NDArray[np.float64]
PAIRS = [(cost, output) for cost in COSTS for output in ACTIVATIONS]
ACCEPTED = [(cost, output) for cost, output in PAIRS if output in COSTS[cost].outputs]


@dataclass(frozen=True)
class Variant:
    batch_norm: bool = False
    dropout: float = 0.0
    weighted: bool = False
    l1: float = 0.0
    l2: float = 0.0


VARIANTS = {
    "plain": Variant(),
    "batch_norm": Variant(batch_norm=True),
    "dropout": Variant(dropout=0.4),
    "weighted": Variant(weighted=True),
    "penalties": Variant(l1=0.03, l2=0.2),
    "everything": Variant(batch_norm=True, dropout=0.4, weighted=True, l1=0.03, l2=0.2),
}


def standing_still(variant: Variant) -> Optimization:
    """No step is made, and the mask is that of the first step each time."""
    return Optimization(
        rule=code_of("l-bfgs", OPTIMIZERS),
        settings=np.zeros(0),
        moments=np.zeros((0, 0)),
        memory=fresh_memory(),
        rates=np.zeros(1),
        l1=variant.l1,
        l2=variant.l2,
        clip_value=np.inf,
        clip_norm=np.inf,
        max_norm=np.inf,
        seed=6,
    )


def targets_for(cost: str) -> Array:
    generator = np.random.default_rng(3)
    if cost == "categorical_cross_entropy":
        return generator.dirichlet(np.ones(3), ROWS)
    return generator.uniform(0, 1, (ROWS, 3))


def cost_and_gradient(network: Network, examples: Examples, variant: Variant, rows: int = ROWS) -> tuple[float, Array]:
    """What training sees in a step on the first `rows` rows."""
    data = OpenDataset(examples.x, examples.y)  # as they are in a run
    gradient = np.zeros_like(network.parameters)
    buffers = network.architecture.buffers(rows)
    train_steps(
        network.parameters,
        network.statistics,
        gradient,
        standing_still(variant),
        network.architecture.plan(),
        buffers,
        Examples(data.x, data.y, examples.weights),
        np.arange(rows),
        0,
        rows,
    )
    return float(buffers.totals[COST]) / rows, np.asarray(gradient, np.float64)


def central_differences(cost: Callable[[], float], parameters: npt.NDArray[np.floating], step: float) -> Array:
    found = np.empty(parameters.size)
    for i in range(parameters.size):
        kept = parameters[i]
        parameters[i] = kept + step
        above = cost()
        parameters[i] = kept - step
        below = cost()
        parameters[i] = kept
        found[i] = (above - below) / (2 * step)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("hidden", get_args(ActivationName))
@pytest.mark.parametrize(("cost", "output"), ACCEPTED)
def test_gradient(cost: CostName, output: ActivationName, hidden: ActivationName, variant: str) -> None:
    chosen = VARIANTS[variant]
    layers = (
        Layer(5, hidden, dropout=chosen.dropout, batch_norm=chosen.batch_norm),
        Layer(4, "tanh", dropout=chosen.dropout),
        Layer(3, output, batch_norm=chosen.batch_norm),
    )
    architecture = Architecture(
        4, layers, cost, "standard_normal", seed=11, dtype="float64", input_dropout=chosen.dropout / 2
    )
    network = Network(architecture)
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(ROWS, 4)), targets_for(cost)
    weights = generator.uniform(0, 2, ROWS) if chosen.weighted else np.zeros(0)
    examples = Examples(x, y, weights)

    _, found = cost_and_gradient(network, examples, chosen)
    numeric = central_differences(
        lambda: cost_and_gradient(network, examples, chosen)[0], network.parameters, step=1e-5
    )
    error = np.linalg.norm(found - numeric) / (np.linalg.norm(found) + np.linalg.norm(numeric))
    assert error < 1e-6
    assert np.linalg.norm(found) > 1e-4  # the check would also pass where there is nothing to find


@pytest.mark.parametrize(("cost", "output"), [pair for pair in PAIRS if pair[1] not in COSTS[pair[0]].outputs])
def test_an_output_that_does_not_go_with_the_cost_is_refused(cost: CostName, output: ActivationName) -> None:
    with pytest.raises(InvalidInput, match=" or ".join(COSTS[cost].outputs)):
        Architecture(4, (Layer(5, "tanh"), Layer(3, output)), cost)


def test_the_mean_is_over_the_rows_of_the_mini_batch() -> None:
    """The gradient of a mini-batch of equal rows is that of one row."""
    architecture = Architecture(4, (Layer(3, "sigmoid"),), "quadratic", "standard_normal", dtype="float64")
    network = Network(architecture)
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), targets_for("quadratic")
    x[:], y[:] = x[0], y[0]
    examples = Examples(x, y, np.zeros(0))
    _, one = cost_and_gradient(network, examples, Variant(), rows=1)
    _, all_of_them = cost_and_gradient(network, examples, Variant())
    np.testing.assert_allclose(all_of_them, one, rtol=1e-13)


def test_a_row_of_weight_two_counts_like_two_rows() -> None:
    architecture = Architecture(4, (Layer(3, "sigmoid"),), "quadratic", "standard_normal", dtype="float64")
    network = Network(architecture)
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), targets_for("quadratic")
    weights = np.ones(ROWS)
    weights[2], weights[4] = 2.0, 0.0
    weighted = cost_and_gradient(network, Examples(x, y, weights), Variant())
    x[4], y[4] = x[2], y[2]
    twice = cost_and_gradient(network, Examples(x, y, np.zeros(0)), Variant())
    assert weighted[0] == pytest.approx(twice[0], rel=1e-13)
    np.testing.assert_allclose(weighted[1], twice[1], rtol=1e-12)
