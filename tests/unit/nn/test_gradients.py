"""Gradient checks by central differences.

Every activation, in hidden layers and at the output, is combined with every cost that accepts it: without extras, with
batch normalization, with a fixed dropout mask, with sample weights, with penalties, and with all of these.
"""

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
from nabla.engine.nn.backend import CpuBackend, TrainingSetup
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import init_optimizer_state
from nabla.engine.nn.training_step import Examples, Optimization

ROWS = 7
Array = npt.NDArray[np.float64]
PAIRS = [(cost, output) for cost in COSTS for output in ACTIVATIONS]
ACCEPTED_PAIRS = [(cost, output) for cost, output in PAIRS if output in COSTS[cost].outputs]


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
    "all": Variant(batch_norm=True, dropout=0.4, weighted=True, l1=0.03, l2=0.2),
}


def gradient_only(variant: Variant) -> Optimization:
    """Return settings of a step without an update, with the dropout mask of the first step."""
    return Optimization(
        rule="l-bfgs",
        settings=np.zeros(0),
        moments=np.zeros((0, 0)),
        optimizer_state=init_optimizer_state(),
        rates=np.zeros(1),
        l1=variant.l1,
        l2=variant.l2,
        clip_value=np.inf,
        clip_norm=np.inf,
        max_norm=np.inf,
        seed=6,
    )


def create_targets(cost: str) -> Array:
    generator = np.random.default_rng(3)
    if cost == "categorical_cross_entropy":
        return generator.dirichlet(np.ones(3), ROWS)
    return generator.uniform(0, 1, (ROWS, 3))


class Step:
    """A training step without an update, on all rows or the first `rows`."""

    def __init__(self, network: Network, examples: Examples, variant: Variant, rows: int = ROWS) -> None:
        data = OpenDataset(examples.x, examples.y)  # converts the arrays as a training run does
        self._rows, self._optimization = rows, gradient_only(variant)
        order, layout = np.arange(rows), network.architecture.layout()
        training = Examples(data.x, data.y, examples.weights), order
        self._backend = CpuBackend(TrainingSetup(network, layout, self._optimization, rows, training, validation=None))

    def cost_and_gradient(self) -> tuple[float, Array]:
        """Return cost and gradient with the current parameters and the dropout mask of the first step."""
        self._optimization.optimizer_state[:] = init_optimizer_state()
        self._backend.write_metric_sums(0.0)
        self._backend.train(0, self._rows)
        return self._backend.running_cost() / self._rows, np.asarray(self._backend.gradient(), np.float64)


def central_differences(cost: Callable[[], float], parameters: npt.NDArray[np.floating], step: float) -> Array:
    gradient = np.empty(parameters.size)
    for i in range(parameters.size):
        original = parameters[i]
        parameters[i] = original + step
        above = cost()
        parameters[i] = original - step
        below = cost()
        parameters[i] = original
        gradient[i] = (above - below) / (2 * step)
    return gradient


@pytest.mark.parametrize("variant_name", VARIANTS)
@pytest.mark.parametrize("hidden", get_args(ActivationName))
@pytest.mark.parametrize(("cost", "output"), ACCEPTED_PAIRS)
def test_gradient_matches_central_differences(
    cost: CostName, output: ActivationName, hidden: ActivationName, variant_name: str
) -> None:
    variant = VARIANTS[variant_name]
    layers = (
        Layer(5, hidden, dropout=variant.dropout, batch_norm=variant.batch_norm),
        Layer(4, "tanh", dropout=variant.dropout),
        Layer(3, output, batch_norm=variant.batch_norm),
    )
    architecture = Architecture(
        4, layers, cost, "standard_normal", seed=11, dtype="float64", input_dropout=variant.dropout / 2
    )
    network = Network(architecture)
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(ROWS, 4)), create_targets(cost)
    weights = generator.uniform(0, 2, ROWS) if variant.weighted else np.zeros(0)
    examples = Examples(x, y, weights)

    step = Step(network, examples, variant)
    _, gradient = step.cost_and_gradient()
    gradient = gradient.copy()
    numeric = central_differences(lambda: step.cost_and_gradient()[0], network.parameters, step=1e-5)
    error = np.linalg.norm(gradient - numeric) / (np.linalg.norm(gradient) + np.linalg.norm(numeric))
    assert error < 1e-6
    assert np.linalg.norm(gradient) > 1e-4  # the error of vanishing gradients says nothing


@pytest.mark.parametrize(("cost", "output"), [pair for pair in PAIRS if pair[1] not in COSTS[pair[0]].outputs])
def test_output_activation_that_the_cost_does_not_accept_is_rejected(cost: CostName, output: ActivationName) -> None:
    with pytest.raises(InvalidInput, match=" or ".join(COSTS[cost].outputs)):
        Architecture(4, (Layer(5, "tanh"), Layer(3, output)), cost)


def test_gradient_of_equal_rows_is_that_of_one_row() -> None:
    architecture = Architecture(4, (Layer(3, "sigmoid"),), "quadratic", "standard_normal", dtype="float64")
    network = Network(architecture)
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), create_targets("quadratic")
    x[:], y[:] = x[0], y[0]
    examples = Examples(x, y, np.zeros(0))
    _, expected = Step(network, examples, Variant(), rows=1).cost_and_gradient()
    _, gradient = Step(network, examples, Variant()).cost_and_gradient()
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)


def test_sample_weight_of_two_equals_two_rows() -> None:
    architecture = Architecture(4, (Layer(3, "sigmoid"),), "quadratic", "standard_normal", dtype="float64")
    network = Network(architecture)
    x, y = np.random.default_rng(5).normal(size=(ROWS, 4)), create_targets("quadratic")
    weights = np.ones(ROWS)
    weights[2], weights[4] = 2.0, 0.0
    weighted = Step(network, Examples(x, y, weights), Variant()).cost_and_gradient()
    x[4], y[4] = x[2], y[2]
    duplicated = Step(network, Examples(x, y, np.zeros(0)), Variant()).cost_and_gradient()
    assert weighted[0] == pytest.approx(duplicated[0], rel=1e-13)
    np.testing.assert_allclose(weighted[1], duplicated[1], rtol=1e-12)
