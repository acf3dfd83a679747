"""What is saved comes back bit for bit, or not at all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Damaged
from engine.nn.architecture import Architecture, Layer
from engine.nn.network import Network
from engine.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint, save_weights
from engine.training.position import Patience, Position

ARCHITECTURE = Architecture(3, (Layer(4, "tanh"), Layer(2, "softmax")), "quadratic", "standard_normal")
POSITION = Position(epoch=3, row=20, sums=(1 / 3, 7.0), seconds=0.1, stopping=Patience(0.2, 4), stopped="patience")


def checkpoint() -> Checkpoint:
    parameters = Network(ARCHITECTURE).parameters
    arrays = {"parameters": parameters, "moments": np.stack([parameters, parameters]), "memory": np.array([7.0, 0.1])}
    return Checkpoint(arrays, POSITION)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights(tmp_path: Path, batch_norm: bool) -> None:
    layers = (Layer(4, "tanh", batch_norm=batch_norm), Layer(2, "softmax"))
    network = Network(Architecture(3, layers, "quadratic", "standard_normal"))
    network.statistics[:] = np.arange(network.statistics.size)
    save_weights(tmp_path / "w", network)
    found = load_weights(tmp_path / "w", network.architecture)
    assert np.array_equal(found.parameters, network.parameters)
    assert np.array_equal(found.statistics, network.statistics)
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def test_checkpoint(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(tmp_path / "c", saved)
    found = load_checkpoint(tmp_path / "c")
    assert found.position == POSITION
    assert found.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


def test_what_is_missing_cut_short_or_of_another_network_is_refused(tmp_path: Path) -> None:
    def load_w() -> object:
        return load_weights(tmp_path / "w", ARCHITECTURE)

    def load_c() -> object:
        return load_checkpoint(tmp_path / "c")

    other = Architecture(3, (Layer(4, "tanh", batch_norm=True), Layer(2, "softmax")), "quadratic")
    save_weights(tmp_path / "w", Network(ARCHITECTURE))
    save_checkpoint(tmp_path / "c", checkpoint())
    with pytest.raises(Damaged, match="does not fit"):
        load_weights(tmp_path / "w", other)
    loads: dict[str, Callable[[], object]] = {"w": load_w, "c": load_c}
    for file, load in loads.items():
        path = tmp_path / file
        content = path.read_bytes()
        for length in (0, 7, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(Damaged):
                load()
        path.unlink()
        with pytest.raises(Damaged, match="missing"):
            load()
    save_weights(tmp_path / "c", Network(ARCHITECTURE))
    with pytest.raises(Damaged, match="not complete"):
        load_c()
