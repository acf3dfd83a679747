"""Weights files, snapshots and checkpoints: read back bit for bit, or rejected; also those of format version 1."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from nabla.engine import durable_files
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.durable_files import UNFINISHED_PREFIX
from nabla.engine.errors import Damaged
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_classes,
    load_preprocessor,
    load_snapshot,
    load_weights,
    named_tensors,
    save_checkpoint,
    save_snapshot,
    save_weights,
)
from nabla.engine.training.state import NamedArrays, Patience, Position, TrainerState
from nabla.engine.training.trainer import Trainer
from tests.unit.training.sample_datasets import ARCHITECTURE as RUN
from tests.unit.training.sample_datasets import CLASSES, collect_epochs, corners, spec

ARCHITECTURE = Architecture(3, (Layer(4, "tanh"), Layer(2, "softmax")), "quadratic", "standard_normal")
POSITION = Position(
    epoch=3,
    row=20,
    metric_sums=(1 / 3, 7.0),
    epoch_seconds=0.1,
    early_stopping=Patience(0.2, 4),
    stop_reason="patience",
)


def make_checkpoint() -> Checkpoint:
    parameters = Network(ARCHITECTURE).parameters
    arrays = {
        "parameters": parameters,
        "moments": np.stack([parameters, parameters]),
        "optimizer_state": np.array([7.0, 0.1]),
    }
    return Checkpoint(TrainerState(POSITION, arrays), "adam")


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_round_trip(tmp_path: Path, batch_norm: bool) -> None:
    layers = (Layer(4, "tanh", batch_norm=batch_norm), Layer(2, "softmax"))
    network = Network(Architecture(3, layers, "quadratic", "standard_normal"))
    network.statistics[:] = np.arange(network.statistics.size)
    file = save_weights(tmp_path / "w.safetensors", network)
    loaded, _ = load_weights(file, network.architecture)
    assert np.array_equal(loaded.parameters, network.parameters)
    assert np.array_equal(loaded.statistics, network.statistics)
    assert [*tmp_path.iterdir()] == [file]
    assert file.name.startswith("w.")
    assert file.suffix == ".safetensors"


def test_snapshot_equals_checkpoint_of_the_same_step(tmp_path: Path) -> None:
    """It has the name of an unfinished file, so that it is cleaned up like one."""
    architecture = replace(RUN, layers=(replace(RUN.layers[0], batch_norm=True), *RUN.layers[1:]))
    trainer = Trainer(Network(architecture), corners(40), spec(epochs=2), classes=CLASSES)
    preprocessor = Preprocessor.identity(PreprocessingConfig())
    seen = set()
    for _ in trainer.run():
        file = save_snapshot(tmp_path, trainer.current_network, preprocessor, CLASSES)
        assert file.name.startswith(f"{UNFINISHED_PREFIX}{os.getpid()}-")
        model, classes = load_snapshot(file, architecture)
        expected = Checkpoint.capture(trainer).build_network(architecture)
        assert classes == CLASSES
        assert model.network.parameters.tobytes() == expected.parameters.tobytes()
        assert model.network.statistics.tobytes() == expected.statistics.tobytes()
        seen.add(model.network.parameters.tobytes())
    assert len(seen) > 2


def test_snapshot_without_preprocessor_is_damaged(tmp_path: Path) -> None:
    file = save_weights(tmp_path / "w.safetensors", Network(ARCHITECTURE))
    with pytest.raises(Damaged, match="no preprocessor"):
        load_snapshot(file, ARCHITECTURE)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    saved = make_checkpoint()
    loaded = load_checkpoint(save_checkpoint(tmp_path / "c", saved))
    assert (loaded.state.position, loaded.optimizer) == (POSITION, "adam")
    assert_same_arrays(loaded.state.arrays, saved.state.arrays)


def assert_same_arrays(actual: NamedArrays, expected: NamedArrays) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        assert np.array_equal(actual[name], array)


COLUMNS = (Column("job", "category", ("clerk", "cook"), 1, "most_frequent"), Column("age", "number"))
PREPROCESSOR = Preprocessor(
    PreprocessingConfig("standardize", "min_max", "ignore"),
    COLUMNS,
    np.array([1.0, np.nan]),
    Scaling(np.array([0, 0, 1 / 3]), np.array([1, 1, 1 / 7])),
    Scaling(np.array([1e300, -0.0]), np.array([5e-324, 1.0])),
)


def assert_same_preprocessor(actual: Preprocessor | None, expected: Preprocessor) -> None:
    assert actual is not None
    assert (actual.config, actual.columns) == (expected.config, expected.columns)
    assert actual.imputation_values.tobytes() == expected.imputation_values.tobytes()
    for ours, theirs in (
        (actual.input_scaling, expected.input_scaling),
        (actual.target_scaling, expected.target_scaling),
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.offsets.tobytes() == theirs.offsets.tobytes()
            assert ours.scales.tobytes() == theirs.scales.tobytes()


@pytest.mark.parametrize("part", ["input_scaling", "target_scaling", "neither"])
def test_preprocessor_round_trip(tmp_path: Path, part: str) -> None:
    left_out: dict[str, Any] = {} if part == "neither" else {part: None}
    saved = replace(PREPROCESSOR, **left_out)
    network = Network(ARCHITECTURE)
    weights = save_weights(tmp_path / "w", network, saved)
    file = save_checkpoint(tmp_path / "c", replace(make_checkpoint(), preprocessor=saved))
    loaded, preprocessor = load_weights(weights, ARCHITECTURE)
    assert np.array_equal(loaded.parameters, network.parameters)
    checkpoint = load_checkpoint(file)
    assert checkpoint.state.arrays.keys() == make_checkpoint().state.arrays.keys()
    for actual in (preprocessor, checkpoint.preprocessor, load_preprocessor(weights), load_preprocessor(file)):
        assert_same_preprocessor(actual, saved)


def test_missing_preprocessor_is_none(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w", Network(ARCHITECTURE))
    assert load_weights(weights, ARCHITECTURE)[1] is None
    assert load_preprocessor(weights) is None
    assert load_checkpoint(save_checkpoint(tmp_path / "c", make_checkpoint())).preprocessor is None


def test_missing_truncated_changed_or_foreign_files_are_rejected(tmp_path: Path) -> None:
    other = Architecture(3, (Layer(4, "tanh", batch_norm=True), Layer(2, "softmax")), "quadratic")
    weights = save_weights(tmp_path / "w", Network(ARCHITECTURE))
    saved = save_checkpoint(tmp_path / "c", make_checkpoint())
    with pytest.raises(Damaged, match="does not fit"):
        load_weights(weights, other)
    with pytest.raises(Damaged, match="is incomplete"):
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
        for offset in range(0, len(content), 97):
            path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
            with pytest.raises(Damaged, match="is damaged"):
                load(path)
        path.unlink()
        with pytest.raises(Damaged, match="cannot be read"):
            load(path)


def test_state_of_another_network_is_rejected_without_changes() -> None:
    small, large = Network(ARCHITECTURE), Network(replace(ARCHITECTURE, inputs=5))
    trainers = [
        Trainer(Network(replace(RUN, layers=(Layer(units, "tanh"), Layer(3, "softmax")))), corners(12), spec())
        for units in (6, 7)
    ]
    before = trainers[1].network.parameters.copy()
    with pytest.raises(Damaged, match="does not fit the network"):
        trainers[1].load_state(trainers[0].state)
    with pytest.raises(Damaged, match="does not fit the network"):
        trainers[1].warm_start(trainers[0].state, keep_optimizer_state=True)
    assert np.array_equal(trainers[1].network.parameters, before)
    state = TrainerState(Position(), {"parameters": small.parameters, "statistics": small.statistics})
    with pytest.raises(Damaged, match="does not fit the network"):
        Checkpoint(state, "sgd").build_network(large.architecture)


# What version 1 wrote, byte for byte.
COLUMNS_V1 = (
    '[{"name":"job","type":"category","categories":["clerk","cook"],"missing":1,"fill":"most_frequent","constant":null},'
    '{"name":"age","type":"number","categories":[],"missing":0,"fill":null,"constant":null},'
    '{"name":"floor","type":"number","categories":[],"missing":2,"fill":"constant","constant":-1.0}]'
)
POSITION_V1 = (
    '{"epoch":2,"row":48,"sums":[33.27703081479362,43.0,0.5732803344965973],"seconds":0.25,"training_seconds":0.125,'
    '"total_seconds":30.5,"stopping":{"best":1.7129029683348018,"waited":1},'
    '"plateau":{"best":1.0111189895649915,"waited":2},"reductions":1,"best_epoch":1,"stopped":null}'
)


def write_version_1(path: Path, tensors: NamedArrays, metadata: dict[str, str]) -> Path:
    content = safetensors.numpy.save(tensors, metadata=metadata or None)
    return durable_files.write_file(path, lambda file: file.write(content))


@pytest.mark.parametrize(("unseen", "handle_unknown"), [("refuse", "error"), ("ignore", "ignore")])
def test_version_1_preprocessor_of_a_table_is_upgraded(tmp_path: Path, unseen: str, handle_unknown: Any) -> None:
    network = Network(ARCHITECTURE)
    scaling = {"offsets": np.array([0, 0, 1 / 3, 2]), "scales": np.array([1, 1, 1 / 7, 3.0])}
    targets = {"offsets": np.array([1e300, -0.0]), "scales": np.array([5e-324, 1.0])}
    tensors = {
        **dict(named_tensors(network)),
        "preparation.fills": np.array([1.0, np.nan, -1.0]),
        **{f"preparation.inputs.{name}": vector for name, vector in scaling.items()},
        **{f"preparation.targets.{name}": vector for name, vector in targets.items()},
    }
    rule = f'{{"inputs":"standardize","targets":"min_max","unseen":"{unseen}"}}'
    metadata = {"preparation": f'{{"rule":{rule},"columns":{COLUMNS_V1}}}', "classes": '["0","1","2"]'}
    expected = Preprocessor(
        PreprocessingConfig("standardize", "min_max", handle_unknown),
        (*COLUMNS, Column("floor", "number", (), 2, "constant", -1.0)),
        np.array([1.0, np.nan, -1.0]),
        Scaling(**scaling),
        Scaling(**targets),
    )
    file = write_version_1(tmp_path / "w", tensors, metadata)
    loaded, preprocessor = load_weights(file, ARCHITECTURE)
    assert loaded.parameters.tobytes() == network.parameters.tobytes()
    assert_same_preprocessor(preprocessor, expected)
    assert_same_preprocessor(load_preprocessor(file), expected)
    assert load_classes(file) == ("0", "1", "2")
    again = save_weights(tmp_path / "again", loaded, preprocessor, load_classes(file))
    assert_same_preprocessor(load_weights(again, ARCHITECTURE)[1], expected)


def test_version_1_preprocessor_of_a_matrix_is_upgraded(tmp_path: Path) -> None:
    tensors = {**dict(named_tensors(Network(ARCHITECTURE))), "preparation.fills": np.zeros(0)}
    rule = '{"inputs":"none","targets":"none","unseen":"refuse"}'
    file = write_version_1(tmp_path / "w", tensors, {"preparation": f'{{"rule":{rule},"columns":null}}'})
    assert_same_preprocessor(load_weights(file, ARCHITECTURE)[1], Preprocessor.identity())
    assert load_classes(file) is None


def test_version_1_weights_without_metadata_are_read(tmp_path: Path) -> None:
    network = Network(ARCHITECTURE)
    file = write_version_1(tmp_path / "w", dict(named_tensors(network)), {})
    loaded, preprocessor = load_weights(file, ARCHITECTURE)
    assert loaded.parameters.tobytes() == network.parameters.tobytes()
    assert (preprocessor, load_preprocessor(file), load_classes(file)) == (None, None, None)


def test_version_1_checkpoint_is_upgraded(tmp_path: Path) -> None:
    parameters = Network(ARCHITECTURE).parameters
    tensors = {
        "parameters": parameters,
        "statistics": np.zeros(0, np.float32),
        "moments": np.stack([parameters]),
        "memory": np.array([7.0, 0.1]),
        "best.0": parameters + 1,
        "best.1": np.zeros(0, np.float32),
        "preparation.fills": np.array([1.0, np.nan, -1.0]),
    }
    rule = '{"inputs":"none","targets":"none","unseen":"ignore"}'
    metadata = {
        "position": POSITION_V1,
        "optimizer": "momentum",
        "preparation": f'{{"rule":{rule},"columns":{COLUMNS_V1}}}',
        "classes": '["no","yes"]',
    }
    checkpoint = load_checkpoint(write_version_1(tmp_path / "c", tensors, metadata))
    assert checkpoint.state.position == Position(
        epoch=2,
        row=48,
        metric_sums=(33.27703081479362, 43.0, 0.5732803344965973),
        epoch_seconds=0.25,
        training_seconds=0.125,
        total_seconds=30.5,
        early_stopping=Patience(1.7129029683348018, 1),
        plateau=Patience(1.0111189895649915, 2),
        plateau_reductions=1,
        best_epoch=1,
    )
    assert_same_arrays(
        checkpoint.state.arrays,
        {
            "parameters": parameters,
            "statistics": np.zeros(0, np.float32),
            "moments": np.stack([parameters]),
            "optimizer_state": np.array([7.0, 0.1]),
            "best.parameters": parameters + 1,
            "best.statistics": np.zeros(0, np.float32),
        },
    )
    assert checkpoint.has_best
    best = checkpoint.build_network(ARCHITECTURE, best=True)
    assert np.array_equal(best.parameters, parameters + 1)
    assert (checkpoint.optimizer, checkpoint.classes) == ("momentum", ("no", "yes"))
    assert checkpoint.preprocessor is not None
    assert checkpoint.preprocessor.config.handle_unknown == "ignore"


def test_run_resumed_from_version_1_matches_uninterrupted_run_bitwise(tmp_path: Path) -> None:
    data, settings = corners(64), spec(epochs=4, validation_fraction=0.25, optimizer="adam")
    network = Network(RUN)
    trainer = Trainer(network, data, settings, classes=CLASSES)
    run = trainer.run()
    for _ in range(5):
        next(run)
    position, arrays = trainer.position, trainer.state.arrays
    arrays["memory"] = arrays.pop("optimizer_state")
    sums = ",".join(map(repr, position.metric_sums))
    metadata = {
        "position": f'{{"epoch":{position.epoch},"row":{position.row},"sums":[{sums}],"seconds":0.5,'
        '"training_seconds":0.25,"total_seconds":1.0,"stopping":{"best":null,"waited":0},'
        '"plateau":{"best":null,"waited":0},"reductions":0,"best_epoch":null,"stopped":null}',
        "optimizer": "adam",
    }
    file = write_version_1(tmp_path / "c", arrays, metadata)
    rest = collect_epochs(run)

    resumed_network = Network(RUN)
    resumed = Trainer(resumed_network, data, settings, classes=CLASSES)
    load_checkpoint(file).restore(resumed)
    assert [epoch.validation_cost for epoch in collect_epochs(resumed.run())] == [
        epoch.validation_cost for epoch in rest
    ]
    assert resumed_network.parameters.tobytes() == network.parameters.tobytes()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format_version": "3"}, "'3' is unknown"),
        ({"preparation": '{"rule":{"inputs":"none","targets":"none","unseen":"perhaps"},"columns":null}'}, "perhaps"),
        ({"preparation": '{"columns":null}'}, "rule"),
        ({"position": '{"epoch":"two"}'}, "int"),
        ({"classes": '["a"'}, "classes"),
    ],
)
def test_unreadable_metadata_is_damaged(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    tensors = {**make_checkpoint().state.arrays, "preparation.fills": np.zeros(0)}
    file = write_version_1(tmp_path / "c", tensors, {"position": POSITION_V1, "optimizer": "adam", **metadata})
    with pytest.raises(Damaged, match=message):
        load_checkpoint(file)
