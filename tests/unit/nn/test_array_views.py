"""Vectors that are used together begin at different offsets in a page."""

from typing import Any

import numpy as np
import pytest

from nabla.engine.nn import array_views
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE, corners, spec

PAGE_BYTES = 4096


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 1023, 101_770])
def test_staggered_vectors_begin_at_different_page_offsets(size: int, dtype: str) -> None:
    vectors = [
        array_views.staggered_zeros(size, dtype, 0),
        array_views.staggered_zeros(size, dtype, 1),
        *array_views.staggered_matrix(2, size, dtype, 2),
    ]
    assert [vector.ctypes.data % PAGE_BYTES for vector in vectors] == [0, 1024, 2048, 3072]
    assert [len(vector) >= size for vector in vectors] == [True] * 4
    assert len(vectors[0]) == len(vectors[1]) == size
    assert all(vector.flags.c_contiguous and not vector.any() for vector in vectors)
    assert array_views.staggered_matrix(0, size, dtype, 2).shape[0] == 0


@pytest.mark.parametrize("initialized", [True, False])
def test_trainer_staggers_parameters_and_moments(initialized: bool) -> None:
    network = Network(ARCHITECTURE) if initialized else Network.blank(ARCHITECTURE)
    arrays: dict[str, Any] = Trainer(network, corners(30), spec(optimizer="adam")).state.arrays
    vectors = [arrays["parameters"], *arrays["moments"]]
    assert [vector.ctypes.data % PAGE_BYTES for vector in vectors] == [0, 2048, 3072]


def test_blank_network_can_be_overwritten() -> None:
    architecture = Architecture(3, (Layer(2, "tanh"),), "quadratic")
    network = Network.blank(architecture)
    assert not network.parameters.any()
    network.parameters[:] = np.arange(8)
    assert network.layers[0][1].tolist() == [6, 7]
