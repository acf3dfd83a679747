"""Every optimizer, schedule, activation and cost, dropout and batch normalization: defaults, and effect on training."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nabla.app.schemas.training import OptimizerFields, schedule_view
from nabla.engine.literals import OptimizerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES
from nabla.engine.training.config import TrainingSpec
from tests.support import scenarios
from tests.support.service import RunningService


def test_optimizer_defaults_of_the_api_match_the_engine() -> None:
    union = get_args(OptimizerFields)[0]
    models = {model.model_fields["type"].annotation.__args__[0]: model for model in get_args(union)}
    assert set(models) == set(OPTIMIZERS)
    for name, model in models.items():
        defaults = {field: info.default for field, info in model.model_fields.items() if field != "type"}
        assert defaults == OPTIMIZERS[name].settings


def test_schedule_defaults_of_the_api_match_the_engine() -> None:
    for name, schedule in SCHEDULES.items():
        view = schedule_view(TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, schedule=name))
        assert isinstance(view, BaseModel)
        assert view.model_dump() == {"type": name, **schedule.settings}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_by_name_or_as_object(service: RunningService, optimizer: OptimizerName) -> None:
    has_steps = optimizer != "l-bfgs"
    options = {"epochs": 20, "learning_rate": 0.01 if has_steps else None, "batch_size": 4 if has_steps else None}
    by_name = scenarios.submit_job(service, optimizer=optimizer, **options)
    settings = {"type": optimizer, **OPTIMIZERS[optimizer].settings}
    assert by_name["optimizer"] == settings
    assert (by_name["learning_rate"], by_name["batch_size"]) == (options["learning_rate"], options["batch_size"])
    if not has_steps:
        settings["maxcor"] = 10
    by_object = scenarios.submit_job(service, optimizer=settings, **options)
    costs = [service.wait_for_job(job["id"]).cost for job in (by_name, by_object)]
    assert costs[0] == costs[1]
    assert costs[0] is not None
    if OPTIMIZERS[optimizer].settings:
        setting = next(iter(OPTIMIZERS[optimizer].settings))
        other = scenarios.submit_job(service, optimizer={**settings, setting: 0.5 if has_steps else 2}, **options)
        assert service.wait_for_job(other["id"]).cost != costs[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_network_with_each_activation_learns(service: RunningService, activation: str) -> None:
    layers = [{"units": 12, "activation": activation}, {"units": 1, "activation": "sigmoid"}]
    network = scenarios.create_network(service, layers=layers)
    job = scenarios.submit_job(service, network_id=network["id"], optimizer="adam", learning_rate=0.05, epochs=200)
    finished = service.wait_for_job(job["id"])
    first = service.get(f"/v1/jobs/{job['id']}/history?limit=1")["data"][0]
    assert finished.cost is not None
    assert finished.cost < first["cost"] * (1.0 if activation == "identity" else 0.5)  # no line separates XOR


@pytest.mark.parametrize(
    ("network", "targets"),
    [
        ({"cost": "mean_absolute"}, [[0], [5], [5], [0]]),
        ({"cost": "huber", "huber_delta": 0.5}, [[0], [5], [5], [0]]),
        ({"cost": "poisson", "output": "softplus"}, [[0], [5], [5], [0]]),
        ({"cost": "binary_cross_entropy", "output": "sigmoid", "units": 2}, [[0, 1], [1, 1], [1, 0], [0, 0]]),
        (
            {"cost": "categorical_cross_entropy", "output": "softmax", "units": 2, "label_smoothing": 0.1},
            [[0, 1], [1, 0], [1, 0], [0, 1]],
        ),
    ],
)
def test_network_with_each_cost_learns(
    service: RunningService, network: dict[str, Any], targets: list[list[float]]
) -> None:
    output = {"units": network.pop("units", 1), "activation": network.pop("output", "identity")}
    created = scenarios.create_network(service, layers=[{"units": 12, "activation": "tanh"}, output], **network)
    assert {name: created[name] for name in network} == network
    dataset = scenarios.create_dataset(service, labels=None, targets=targets)
    job = scenarios.submit_job(
        service,
        network_id=created["id"],
        dataset_id=dataset["id"],
        optimizer="adam",
        learning_rate=0.05,
        epochs=500,
    )
    finished = service.wait_for_job(job["id"])
    assert finished.state == "succeeded"
    outputs = service.post(f"/v1/networks/{created['id']}/predictions", {"inputs": scenarios.XOR_INPUTS})["outputs"]
    for output, target in zip(outputs, targets, strict=True):
        assert output == pytest.approx(target, abs=0.4)


def test_network_with_dropout_and_batch_normalization_learns(service: RunningService) -> None:
    layers = [
        {"units": 32, "activation": "relu", "batch_norm": True, "dropout": 0.1},
        {"units": 1, "activation": "sigmoid", "batch_norm": False, "dropout": 0.0},
    ]
    network = scenarios.create_network(service, layers=layers, input_dropout=0.01)
    assert network["layers"] == layers
    assert network["input_dropout"] == 0.01
    assert network["parameters"] == 2 * 32 + 32 + 32 + 32 + 1
    job = scenarios.submit_job(service, network_id=network["id"], optimizer="adam", learning_rate=0.02, epochs=600)
    finished = service.wait_for_job(job["id"])
    assert finished.state == "succeeded"
    response = service.post(f"/v1/networks/{network['id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert response["labels"] == ["no", "yes", "yes", "no"]
