"""Every setting over HTTP: what is left out has its default, and what is set does something."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nabla.app.schemas.training import OptimizerFields, schedule_view
from nabla.engine.literals import OptimizerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES
from nabla.engine.training.config import TrainingSpec
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService


def test_the_defaults_in_the_schema_are_those_of_the_engine() -> None:
    union = get_args(OptimizerFields)[0]
    models = {model.model_fields["type"].annotation.__args__[0]: model for model in get_args(union)}
    assert set(models) == set(OPTIMIZERS)
    for name, model in models.items():
        defaults = {field: info.default for field, info in model.model_fields.items() if field != "type"}
        assert defaults == OPTIMIZERS[name].settings


def test_the_schedules_of_the_schema_are_those_of_the_engine() -> None:
    for name, schedule in SCHEDULES.items():
        view = schedule_view(TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, schedule=name))
        assert isinstance(view, BaseModel)
        assert view.model_dump() == {"type": name, **schedule.settings}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_by_name_and_as_objects(service: RunningService, optimizer: OptimizerName) -> None:
    by_steps = optimizer != "l-bfgs"
    usual = {"epochs": 20, "learning_rate": 0.01 if by_steps else None, "batch_size": 4 if by_steps else None}
    by_name = scenarios.job(service, optimizer=optimizer, **usual)
    whole = {"type": optimizer, **OPTIMIZERS[optimizer].settings}
    assert by_name["optimizer"] == whole
    assert (by_name["learning_rate"], by_name["batch_size"]) == (usual["learning_rate"], usual["batch_size"])
    if not by_steps:
        whole["maxcor"] = 10
    by_object = scenarios.job(service, optimizer=whole, **usual)
    costs = [service.finished(job["id"]).cost for job in (by_name, by_object)]
    assert costs[0] == costs[1]
    assert costs[0] is not None
    if OPTIMIZERS[optimizer].settings:
        setting = next(iter(OPTIMIZERS[optimizer].settings))
        other = scenarios.job(service, optimizer={**whole, setting: 0.5 if by_steps else 2}, **usual)
        assert service.finished(other["id"]).cost != costs[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns(service: RunningService, activation: str) -> None:
    layers = [{"units": 12, "activation": activation}, {"units": 1, "activation": "sigmoid"}]
    network = scenarios.network(service, layers=layers)
    job = scenarios.job(service, network_id=network["id"], optimizer="adam", learning_rate=0.05, epochs=200)
    done = service.finished(job["id"])
    first = service.get(f"/v1/jobs/{job['id']}/history?limit=1")["data"][0]
    assert done.cost is not None
    assert done.cost < first["cost"] * (1.0 if activation == "identity" else 0.5)  # no line separates XOR


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
def test_every_cost_learns(service: RunningService, network: dict[str, Any], targets: list[list[float]]) -> None:
    output = {"units": network.pop("units", 1), "activation": network.pop("output", "identity")}
    made = scenarios.network(service, layers=[{"units": 12, "activation": "tanh"}, output], **network)
    assert {name: made[name] for name in network} == network
    dataset = scenarios.dataset(service, labels=None, targets=targets)
    job = scenarios.job(
        service,
        network_id=made["id"],
        dataset_id=dataset["id"],
        optimizer="adam",
        learning_rate=0.05,
        epochs=500,
    )
    done = service.finished(job["id"])
    assert done.state == "succeeded"
    answers = service.post(f"/v1/networks/{made['id']}/predictions", {"inputs": scenarios.XOR_INPUTS})["outputs"]
    for found, wanted in zip(answers, targets, strict=True):
        assert found == pytest.approx(wanted, abs=0.4)


def test_without_shuffling_the_order_is_that_of_the_dataset(service: RunningService) -> None:
    job = scenarios.job(service, shuffle=False, batch_size=1, epochs=5)
    assert job["shuffle"] is False
    other = scenarios.job(service, shuffle=False, batch_size=1, epochs=5, seed=8)
    assert service.finished(job["id"]).cost == service.finished(other["id"]).cost
    shuffled = scenarios.job(service, batch_size=1, epochs=5)
    assert service.finished(shuffled["id"]).cost != service.finished(job["id"]).cost


def test_data_beyond_the_memory_for_them_are_shuffled_in_blocks(start_service: StartService) -> None:
    service = start_service(data_memory_limit="8000", checkpoint_seconds="0.05")
    data = scenarios.dataset(service, inputs=scenarios.XOR_INPUTS * 500, labels=["no", "yes", "yes", "no"] * 500)["id"]
    large = scenarios.job(service, dataset_id=data, epochs=20)
    assert (large["shuffle"], large["shuffle_mode"]) == (True, "blocks")
    small = scenarios.job(service)
    assert small["shuffle_mode"] == "rows"
    still = scenarios.job(service, dataset_id=data, epochs=1, shuffle=False)
    assert (still["shuffle"], still["shuffle_mode"]) == (False, "none")
    done = service.finished(large["id"])
    assert (done.state, done.shuffle_mode) == ("succeeded", "blocks")
    answers = service.post(f"/v1/networks/{large['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert answers["labels"] == ["no", "yes", "yes", "no"]
