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
    return Checkpoint(arrays, POSITION, "adam")


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights(tmp_path: Path, batch_norm: bool) -> None:
    layers = (Layer(4, "tanh", batch_norm=batch_norm), Layer(2, "softmax"))
    network = Network(Architecture(3, layers, "quadratic", "standard_normal"))
    network.statistics[:] = np.arange(network.statistics.size)
    file = save_weights(tmp_path / "w.safetensors", network)
    found, _ = load_weights(file, network.architecture)
    assert np.array_equal(found.parameters, network.parameters)
    assert np.array_equal(found.statistics, network.statistics)
    assert [*tmp_path.iterdir()] == [file]
    assert file.name.startswith("w.")
    assert file.suffix == ".safetensors"


def test_checkpoint(tmp_path: Path) -> None:
    saved = checkpoint()
    found = load_checkpoint(save_checkpoint(tmp_path / "c", saved))
    assert (found.position, found.optimizer) == (POSITION, "adam")
    assert found.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


def test_what_is_missing_cut_short_changed_or_of_another_network_is_refused(tmp_path: Path) -> None:
    other = Architecture(3, (Layer(4, "tanh", batch_norm=True), Layer(2, "softmax")), "quadratic")
    weights = save_weights(tmp_path / "w", Network(ARCHITECTURE))
    saved = save_checkpoint(tmp_path / "c", checkpoint())
    with pytest.raises(Damaged, match="does not fit"):
        load_weights(weights, other)
    with pytest.raises(Damaged, match="not complete"):
        load_checkpoint(weights)
    loads: dict[Path, Callable[[Path], object]] = {
        weights: lambda path: load_weights(path, ARCHITECTURE),
        saved: load_checkpoint,
    }
    for path, load in loads.items():
        content = path.read_bytes()
        for length in (0, 7, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(Damaged):
                load(path)
        for place in range(0, len(content), 97):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            with pytest.raises(Damaged, match="what is in it is not what was written"):
                load(path)
        path.unlink()
        with pytest.raises(Damaged, match="cannot be read"):
            load(path)
