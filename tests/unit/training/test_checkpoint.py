"""What is saved comes back bit for bit, or not at all."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.durable_files import UNFINISHED
from nabla.engine.errors import Damaged
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_preprocessor,
    load_snapshot,
    load_weights,
    save_checkpoint,
    save_snapshot,
    save_weights,
)
from nabla.engine.training.state import Patience, Position
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE as RUN
from tests.unit.training.sample_datasets import CLASSES, corners, spec

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


def test_a_snapshot_is_what_a_checkpoint_at_the_same_step_would_be(tmp_path: Path) -> None:
    """And it has the name of a file that is not finished, so that it goes as those do."""
    architecture = replace(RUN, layers=(replace(RUN.layers[0], batch_norm=True), *RUN.layers[1:]))
    trainer = Trainer(Network(architecture), corners(40), spec(epochs=2), classes=CLASSES)
    preprocessor = Preprocessor.plain(PreprocessingConfig())
    seen = set()
    for _ in trainer.run():
        file = save_snapshot(tmp_path, trainer.trained_so_far, preprocessor, CLASSES)
        assert file.name.startswith(f"{UNFINISHED}{os.getpid()}-")
        model, classes = load_snapshot(file, architecture)
        expected = Checkpoint.of(trainer).network(architecture)
        assert classes == CLASSES
        assert model.network.parameters.tobytes() == expected.parameters.tobytes()
        assert model.network.statistics.tobytes() == expected.statistics.tobytes()
        seen.add(model.network.parameters.tobytes())
    assert len(seen) > 2


def test_a_snapshot_without_a_preparation_is_damaged(tmp_path: Path) -> None:
    file = save_weights(tmp_path / "w.safetensors", Network(ARCHITECTURE))
    with pytest.raises(Damaged, match="prepared"):
        load_snapshot(file, ARCHITECTURE)


def test_checkpoint(tmp_path: Path) -> None:
    saved = checkpoint()
    found = load_checkpoint(save_checkpoint(tmp_path / "c", saved))
    assert (found.position, found.optimizer) == (POSITION, "adam")
    assert found.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


COLUMNS = (Column("job", "category", ("clerk", "cook"), 1, "most_frequent"), Column("age", "number"))
PREPARATION = Preprocessor(
    PreprocessingConfig("standardize", "min_max", "ignore"),
    COLUMNS,
    np.array([1.0, np.nan]),
    Scaling(np.array([0, 0, 1 / 3]), np.array([1, 1, 1 / 7])),
    Scaling(np.array([1e300, -0.0]), np.array([5e-324, 1.0])),
)


@pytest.mark.parametrize("part", ["inputs", "targets", "neither"])
def test_a_preparation_comes_back_bit_for_bit(tmp_path: Path, part: str) -> None:
    left_out: dict[str, Any] = {} if part == "neither" else {part: None}
    saved = replace(PREPARATION, **left_out)
    network = Network(ARCHITECTURE)
    weights = save_weights(tmp_path / "w", network, saved)
    file = save_checkpoint(tmp_path / "c", replace(checkpoint(), preprocessor=saved))
    again, found = load_weights(weights, ARCHITECTURE)
    assert np.array_equal(again.parameters, network.parameters)
    assert load_checkpoint(file).arrays.keys() == checkpoint().arrays.keys()
    for one in (found, load_checkpoint(file).preprocessor, load_preprocessor(weights), load_preprocessor(file)):
        assert one is not None
        assert (one.rule, one.columns) == (saved.rule, COLUMNS)
        assert one.fills.tobytes() == saved.fills.tobytes()
        for ours, theirs in ((one.inputs, saved.inputs), (one.targets, saved.targets)):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert ours.offsets.tobytes() == theirs.offsets.tobytes()
                assert ours.scales.tobytes() == theirs.scales.tobytes()


def test_what_was_never_fitted_is_none(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w", Network(ARCHITECTURE))
    assert load_weights(weights, ARCHITECTURE)[1] is None
    assert load_preprocessor(weights) is None
    assert load_checkpoint(save_checkpoint(tmp_path / "c", checkpoint())).preprocessor is None


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
