"""The outputs of a row are bitwise independent of the rest of the batch."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network


def create_network(
    dtype: DtypeName, inputs: int, units: list[int], activations: list[ActivationName], batch_norm: bool
) -> Network:
    layers = [
        Layer(count, activation, batch_norm=batch_norm) for count, activation in zip(units, activations, strict=True)
    ]
    network = Network(Architecture(inputs, tuple(layers), "quadratic", seed=3, dtype=dtype))
    generator = np.random.default_rng(1)
    for _, means, variances in network.normalizations.values():
        means[:], variances[:] = generator.normal(size=means.shape), generator.uniform(0.5, 2, means.shape)
    return network


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_outputs_do_not_depend_on_other_rows(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 3))
    units = data.draw(st.lists(st.integers(2, 70), min_size=depth, max_size=depth))
    activations = data.draw(st.lists(st.sampled_from([*ACTIVATIONS]), min_size=depth, max_size=depth))
    inputs = data.draw(st.sampled_from([1, 2, 3, 7, 16, 33, 100, 784]))
    network = create_network(
        data.draw(st.sampled_from(get_args(DtypeName))), inputs, units, activations, data.draw(st.booleans())
    )
    x = np.random.default_rng(data.draw(st.integers(0, 9))).normal(size=(530, inputs))
    batch = network.predict(x)
    for first, last in ((0, 1), (3, 4), (5, 7), (6, 11), (250, 262), (511, 530)):
        assert network.predict(x[first:last]).tobytes() == batch[first:last].tobytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", get_args(DtypeName))
def test_outputs_do_not_depend_on_the_position_of_a_row(dtype: DtypeName, activation: ActivationName) -> None:
    network = create_network(dtype, 5, [13, 3], [activation, activation], False)
    row = np.random.default_rng(2).normal(size=(1, 5))
    alone = network.predict(row)
    for index in range(40):
        rows = np.random.default_rng(index).normal(size=(40, 5))
        rows[index] = row
        assert network.predict(rows)[index].tobytes() == alone.tobytes()
