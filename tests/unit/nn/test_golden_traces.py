"""Exact traces of the small network in the article series "Deep Learning from Scratch to GPU"."""

import math

import numpy as np
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import DtypeName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

X = [0.3, 0.9]
EPOCHS = (1, 21, 221, 2221)


def create_network(dtype: DtypeName) -> Network:
    """Return the network of the series, which writes z = Wx − b: its biases have the opposite sign here."""
    network = Network(Architecture(2, (Layer(4, "tanh"), Layer(1, "sigmoid")), "quadratic", dtype=dtype))
    (w1, b1), (w2, b2) = network.layers
    w1[:] = [[0.3, 0.6], [0.1, 2.0], [0.9, 3.7], [0.0, 1.0]]
    b1[:] = [-0.7, -0.2, -1.1, -2.0]
    w2[:] = [[0.75, 0.15, 0.22, 0.33]]
    b2[:] = [-0.3]
    return network


def test_prediction_matches_the_series() -> None:
    assert round(float(create_network("float64").predict([X])[0, 0]), 2) == 0.44


@pytest.mark.parametrize(
    ("dtype", "costs", "tolerance"),
    [
        ("float32", (0.0020987028, 0.0011995522, 3.95668e-6, 1.8e-13), 2e-5),
        ("float64", (0.0020987033, 0.0011995524, 3.95672e-6, 1.4e-30), 2e-6),
    ],
)
def test_costs_match_exact_trace(dtype: DtypeName, costs: tuple[float, ...], tolerance: float) -> None:
    """Compare costs before the update of some epochs, on two equal rows. The last cost is nothing but rounding."""
    x, y = np.array([X, X], dtype), np.full((2, 1), 0.5, dtype)
    spec = TrainingSpec(epochs=EPOCHS[-1], batch_size=2, learning_rate=0.05)
    history = [epoch for epoch in Trainer(create_network(dtype), OpenDataset(x, y), spec).run() if epoch is not None]
    actual = [history[epoch - 1].cost for epoch in EPOCHS]
    assert actual[:3] == pytest.approx(costs[:3], rel=tolerance)
    assert actual[3] < 10 * costs[3]


def test_trace_printed_in_the_series_has_the_wrong_sign_of_bias_updates() -> None:
    """Reproduce the trace in plain NumPy.

    With z = Wx − b the derivative ∂C/∂b is −δ. The code of the series uses +δ and prints 1.76635587e-3 at epoch 21,
    where its equations give 1.1995524e-3.
    """
    network = create_network("float64")
    (w1, b1), (w2, b2) = network.layers
    x = np.array(X)
    costs = []
    for _ in range(221):
        a1 = np.tanh(w1 @ x + b1)
        a2 = 1 / (1 + math.exp(-(w2 @ a1 + b2)[0]))
        costs.append(0.5 * (a2 - 0.5) ** 2)
        delta2 = (a2 - 0.5) * a2 * (1 - a2)
        delta1 = w2[0] * delta2 * (1 - a1**2)
        w2 -= 0.05 * delta2 * a1
        b2 += 0.05 * delta2
        w1 -= 0.05 * np.outer(delta1, x)
        b1 += 0.05 * delta1
    assert [costs[0], costs[20], costs[220]] == pytest.approx([0.00209870278, 0.00176635587, 3.04631e-4], rel=1e-5)
