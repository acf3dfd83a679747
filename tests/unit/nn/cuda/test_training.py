"""A run on a GPU is the run on the CPU: the same costs, the same network, whatever is switched on."""

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
from nabla.engine.nn.backend import CpuStepper, MakeStepper
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nabla.engine.training.config import EarlyStopping, Stage, TrainingSpec
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from tests.unit.nn.cuda.devices import DEVICES, stepper_on, watched_stepper
from tests.unit.training.sample_datasets import corners, epochs_of, numbers, spec

# What a GPU is given: kernel by kernel, one kernel for whole steps, and data that comes in chunks.
WAYS: dict[str, dict[str, Any]] = {
    "kernels": {"in_one_block": False},
    "one block": {"in_one_block": True},
    "streamed": {"in_one_block": False, "most_bytes_of_data": 3000},
}
CLASSES = ("0", "1", "2")
EVERYTHING: dict[str, Any] = {
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
ALL_OF_A_NETWORK = Architecture(
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
_TIMES = ("seconds", "rows_per_second")


def run(
    make: MakeStepper,
    architecture: Architecture,
    dataset: OpenDataset,
    settings: TrainingSpec,
    classes: tuple[str, ...] | None,
    **others: Any,
) -> tuple[Network, list[Epoch]]:
    network = Network(architecture)
    trainer = Trainer(network, dataset, settings, classes=classes, make_stepper=make, **others)
    return network, epochs_of(trainer.run())


def figures(history: list[Epoch]) -> npt.NDArray[np.float64]:
    return np.array(
        [[np.nan if v is None else v for k, v in asdict(epoch).items() if k not in _TIMES] for epoch in history]
    )


def assert_agree(
    architecture: Architecture,
    dataset: OpenDataset,
    settings: TrainingSpec,
    device: str,
    classes: tuple[str, ...] | None = CLASSES,
    way: str = "kernels",
    tolerance: float = 1e-9,
    **others: Any,
) -> None:
    if device == "stand-in":
        make = watched_stepper(waits_for_chunks=way == "streamed", **WAYS[way])
    else:
        make = stepper_on(device, **WAYS[way])
    expected, costs = run(CpuStepper, architecture, dataset, settings, classes, **others)
    found, costs_found = run(make, architecture, dataset, settings, classes, **others)
    np.testing.assert_allclose(figures(costs_found), figures(costs), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.parameters, expected.parameters, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.statistics, expected.statistics, rtol=tolerance, atol=tolerance)
    assert not np.array_equal(found.parameters, Network(architecture).parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])
def test_optimizers(optimizer: str, way: str, device: str) -> None:
    architecture = Architecture(
        4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64"
    )
    assert_agree(architecture, corners(100), spec(epochs=3, learning_rate=0.02, optimizer=optimizer), device, way=way)


PAIRS = [(cost, output) for cost in COSTS for output in COSTS[cost].outputs]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("cost", "output"), PAIRS)
def test_costs_and_outputs(cost: Any, output: ActivationName, device: str) -> None:
    layers = (Layer(6, "tanh"), Layer(3, output))
    architecture = Architecture(4, layers, cost, dtype="float64")
    assert_agree(architecture, corners(50), spec(epochs=2, learning_rate=0.01), device, classes=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hidden", get_args(ActivationName))
def test_hidden_layers(hidden: ActivationName, way: str, device: str) -> None:
    layers = (Layer(6, hidden, dropout=0.2), Layer(5, hidden, batch_norm=True), Layer(2, "identity"))
    architecture = Architecture(4, layers, "quadratic", dtype="float64")
    settings = spec(epochs=2, learning_rate=0.01, validation_fraction=0.3)
    assert_agree(architecture, numbers(70), settings, device, classes=None, way=way)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [2, 16, 33, 1000])
def test_everything_switched_on(batch_size: int, way: str, device: str) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 2, 101)
    settings = spec(**EVERYTHING, epochs=4, batch_size=batch_size, learning_rate=0.01)
    assert_agree(ALL_OF_A_NETWORK, corners(101, weights), settings, device, way=way, tolerance=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_another_dataset_validates(way: str, device: str) -> None:
    settings = spec(epochs=3, l2=0.1)
    assert_agree(ALL_OF_A_NETWORK, corners(50), settings, device, way=way, validation=corners(41), tolerance=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_rows_in_blocks_and_errors_in_the_units_of_the_targets(way: str, device: str) -> None:
    architecture = Architecture(4, (Layer(6, "tanh"), Layer(2, "identity")), "quadratic", dtype="float64")
    data = replace(numbers(150), units=np.array([3.0, 1e4]))
    settings = spec(epochs=3, shuffle_block=1, batch_size=7, validation_fraction=0.2)
    assert_agree(architecture, data, settings, device, classes=None, way=way)


@pytest.mark.parametrize("device", DEVICES)
def test_labels_that_are_not_exclusive(device: str) -> None:
    architecture = Architecture(4, (Layer(5, "relu"), Layer(3, "sigmoid")), "binary_cross_entropy", dtype="float64")
    assert_agree(architecture, corners(60), spec(epochs=3), device, classes=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_stages_and_early_stopping(way: str, device: str) -> None:
    settings = spec(
        epochs=9,
        optimizer="momentum",
        stages=(Stage(3, learning_rate=0.2, l2=0.0), Stage(3, momentum=0.5, l2=0.3), Stage(3, learning_rate=0.01)),
        early_stopping=EarlyStopping(patience=2),
        validation_fraction=0.3,
    )
    assert_agree(ALL_OF_A_NETWORK, corners(80), settings, device, way=way, tolerance=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_l_bfgs_takes_its_gradients_from_a_gpu(device: str) -> None:
    architecture = Architecture(
        4, (Layer(6, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", dtype="float64"
    )
    expected, costs = run(CpuStepper, architecture, corners(60), spec(optimizer="l-bfgs"), CLASSES)
    found, again = run(stepper_on(device), architecture, corners(60), spec(optimizer="l-bfgs"), CLASSES)
    np.testing.assert_allclose([epoch.cost for epoch in again], [epoch.cost for epoch in costs], rtol=1e-6)
    np.testing.assert_allclose(found.parameters, expected.parameters, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_with_the_same_bits(way: str, device: str, tmp_path: Path) -> None:
    make = stepper_on(device, **WAYS[way])
    dataset, settings = corners(60), spec(**EVERYTHING, epochs=3)

    def fresh() -> Trainer:
        return Trainer(Network(ALL_OF_A_NETWORK), dataset, settings, classes=CLASSES, make_stepper=make)

    whole = fresh()
    history = epochs_of(whole.run())
    count = sum(1 for _ in fresh().run())
    assert count > 6
    for stop in range(1, count):
        interrupted = fresh()
        for _, _ in zip(range(stop), interrupted.run(), strict=False):
            pass
        file = save_checkpoint(tmp_path / "run", Checkpoint.of(interrupted))
        resumed = fresh()
        load_checkpoint(file).restore(resumed)
        rest = epochs_of(resumed.run())
        np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)
        np.testing.assert_array_equal(resumed.network.statistics, whole.network.statistics)
        np.testing.assert_array_equal(figures(rest), figures(history[len(history) - len(rest) :]))


@pytest.mark.parametrize("device", DEVICES)
def test_divergence_is_seen_when_the_epoch_ends(device: str) -> None:
    architecture = Architecture(4, (Layer(6, "relu"), Layer(2, "identity")), "quadratic")
    data = numbers(64)
    single = OpenDataset(data.x.astype(np.float32), data.y.astype(np.float32))
    with pytest.raises(Diverged, match="in epoch 1"):
        run(stepper_on(device), architecture, single, spec(learning_rate=1e9, epochs=50), None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["tf32", "half"])
def test_rounded_operands_train_nearly_the_same(precision: str, device: str) -> None:
    """Farther from the CPU's costs than full precision is, and close all the same."""
    architecture = Architecture(4, (Layer(32, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy")
    data = corners(300)
    single = OpenDataset(data.x.astype(np.float32), data.y.astype(np.float32), data.codes)
    _, exact = run(CpuStepper, architecture, single, spec(epochs=5), CLASSES)

    def distance(precision: str) -> float:
        _, found = run(stepper_on(device, precision=precision), architecture, single, spec(epochs=5), CLASSES)
        return max(abs(one.cost / other.cost - 1) for one, other in zip(found, exact, strict=True))

    assert distance("full") < 1e-6
    assert 1e-6 < distance(precision) < 3e-3


@pytest.mark.parametrize("device", DEVICES)
def test_twenty_epochs_of_a_network_for_mnist(device: str) -> None:
    generator = np.random.default_rng(3)
    codes = generator.integers(0, 10, 10_000)
    centres = generator.random((10, 784), np.float32)
    x = centres[codes] + generator.normal(scale=0.6, size=(10_000, 784)).astype(np.float32)
    dataset = OpenDataset(x, np.eye(10, dtype=np.float32)[codes])
    architecture = Architecture(784, (Layer(30, "sigmoid"), Layer(10, "softmax")), "categorical_cross_entropy")
    settings = spec(epochs=20, batch_size=200, learning_rate=0.5)
    _, expected = run(CpuStepper, architecture, dataset, settings, None)
    _, found = run(stepper_on(device), architecture, dataset, settings, None)
    assert expected[-1].cost < expected[0].cost / 2
    np.testing.assert_allclose([epoch.cost for epoch in found], [epoch.cost for epoch in expected], rtol=1e-5)
