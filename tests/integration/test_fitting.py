"""Over HTTP: what decides when a job ends, which rows count, where it begins, and what its history tells."""

from typing import Any

import pytest

from tests.support import scenarios
from tests.support.service import RunningService


def history(service: RunningService, job: dict[str, Any]) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = service.get(f"/v1/jobs/{job['id']}/history")["data"]
    return epochs


def lines(service: RunningService, **change: Any) -> dict[str, Any]:
    """Numbers on a plane."""
    inputs = [[x / 5, y / 5] for x in range(-5, 6) for y in range(-5, 6)]
    return scenarios.dataset(service, inputs=inputs, labels=None, targets=[[x - y] for x, y in inputs], **change)


def linear(service: RunningService) -> dict[str, Any]:
    return scenarios.network(service, layers=[{"units": 1, "activation": "identity"}], cost="quadratic")


def test_settings_come_back_as_they_were_given(service: RunningService) -> None:
    given: dict[str, Any] = {
        "l1": 0.5,
        "l2": 1.5,
        "clip_value": 0.1,
        "clip_norm": 1.0,
        "max_norm": 3.0,
        "class_weights": {"no": 2.0, "yes": 1.0},
        "early_stopping": {"patience": 300, "min_delta": 0.001, "restore_best_weights": False},
        "target_cost": 0.0001,
        "max_seconds": 100.0,
        "warm_start": True,
        "validation": {"fraction": 0.25, "stratified": False, "dataset_id": None},
        "schedule": {"type": "cosine", "warmup_epochs": 2.0, "minimum": 0.001},
        "epochs": 300,
    }
    job = scenarios.job(service, **given)
    assert {name: job[name] for name in given} == given
    done = service.finished(job["id"])
    assert (done.state, done.stopped, done.start_version) == ("succeeded", "epochs", 0)


def test_stages_give_the_epochs_and_come_back(service: RunningService) -> None:
    stages = [[3, {"learning_rate": 2.0}], [2, {"l2": 1.0, "momentum": 0.3}]]
    job = scenarios.job(service, schedule=stages, epochs=None, optimizer="momentum")
    assert job["epochs"] == 5
    unset = {"learning_rate": None, "l2": None, "momentum": None}
    assert job["schedule"] == [[3, {**unset, "learning_rate": 2.0}], [2, {**unset, "l2": 1.0, "momentum": 0.3}]]
    service.finished(job["id"])
    epochs = history(service, job)
    assert [epoch["learning_rate"] for epoch in epochs] == [2.0] * 5
    assert epochs[3]["cost"] > epochs[2]["cost"]  # the penalty


def test_a_history_of_numbers(service: RunningService) -> None:
    job = scenarios.job(
        service,
        network_id=linear(service)["id"],
        dataset_id=lines(service)["id"],
        learning_rate=0.1,
        epochs=40,
        validation={"fraction": 0.2},
    )
    service.finished(job["id"])
    last = history(service, job)[-1]
    assert last["accuracy"] is None
    assert last["validation_accuracy"] is None
    for name in ("r2", "validation_r2"):
        assert 0.99 < last[name] <= 1
    for name in ("mae", "rmse", "validation_mae", "validation_rmse"):
        assert 0 < last[name] < 0.1
    assert last["gradient_norm"] > 0
    assert last["rows_per_second"] > 1000
    assert last["learning_rate"] == 0.1


def test_early_stopping_publishes_the_best_epoch(service: RunningService) -> None:
    """Rates that rise without end: the cost falls at first and grows later."""
    stages = [[1, {"learning_rate": 0.01 * 1.3**epoch}] for epoch in range(60)]
    network, dataset = linear(service)["id"], lines(service)["id"]
    fields: dict[str, Any] = {"network_id": network, "dataset_id": dataset, "epochs": None, "batch_size": 121}
    stopping = {"patience": 2}
    job = scenarios.job(service, schedule=stages, early_stopping=stopping, validation={"fraction": 0.3}, **fields)
    done = service.finished(job["id"])
    costs = [epoch["validation_cost"] for epoch in history(service, job)]
    assert (done.state, done.stopped) == ("succeeded", "patience")
    assert done.best_epoch == costs.index(min(costs)) + 1 == len(costs) - 2
    again = scenarios.job(
        service, schedule=stages[: done.best_epoch], validation={"fraction": 0.3}, **{**fields, "network_id": network}
    )
    assert service.finished(again["id"]).network_version == 2
    inputs = {"inputs": [[0.3, -0.4]]}
    answers = [
        service.post(f"/v1/networks/{network}/predictions", {**inputs, "version": version})["outputs"]
        for version in (1, 2)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"target_cost": 0.3}, "target_cost"),
        ({"max_seconds": 0.05}, "max_seconds"),
        ({"optimizer": "l-bfgs", "batch_size": None, "learning_rate": None}, "converged"),
    ],
)
def test_what_ends_a_job_is_told(service: RunningService, settings: dict[str, Any], reason: str) -> None:
    job = scenarios.job(service, **{"epochs": 10**6, **settings})
    done = service.finished(job["id"])
    assert (done.state, done.stopped, done.network_version) == ("succeeded", reason, 1)
    assert 0 < done.epoch < 10**6


def test_another_dataset_validates_and_is_kept_meanwhile(service: RunningService) -> None:
    other = scenarios.dataset(service, inputs=[[0, 0.1], [1, 0.1]], labels=["no", "yes"])
    running = scenarios.endless(service, validation={"dataset_id": other["id"]})
    assert running["validation"]["dataset_id"] == other["id"]
    answer = service.http.delete(f"/v1/datasets/{other['id']}")
    assert (answer.status_code, running["id"] in answer.text) == (409, True)
    service.post(f"/v1/jobs/{running['id']}/cancel")
    job = scenarios.job(service, validation={"dataset_id": other["id"]})
    service.finished(job["id"])
    assert history(service, job)[-1]["validation_accuracy"] == 1
    assert service.http.delete(f"/v1/datasets/{other['id']}").status_code == 204


def test_a_warm_start_goes_on_where_the_network_is(service: RunningService) -> None:
    fields = {"network_id": linear(service)["id"], "dataset_id": lines(service)["id"], "learning_rate": 0.05}
    first = scenarios.job(service, **fields, epochs=5, batch_size=121)
    second = scenarios.job(service, **fields, epochs=5, batch_size=121, warm_start=True)
    third = scenarios.job(service, **fields, epochs=10, batch_size=121)
    versions = [service.finished(job["id"]).start_version for job in (first, second, third)]
    assert versions == [0, 1, 0]
    costs = [epoch["cost"] for job in (first, second) for epoch in history(service, job)]
    assert costs == [epoch["cost"] for epoch in history(service, third)]


def test_a_row_without_weight_teaches_nothing(service: RunningService) -> None:
    """The last two rows contradict the first two."""
    rows = {"inputs": [[0], [1], [0], [1]], "labels": None, "targets": [[0], [1], [9], [9]]}
    network = scenarios.network(service, inputs=1, layers=[{"units": 1, "activation": "identity"}], cost="quadratic")[
        "id"
    ]
    for weights, expected in (([1, 1, 0, 0], 1.0), ([0, 0, 1, 1], 9.0)):
        dataset = scenarios.dataset(service, weights=weights, **rows)
        job = scenarios.job(service, network_id=network, dataset_id=dataset["id"], learning_rate=0.3, shuffle=False)
        assert service.finished(job["id"]).state == "succeeded"
        found = service.post(f"/v1/networks/{network}/predictions", {"inputs": [[1]]})["outputs"][0][0]
        assert found == pytest.approx(expected, abs=0.05)


def test_dropout_and_batch_normalization_from_end_to_end(service: RunningService) -> None:
    layers = [
        {"units": 32, "activation": "relu", "batch_norm": True, "dropout": 0.1},
        {"units": 1, "activation": "sigmoid", "batch_norm": False, "dropout": 0.0},
    ]
    network = scenarios.network(service, layers=layers, input_dropout=0.01)
    assert network["layers"] == layers
    assert network["input_dropout"] == 0.01
    assert network["parameters"] == 2 * 32 + 32 + 32 + 32 + 1
    job = scenarios.job(service, network_id=network["id"], optimizer="adam", learning_rate=0.02, epochs=600)
    done = service.finished(job["id"])
    assert done.state == "succeeded"
    answer = service.post(f"/v1/networks/{network['id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert answer["labels"] == ["no", "yes", "yes", "no"]
