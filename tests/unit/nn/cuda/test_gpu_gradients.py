"""A GPU finds the gradients of the CPU, which are checked by differences: every activation, cost and extra."""

from typing import Any, get_args

import numpy as np
import pytest

from nabla.engine.literals import ActivationName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import Setup
from nabla.engine.nn.compiled_layout import COST
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import Examples
from tests.unit.nn.cuda.devices import DEVICES, stepper_on
from tests.unit.nn.test_gradients import ACCEPTED, ROWS, VARIANTS, cost_and_gradient, standing_still, targets_for


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", ["plain", "everything"])
@pytest.mark.parametrize("hidden", get_args(ActivationName))
@pytest.mark.parametrize(("cost", "output"), ACCEPTED)
def test_gradient(cost: Any, output: ActivationName, hidden: ActivationName, variant: str, device: str) -> None:
    chosen = VARIANTS[variant]
    layers = (
        Layer(5, hidden, dropout=chosen.dropout, batch_norm=chosen.batch_norm),
        Layer(4, "tanh", dropout=chosen.dropout),
        Layer(3, output, batch_norm=chosen.batch_norm),
    )
    dropout = chosen.dropout / 2
    architecture = Architecture(4, layers, cost, "standard_normal", seed=11, dtype="float64", input_dropout=dropout)
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(ROWS, 4)), targets_for(cost)
    examples = Examples(x, y, generator.uniform(0, 2, ROWS) if chosen.weighted else np.zeros(0))
    expected = cost_and_gradient(Network(architecture), examples, chosen)

    order = np.arange(ROWS)
    optimization = standing_still(chosen)
    stepper = stepper_on(device)(
        Setup(Network(architecture), architecture.plan(), optimization, ROWS, (examples, order), None)
    )
    stepper.begin_epoch(order, optimization)
    stepper.train(0, ROWS)
    assert stepper.read_totals()[COST] / ROWS == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(stepper.gradient(), expected[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("first", "last", "errors"), [(0, 2048, 1e-3), (2048, 2049, 100.0)])
def test_deltas_survive_half_precision(first: int, last: int, errors: float, device: str) -> None:
    """Of 2,048 rows, each has a share of the gradient that 16 bits could hardly hold; a single one has all of it."""
    rows, batch = 2049, 2048
    generator = np.random.default_rng(5)
    # Inputs and weights that 16 bits hold as they are: only the way back is rounded.
    x = (generator.integers(-8, 9, (rows, 4)) / 8).astype(np.float32)
    architecture = Architecture(4, (Layer(2, "identity"),), "quadratic")

    def network() -> Network:
        made = Network(architecture)
        made.parameters[:] = np.arange(made.parameters.size) / 8
        return made

    y = network().predict(x) + generator.normal(scale=errors, size=(rows, 2)).astype(np.float32)
    examples, order, optimization = Examples(x, y, np.zeros(0)), np.arange(rows), standing_still(VARIANTS["plain"])

    def gradient(**settings: Any) -> Any:
        make = stepper_on(device, **settings)
        stepper = make(Setup(network(), architecture.plan(), optimization, batch, (examples, order), None))
        stepper.begin_epoch(order, optimization)
        stepper.train(first, last)
        return stepper.gradient()

    exact, rounded = gradient(), gradient(precision="half")
    assert 0 < np.linalg.norm(rounded - exact) < 2e-3 * np.linalg.norm(exact)
