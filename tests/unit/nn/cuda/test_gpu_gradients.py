"""Gradients on a GPU match those of the CPU, which are checked by central differences."""

from typing import Any, get_args

import numpy as np
import pytest

from nabla.engine.literals import ActivationName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import TrainingSetup
from nabla.engine.nn.layout import COST
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import Examples
from tests.unit.nn.cuda.devices import DEVICES, cuda_backend
from tests.unit.nn.test_gradients import (
    ACCEPTED_PAIRS,
    ROWS,
    VARIANTS,
    Step,
    create_targets,
    gradient_only,
)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant_name", ["plain", "all"])
@pytest.mark.parametrize("hidden", get_args(ActivationName))
@pytest.mark.parametrize(("cost", "output"), ACCEPTED_PAIRS)
def test_gpu_gradient_matches_cpu(
    cost: Any, output: ActivationName, hidden: ActivationName, variant_name: str, device: str
) -> None:
    variant = VARIANTS[variant_name]
    layers = (
        Layer(5, hidden, dropout=variant.dropout, batch_norm=variant.batch_norm),
        Layer(4, "tanh", dropout=variant.dropout),
        Layer(3, output, batch_norm=variant.batch_norm),
    )
    dropout = variant.dropout / 2
    architecture = Architecture(4, layers, cost, "standard_normal", seed=11, dtype="float64", input_dropout=dropout)
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(ROWS, 4)), create_targets(cost)
    examples = Examples(x, y, generator.uniform(0, 2, ROWS) if variant.weighted else np.zeros(0))
    expected = Step(Network(architecture), examples, variant).cost_and_gradient()

    order = np.arange(ROWS)
    optimization = gradient_only(variant)
    backend = cuda_backend(device)(
        TrainingSetup(Network(architecture), architecture.layout(), optimization, ROWS, (examples, order), None)
    )
    backend.begin_epoch(order, optimization)
    backend.train(0, ROWS)
    assert backend.read_metric_sums()[COST] / ROWS == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(backend.gradient(), expected[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("first", "last", "error_scale"), [(0, 2048, 1e-3), (2048, 2049, 100.0)])
def test_half_precision_neither_underflows_nor_overflows_deltas(
    first: int, last: int, error_scale: float, device: str
) -> None:
    """With 2,048 rows, deltas of small errors are almost too small for float16; those of a single row are large."""
    rows, batch_size = 2049, 2048
    generator = np.random.default_rng(5)
    # float16 represents these inputs and weights exactly, so that only the backward pass is rounded.
    x = (generator.integers(-8, 9, (rows, 4)) / 8).astype(np.float32)
    architecture = Architecture(4, (Layer(2, "identity"),), "quadratic")

    def create_network() -> Network:
        network = Network(architecture)
        network.parameters[:] = np.arange(network.parameters.size) / 8
        return network

    y = create_network().predict(x) + generator.normal(scale=error_scale, size=(rows, 2)).astype(np.float32)
    examples, order, optimization = Examples(x, y, np.zeros(0)), np.arange(rows), gradient_only(VARIANTS["plain"])

    def compute_gradient(**settings: Any) -> Any:
        setup = TrainingSetup(
            create_network(), architecture.layout(), optimization, batch_size, (examples, order), None
        )
        backend = cuda_backend(device, **settings)(setup)
        backend.begin_epoch(order, optimization)
        backend.train(first, last)
        return backend.gradient()

    exact, rounded = compute_gradient(), compute_gradient(precision="half")
    assert 0 < np.linalg.norm(rounded - exact) < 2e-3 * np.linalg.norm(exact)
