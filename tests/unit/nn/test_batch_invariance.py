"""A row's outputs are the same bits whatever rows are predicted with it."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network


def _network(
    dtype: DtypeName, inputs: int, units: list[int], activations: list[ActivationName], batch_norm: bool
) -> Network:
    layers = [Layer(count, kind, batch_norm=batch_norm) for count, kind in zip(units, activations, strict=True)]
    network = Network(Architecture(inputs, tuple(layers), "quadratic", seed=3, dtype=dtype))
    generator = np.random.default_rng(1)
    for _, means, variances in network.normalizations.values():
        means[:], variances[:] = generator.normal(size=means.shape), generator.uniform(0.5, 2, means.shape)
    return network


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_stands_beside_it(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 3))
    units = data.draw(st.lists(st.integers(2, 70), min_size=count, max_size=count))
    kinds = data.draw(st.lists(st.sampled_from([*ACTIVATIONS]), min_size=count, max_size=count))
    inputs = data.draw(st.sampled_from([1, 2, 3, 7, 16, 33, 100, 784]))
    network = _network(data.draw(st.sampled_from(get_args(DtypeName))), inputs, units, kinds, data.draw(st.booleans()))
    x = np.random.default_rng(data.draw(st.integers(0, 9))).normal(size=(530, inputs))
    together = network.predict(x)
    for first, last in ((0, 1), (3, 4), (5, 7), (6, 11), (250, 262), (511, 530)):
        assert network.predict(x[first:last]).tobytes() == together[first:last].tobytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", get_args(DtypeName))
def test_wherever_it_stands(dtype: DtypeName, activation: ActivationName) -> None:
    network = _network(dtype, 5, [13, 3], [activation, activation], False)
    row = np.random.default_rng(2).normal(size=(1, 5))
    alone = network.predict(row)
    for place in range(40):
        rows = np.random.default_rng(place).normal(size=(40, 5))
        rows[place] = row
        assert network.predict(rows)[place].tobytes() == alone.tobytes()
