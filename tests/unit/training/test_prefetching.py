"""Prefetching of memory-mapped datasets, which does not change the result."""

from pathlib import Path

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.shuffling import merge_into_ranges
from nabla.engine.training.trainer import Trainer


def test_ranges_cover_rows_with_bounded_gaps() -> None:
    rows = np.array([3, 4, 6, 20, 40, 41])
    assert list(merge_into_ranges(rows, 1)) == [(3, 5), (6, 7), (20, 21), (40, 42)]
    assert list(merge_into_ranges(rows, 2)) == [(3, 7), (20, 21), (40, 42)]
    assert list(merge_into_ranges(rows[:1], 2)) == [(3, 4)]


def test_mapped_data_train_like_data_in_memory(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {"x": generator.random((20_000, 3)), "y": generator.random((20_000, 2))}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}
    spec = TrainingSpec(2, 16, 0.1, shuffle_block=10)
    trained = []
    for x, y in (arrays.values(), mapped.values()):
        network = Network(Architecture(3, (Layer(2, "identity"),), "quadratic", dtype="float64"))
        for _ in Trainer(network, OpenDataset(x, y), spec).run():
            pass
        trained.append(network.parameters.tobytes())
    assert trained[0] == trained[1]
