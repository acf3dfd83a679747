"""Initializers have the mean and the variance of their papers, and depend on the seed alone."""

import numpy as np
import pytest

from nabla.engine.literals import DtypeName, InitializerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.network import Network

INPUTS, UNITS = 300, 200
VARIANCES = {"glorot": 2 / (INPUTS + UNITS), "he": 2 / INPUTS, "lecun": 1 / INPUTS, "standard": 1.0}


def create_network(initializer: InitializerName, *, seed: int = 1, dtype: DtypeName = "float64") -> Network:
    layers = (Layer(UNITS, "tanh"), Layer(UNITS, "identity"))
    return Network(Architecture(INPUTS, layers, "quadratic", initializer, seed, dtype))


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_weights_have_mean_and_variance_of_the_paper(initializer: InitializerName) -> None:
    w, b = create_network(initializer).layers[0]
    variance = VARIANCES[initializer.partition("_")[0]]
    assert w.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / w.size))
    assert w.var() == pytest.approx(variance, rel=0.02)
    if initializer.endswith("uniform"):
        assert np.abs(w).max() <= np.sqrt(3 * variance)
    if initializer == "standard_normal":
        assert b.var() == pytest.approx(1, rel=0.3)
    else:
        assert not b.any()


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_seed_determines_parameters(initializer: InitializerName) -> None:
    first, repeated, other = (create_network(initializer, seed=seed).parameters for seed in (1, 1, 2))
    assert np.array_equal(first, repeated)
    assert not np.array_equal(first, other)


def test_layers_differ_and_precisions_agree() -> None:
    double = create_network("glorot_normal")
    first, second = double.layers[0][0].reshape(-1), double.layers[1][0].reshape(-1)
    assert abs(np.corrcoef(first[: second.size], second)[0, 1]) < 0.02
    single = create_network("glorot_normal", dtype="float32")
    np.testing.assert_allclose(single.parameters, double.parameters, rtol=1e-6)
