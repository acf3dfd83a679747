"""Activations: published values, derivatives, and the limits of floating point."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from nabla.engine.nn.activations import (
    ACTIVATIONS,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh,
    tanh_derivative,
)


def test_sigmoid_derivative_matches_published_values() -> None:
    """The values are those of the article series "Deep Learning from Scratch to GPU"."""
    z = [0.1, 0.5, 0.9, math.pi / 2]
    derivatives = [sigmoid_derivative(sigmoid(value)) for value in z]
    assert [round(derivative, 2) for derivative in derivatives] == [0.25, 0.24, 0.21, 0.14]


@pytest.mark.parametrize(
    ("value", "derivative"),
    [(sigmoid, sigmoid_derivative), (tanh, tanh_derivative), (relu, relu_derivative)],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("z", [-3.0, -0.2, 0.3, 2.5])
def test_derivatives_match_central_differences(
    value: Callable[[float], float], derivative: Callable[[float], float], z: float
) -> None:
    step = 1e-6
    numeric = (value(z + step) - value(z - step)) / (2 * step)
    assert derivative(value(z)) == pytest.approx(numeric, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("z", [-1e38, -1000.0, 1000.0, 1e38])
def test_sigmoid_saturates_without_overflow(z: float) -> None:
    assert sigmoid(z) == (1.0 if z > 0 else 0.0)


def test_softmax_of_large_values_is_a_distribution() -> None:
    z = np.array([[1e30, 0.0, -1e30], [5.0, 5.0, 5.0]])
    ACTIVATIONS["softmax"].forward(z, np.zeros(3), z)
    expected = np.array([[1.0, 0.0, 0.0], [1 / 3] * 3])
    np.testing.assert_allclose(z, expected, rtol=1e-15, atol=1e-300)


def test_relu_propagates_nan() -> None:
    assert math.isnan(relu(math.nan))
