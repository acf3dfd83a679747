"""A resumed run ends with the same bits as an uninterrupted one, from any point and with any settings."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nabla.engine.data.loading import open_raw
from nabla.engine.data.preprocessing import PreprocessingConfig, fit_preprocessor
from nabla.engine.errors import Damaged
from nabla.engine.literals import OptimizerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES
from nabla.engine.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nabla.engine.training.config import EarlyStopping, Stage, TrainingSpec
from nabla.engine.training.data_split import split_rows
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from tests.unit.data.test_dataset import store_dataset
from tests.unit.training.sample_datasets import ARCHITECTURE, CLASSES, collect_epochs, corners, spec

EVERYTHING = Architecture(
    4,
    (Layer(6, "gelu", dropout=0.3, batch_norm=True), Layer(5, "relu", dropout=0.2), Layer(3, "softmax")),
    "categorical_cross_entropy",
    dtype="float64",
    input_dropout=0.1,
)


def without_times(epoch: Epoch) -> Epoch:
    return replace(epoch, seconds=0.0, rows_per_second=None)


def check_resuming(architecture: Architecture, settings: TrainingSpec, file: Path) -> None:
    """Resume from every point, and from a file of the one in the middle."""
    data = corners(64, np.linspace(0.5, 1.5, 64))
    whole = Network(architecture)
    trainer = Trainer(whole, data, settings, classes=CLASSES)
    stops = [copy.deepcopy(Checkpoint.capture(trainer))]
    history = []
    for item in trainer.run():
        stops.append(copy.deepcopy(Checkpoint.capture(trainer)))
        if item is not None:
            history.append(item)

    assert len(stops) > 6
    middle = len(stops) // 2
    stops[middle] = load_checkpoint(save_checkpoint(file, stops[middle]))
    for stop in stops:
        network = Network(architecture)
        resumed = Trainer(network, data, settings, classes=CLASSES)
        stop.restore(resumed)
        again = collect_epochs(resumed.run())
        assert np.array_equal(network.parameters, whole.parameters)
        assert np.array_equal(network.statistics, whole.statistics)
        assert [without_times(epoch) for epoch in again] == [
            without_times(e) for e in history[stop.state.position.epoch :]
        ]
        assert resumed.position.stop_reason == trainer.position.stop_reason


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_run_matches_uninterrupted_run_with_every_optimizer(
    batch_size: int, optimizer: OptimizerName, tmp_path: Path
) -> None:
    settings = spec(epochs=3, batch_size=batch_size, learning_rate=0.01, validation_fraction=0.2, optimizer=optimizer)
    check_resuming(ARCHITECTURE, settings, tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "change",
    [
        *({"schedule": name, "schedule_settings": SCHEDULES[name].settings} for name in SCHEDULES),
        {"schedule": "plateau", "schedule_settings": {"patience": 1.0, "min_delta": 10.0}},
        {"stages": (Stage(1), Stage(1, learning_rate=0.01, momentum=0.5), Stage(1, l2=3.0))},
        {"early_stopping": EarlyStopping(patience=1, min_delta=10.0)},
        {"shuffle_block": 2},
        {"l1": 1.0, "l2": 2.0, "clip_value": 0.1, "clip_norm": 0.1, "max_norm": 0.9, "class_weights": "balanced"},
    ],
    ids=lambda change: "-".join(change) + "-" + str(change.get("schedule", "")),
)
def test_resumed_run_matches_uninterrupted_run_with_every_setting(change: dict[str, Any], tmp_path: Path) -> None:
    settings = spec(**{"epochs": 3, "optimizer": "momentum", "validation_fraction": 0.2, **change})
    check_resuming(EVERYTHING, settings, tmp_path / "checkpoint")


def test_resumed_run_uses_preprocessor_of_checkpoint(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(50, [1, 10, 100, 1000], (64, 4))
    dataset = store_dataset(tmp_path, inputs=x, targets=x[:, :2] * x[:, 2:])
    settings = spec(epochs=3, validation_fraction=0.2, optimizer="adam")
    architecture = Architecture(4, (Layer(6, "tanh"), Layer(2, "identity")), "huber")
    raw = open_raw(dataset, tmp_path / "ds")
    rows, _ = split_rows(64, None, settings)
    preprocessor = fit_preprocessor(
        PreprocessingConfig(inputs="robust", targets="standardize"), raw.features, raw.targets, rows
    )
    whole = Network(architecture)
    trainer = Trainer(whole, raw.preprocess(preprocessor, 2, "float32"), settings)
    history: list[Epoch] = []
    file = None
    for item in trainer.run():
        history += [] if item is None else [item]
        if trainer.position.epoch == 1 and file is None:
            file = save_checkpoint(tmp_path / "checkpoint", Checkpoint.capture(trainer, preprocessor))
    assert file is not None

    stop = load_checkpoint(file)
    assert stop.preprocessor is not None
    network = Network(architecture)
    resumed = Trainer(network, open_raw(dataset, tmp_path / "ds").preprocess(stop.preprocessor, 2, "float32"), settings)
    stop.restore(resumed)
    again = collect_epochs(resumed.run())
    assert np.array_equal(network.parameters, whole.parameters)
    assert [without_times(epoch) for epoch in again] == [without_times(epoch) for epoch in history[1:]]
    assert history[-1].validation_mae is not None
    assert history[-1].validation_mae > 100  # in the units of the targets
    assert history[-1].validation_cost is not None
    assert history[-1].validation_cost < 10


def test_checkpoint_with_other_metric_sums_is_rejected() -> None:
    data = corners(64)
    trainer = Trainer(Network(ARCHITECTURE), data, spec())
    position = replace(trainer.position, row=16, metric_sums=(1.0, 2.0))
    stop = Checkpoint(replace(trainer.state, position=position), "sgd")
    with pytest.raises(Damaged, match="other metric sums"):
        stop.restore(Trainer(Network(ARCHITECTURE), data, spec()))


def test_checkpoint_of_other_settings_is_rejected() -> None:
    data = corners(64)
    adam = Trainer(Network(ARCHITECTURE), data, spec(optimizer="adam"))
    with pytest.raises(Damaged, match="does not fit"):
        Checkpoint.capture(adam).restore(Trainer(Network(ARCHITECTURE), data, spec(optimizer="sgd")))
