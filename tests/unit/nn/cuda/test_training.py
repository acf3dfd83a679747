"""Training on a GPU matches training on the CPU, in costs and parameters, with any combination of settings."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import Diverged
from nabla.engine.literals import ActivationName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import BackendFactory, CpuBackend
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nabla.engine.training.config import EarlyStopping, Stage, TrainingSpec
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from tests.unit.nn.cuda.devices import DEVICES, cuda_backend, non_blocking_cuda_backend
from tests.unit.training.sample_datasets import collect_epochs, corners, numbers, spec

# Steps kernel by kernel, by one kernel for whole steps, and on data that is streamed in chunks.
MODES: dict[str, dict[str, Any]] = {
    "kernels": {"single_block": False},
    "single_block": {"single_block": True},
    "streamed": {"single_block": False, "max_data_bytes": 3000},
}
CLASSES = ("0", "1", "2")
ALL_SETTINGS: dict[str, Any] = {
    "optimizer": "nadam",
    "l1": 0.02,
    "l2": 0.1,
    "clip_value": 0.5,
    "clip_norm": 0.9,
    "max_norm": 1.5,
    "class_weights": "balanced",
    "validation_fraction": 0.2,
    "schedule": "cosine",
}
FULL_ARCHITECTURE = Architecture(
    4,
    (
        Layer(9, "gelu", dropout=0.2, batch_norm=True),
        Layer(7, "softmax"),
        Layer(6, "relu", dropout=0.1),
        Layer(3, "softmax"),
    ),
    "categorical_cross_entropy",
    dtype="float64",
    label_smoothing=0.1,
    input_dropout=0.1,
)
_TIMING_FIELDS = ("seconds", "rows_per_second")


def train(
    make_backend: BackendFactory,
    architecture: Architecture,
    dataset: OpenDataset,
    settings: TrainingSpec,
    classes: tuple[str, ...] | None,
    **trainer_options: Any,
) -> tuple[Network, list[Epoch]]:
    network = Network(architecture)
    trainer = Trainer(network, dataset, settings, classes=classes, make_backend=make_backend, **trainer_options)
    return network, collect_epochs(trainer.run())


def to_matrix(history: list[Epoch]) -> npt.NDArray[np.float64]:
    return np.array(
        [[np.nan if v is None else v for k, v in asdict(epoch).items() if k not in _TIMING_FIELDS] for epoch in history]
    )


def assert_device_matches_cpu(
    architecture: Architecture,
    dataset: OpenDataset,
    settings: TrainingSpec,
    device: str,
    classes: tuple[str, ...] | None = CLASSES,
    mode: str = "kernels",
    tolerance: float = 1e-9,
    **trainer_options: Any,
) -> None:
    if device == "fake":
        make_backend = non_blocking_cuda_backend(allow_events=mode == "streamed", **MODES[mode])
    else:
        make_backend = cuda_backend(device, **MODES[mode])
    expected, expected_history = train(CpuBackend, architecture, dataset, settings, classes, **trainer_options)
    network, history = train(make_backend, architecture, dataset, settings, classes, **trainer_options)
    np.testing.assert_allclose(to_matrix(history), to_matrix(expected_history), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(network.parameters, expected.parameters, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(network.statistics, expected.statistics, rtol=tolerance, atol=tolerance)
    assert not np.array_equal(network.parameters, Network(architecture).parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])
def test_optimizers_match_cpu(optimizer: str, mode: str, device: str) -> None:
    architecture = Architecture(
        4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64"
    )
    assert_device_matches_cpu(
        architecture, corners(100), spec(epochs=3, learning_rate=0.02, optimizer=optimizer), device, mode=mode
    )


COSTS_AND_OUTPUTS = [(cost, output) for cost in COSTS for output in COSTS[cost].outputs]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("cost", "output"), COSTS_AND_OUTPUTS)
def test_costs_and_output_activations_match_cpu(cost: Any, output: ActivationName, device: str) -> None:
    layers = (Layer(6, "tanh"), Layer(3, output))
    architecture = Architecture(4, layers, cost, dtype="float64")
    assert_device_matches_cpu(architecture, corners(50), spec(epochs=2, learning_rate=0.01), device, classes=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hidden", get_args(ActivationName))
def test_hidden_activations_match_cpu(hidden: ActivationName, mode: str, device: str) -> None:
    layers = (Layer(6, hidden, dropout=0.2), Layer(5, hidden, batch_norm=True), Layer(2, "identity"))
    architecture = Architecture(4, layers, "quadratic", dtype="float64")
    settings = spec(epochs=2, learning_rate=0.01, validation_fraction=0.3)
    assert_device_matches_cpu(architecture, numbers(70), settings, device, classes=None, mode=mode)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [2, 16, 33, 1000])
def test_all_settings_combined_match_cpu(batch_size: int, mode: str, device: str) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 2, 101)
    settings = spec(**ALL_SETTINGS, epochs=4, batch_size=batch_size, learning_rate=0.01)
    assert_device_matches_cpu(FULL_ARCHITECTURE, corners(101, weights), settings, device, mode=mode, tolerance=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_separate_validation_dataset_matches_cpu(mode: str, device: str) -> None:
    settings = spec(epochs=3, l2=0.1)
    assert_device_matches_cpu(
        FULL_ARCHITECTURE, corners(50), settings, device, mode=mode, validation=corners(41), tolerance=1e-7
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_block_shuffling_and_rescaled_errors_match_cpu(mode: str, device: str) -> None:
    architecture = Architecture(4, (Layer(6, "tanh"), Layer(2, "identity")), "quadratic", dtype="float64")
    data = replace(numbers(150), target_scale=np.array([3.0, 1e4]))
    settings = spec(epochs=3, shuffle_block=1, batch_size=7, validation_fraction=0.2)
    assert_device_matches_cpu(architecture, data, settings, device, classes=None, mode=mode)


@pytest.mark.parametrize("device", DEVICES)
def test_multi_label_training_matches_cpu(device: str) -> None:
    architecture = Architecture(4, (Layer(5, "relu"), Layer(3, "sigmoid")), "binary_cross_entropy", dtype="float64")
    assert_device_matches_cpu(architecture, corners(60), spec(epochs=3), device, classes=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_stages_and_early_stopping_match_cpu(mode: str, device: str) -> None:
    settings = spec(
        epochs=9,
        optimizer="momentum",
        stages=(Stage(3, learning_rate=0.2, l2=0.0), Stage(3, momentum=0.5, l2=0.3), Stage(3, learning_rate=0.01)),
        early_stopping=EarlyStopping(patience=2),
        validation_fraction=0.3,
    )
    assert_device_matches_cpu(FULL_ARCHITECTURE, corners(80), settings, device, mode=mode, tolerance=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_l_bfgs_with_gradients_of_the_device_matches_cpu(device: str) -> None:
    architecture = Architecture(
        4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64"
    )
    settings = spec(optimizer="l-bfgs")
    expected, expected_history = train(CpuBackend, architecture, corners(60), settings, CLASSES)
    network, history = train(cuda_backend(device), architecture, corners(60), settings, CLASSES)
    expected_costs = [epoch.cost for epoch in expected_history]
    np.testing.assert_allclose([epoch.cost for epoch in history], expected_costs, rtol=1e-6)
    np.testing.assert_allclose(network.parameters, expected.parameters, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_resumed_run_matches_uninterrupted_run_bitwise(mode: str, device: str, tmp_path: Path) -> None:
    make_backend = cuda_backend(device, **MODES[mode])
    dataset, settings = corners(60), spec(**ALL_SETTINGS, epochs=3)

    def create_trainer() -> Trainer:
        network = Network(FULL_ARCHITECTURE)
        return Trainer(network, dataset, settings, classes=CLASSES, make_backend=make_backend)

    uninterrupted = create_trainer()
    history = collect_epochs(uninterrupted.run())
    pauses = sum(1 for _ in create_trainer().run())
    assert pauses > 6
    for stop in range(1, pauses):
        interrupted = create_trainer()
        for _, _ in zip(range(stop), interrupted.run(), strict=False):
            pass
        file = save_checkpoint(tmp_path / "run", Checkpoint.capture(interrupted))
        resumed = create_trainer()
        load_checkpoint(file).restore(resumed)
        remaining_history = collect_epochs(resumed.run())
        np.testing.assert_array_equal(resumed.network.parameters, uninterrupted.network.parameters)
        np.testing.assert_array_equal(resumed.network.statistics, uninterrupted.network.statistics)
        expected_history = history[len(history) - len(remaining_history) :]
        np.testing.assert_array_equal(to_matrix(remaining_history), to_matrix(expected_history))


@pytest.mark.parametrize("device", DEVICES)
def test_divergence_is_detected_at_the_end_of_the_epoch(device: str) -> None:
    architecture = Architecture(4, (Layer(6, "relu"), Layer(2, "identity")), "quadratic")
    data = numbers(64)
    dataset = OpenDataset(data.x.astype(np.float32), data.y.astype(np.float32))
    with pytest.raises(Diverged, match="in epoch 1"):
        train(cuda_backend(device), architecture, dataset, spec(learning_rate=1e9, epochs=50), None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["tf32", "half"])
def test_reduced_precision_costs_are_close_to_full_precision(precision: str, device: str) -> None:
    architecture = Architecture(4, (Layer(32, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy")
    data = corners(300)
    dataset = OpenDataset(data.x.astype(np.float32), data.y.astype(np.float32), data.codes)
    settings = spec(epochs=5)
    _, exact = train(CpuBackend, architecture, dataset, settings, CLASSES)

    def max_relative_error(precision: str) -> float:
        _, history = train(cuda_backend(device, precision=precision), architecture, dataset, settings, CLASSES)
        return max(abs(epoch.cost / expected.cost - 1) for epoch, expected in zip(history, exact, strict=True))

    assert max_relative_error("full") < 1e-6
    assert 1e-6 < max_relative_error(precision) < 3e-3


@pytest.mark.parametrize("device", DEVICES)
def test_mnist_sized_training_matches_cpu(device: str) -> None:
    rows = 2_000 if device == "fake" else 10_000
    generator = np.random.default_rng(3)
    codes = generator.integers(0, 10, rows)
    centres = generator.random((10, 784), np.float32)
    x = centres[codes] + generator.normal(scale=0.6, size=(rows, 784)).astype(np.float32)
    dataset = OpenDataset(x, np.eye(10, dtype=np.float32)[codes])
    architecture = Architecture(784, (Layer(30, "sigmoid"), Layer(10, "softmax")), "categorical_cross_entropy")
    settings = spec(epochs=20, batch_size=200, learning_rate=0.5)
    _, expected = train(CpuBackend, architecture, dataset, settings, None)
    _, history = train(cuda_backend(device), architecture, dataset, settings, None)
    assert expected[-1].cost < expected[0].cost / 2
    np.testing.assert_allclose([epoch.cost for epoch in history], [epoch.cost for epoch in expected], rtol=1e-5)
