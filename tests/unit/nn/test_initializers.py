"""Each initializer has the mean and the variance of its paper."""

import numpy as np
import pytest

from nabla.engine.literals import DtypeName, InitializerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.network import Network

INPUTS, UNITS = 300, 200
VARIANCES = {"glorot": 2 / (INPUTS + UNITS), "he": 2 / INPUTS, "lecun": 1 / INPUTS, "standard": 1.0}


def start(initializer: InitializerName, *, seed: int = 1, dtype: DtypeName = "float64") -> Network:
    layers = (Layer(UNITS, "tanh"), Layer(UNITS, "identity"))
    return Network(Architecture(INPUTS, layers, "quadratic", initializer, seed, dtype))


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_mean_and_variance(initializer: InitializerName) -> None:
    w, b = start(initializer).layers[0]
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
def test_the_seed_determines_the_start(initializer: InitializerName) -> None:
    same, again, other = (start(initializer, seed=seed).parameters for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_layers_start_differently_and_both_precisions_alike() -> None:
    double = start("glorot_normal")
    first, second = double.layers[0][0].reshape(-1), double.layers[1][0].reshape(-1)
    assert abs(np.corrcoef(first[: second.size], second)[0, 1]) < 0.02
    single = start("glorot_normal", dtype="float32")
    np.testing.assert_allclose(single.parameters, double.parameters, rtol=1e-6)
