"""Activations against the figures that the article prints, and at the edges of floating point."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from nabla.engine.nn.activations import ACTIVATIONS, relu, relu_slope, sigmoid, sigmoid_slope, tanh, tanh_slope


def test_slope_of_sigmoid_as_the_article_prints_it() -> None:
    z = [0.1, 0.5, 0.9, math.pi / 2]
    slopes = [sigmoid_slope(sigmoid(value)) for value in z]
    assert [round(slope, 2) for slope in slopes] == [0.25, 0.24, 0.21, 0.14]


@pytest.mark.parametrize(
    ("value", "slope"), [(sigmoid, sigmoid_slope), (tanh, tanh_slope), (relu, relu_slope)], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("z", [-3.0, -0.2, 0.3, 2.5])
def test_slopes_are_derivatives(value: Callable[[float], float], slope: Callable[[float], float], z: float) -> None:
    step = 1e-6
    numeric = (value(z + step) - value(z - step)) / (2 * step)
    assert slope(value(z)) == pytest.approx(numeric, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("z", [-1e38, -1000.0, 1000.0, 1e38])
def test_sigmoid_saturates_without_overflow(z: float) -> None:
    assert sigmoid(z) == (1.0 if z > 0 else 0.0)


def test_softmax_of_large_values_is_a_distribution() -> None:
    z = np.array([[1e30, 0.0, -1e30], [5.0, 5.0, 5.0]])
    ACTIVATIONS["softmax"].forward(z, np.zeros(3), z)
    expected = np.array([[1.0, 0.0, 0.0], [1 / 3] * 3])
    np.testing.assert_allclose(z, expected, rtol=1e-15, atol=1e-300)


def test_relu_lets_a_nan_through_so_that_divergence_is_seen() -> None:
    assert math.isnan(relu(math.nan))
