"""What is saved comes back bit for bit, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import Damaged
from engine.nn.network import Architecture, Layer, Network
from engine.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint, save_weights
from engine.training.trainer import Position

ARCHITECTURE = Architecture(3, (Layer(4, "tanh"), Layer(2, "softmax")), "quadratic", "standard_normal")
POSITION = Position(epoch=3, row=20, cost=1 / 3, correct=7.0, seconds=0.1)


def checkpoint() -> Checkpoint:
    parameters = Network(ARCHITECTURE).parameters
    return Checkpoint(parameters, np.stack([parameters, parameters]), np.array([7.0, 0.1]), POSITION)


def test_weights(tmp_path: Path) -> None:
    network = Network(ARCHITECTURE)
    save_weights(tmp_path / "w", network)
    assert np.array_equal(load_weights(tmp_path / "w", ARCHITECTURE).parameters, network.parameters)
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def test_checkpoint(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(tmp_path / "c", saved)
    found = load_checkpoint(tmp_path / "c", ARCHITECTURE)
    assert found.position == POSITION
    assert np.array_equal(found.parameters, saved.parameters)
    assert np.array_equal(found.moments, saved.moments)
    assert np.array_equal(found.memory, saved.memory)


def test_what_is_missing_cut_short_or_of_another_network_is_refused(tmp_path: Path) -> None:
    other = Architecture(3, (Layer(5, "tanh"), Layer(2, "softmax")), "quadratic")
    save_weights(tmp_path / "w", Network(ARCHITECTURE))
    save_checkpoint(tmp_path / "c", checkpoint())
    for file, load in (("w", load_weights), ("c", load_checkpoint)):
        path = tmp_path / file
        with pytest.raises(Damaged, match="does not fit"):
            load(path, other)
        content = path.read_bytes()
        for length in (0, 7, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(Damaged):
                load(path, ARCHITECTURE)
        path.unlink()
        with pytest.raises(Damaged, match="missing"):
            load(path, ARCHITECTURE)
    save_weights(tmp_path / "w", Network(ARCHITECTURE))
    with pytest.raises(Damaged, match="not complete"):
        load_checkpoint(tmp_path / "w", ARCHITECTURE)
