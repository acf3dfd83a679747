"""Options of jobs: schedules, stopping, validation, warm starts, sample weights and shuffling; regression metrics."""

from typing import Any

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService


def get_history(service: RunningService, job: dict[str, Any]) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = service.get(f"/v1/jobs/{job['id']}/history")["data"]
    return epochs


def create_linear_dataset(service: RunningService, **change: Any) -> dict[str, Any]:
    """Create a dataset of 121 rows on a plane, with these fields changed."""
    inputs = [[x / 5, y / 5] for x in range(-5, 6) for y in range(-5, 6)]
    return scenarios.create_dataset(service, inputs=inputs, labels=None, targets=[[x - y] for x, y in inputs], **change)


def create_linear_network(service: RunningService) -> dict[str, Any]:
    return scenarios.create_network(service, layers=[{"units": 1, "activation": "identity"}], cost="quadratic")


def test_options_are_returned_as_they_were_sent(service: RunningService) -> None:
    options: dict[str, Any] = {
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
    job = scenarios.submit_job(service, **options)
    assert {name: job[name] for name in options} == options
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.stop_reason, finished.start_version) == ("succeeded", "epochs", 0)


def test_stages_determine_the_epochs(service: RunningService) -> None:
    stages = [[3, {"learning_rate": 2.0}], [2, {"l2": 1.0, "momentum": 0.3}]]
    job = scenarios.submit_job(service, schedule=stages, epochs=None, optimizer="momentum")
    assert job["epochs"] == 5
    unset = {"learning_rate": None, "l2": None, "momentum": None}
    assert job["schedule"] == [[3, {**unset, "learning_rate": 2.0}], [2, {**unset, "l2": 1.0, "momentum": 0.3}]]
    service.wait_for_job(job["id"])
    epochs = get_history(service, job)
    assert [epoch["learning_rate"] for epoch in epochs] == [2.0] * 5
    assert epochs[3]["cost"] > epochs[2]["cost"]  # the penalty of l2


def test_history_has_regression_metrics(service: RunningService) -> None:
    job = scenarios.submit_job(
        service,
        network_id=create_linear_network(service)["id"],
        dataset_id=create_linear_dataset(service)["id"],
        learning_rate=0.1,
        epochs=40,
        validation={"fraction": 0.2},
    )
    service.wait_for_job(job["id"])
    last = get_history(service, job)[-1]
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
    """The learning rate grows from stage to stage, so that the cost falls at first and rises later."""
    stages = [[1, {"learning_rate": 0.01 * 1.3**epoch}] for epoch in range(60)]
    network, dataset = create_linear_network(service)["id"], create_linear_dataset(service)["id"]
    fields: dict[str, Any] = {"network_id": network, "dataset_id": dataset, "epochs": None, "batch_size": 121}
    job = scenarios.submit_job(
        service, schedule=stages, early_stopping={"patience": 2}, validation={"fraction": 0.3}, **fields
    )
    finished = service.wait_for_job(job["id"])
    costs = [epoch["validation_cost"] for epoch in get_history(service, job)]
    assert (finished.state, finished.stop_reason) == ("succeeded", "patience")
    assert finished.best_epoch == costs.index(min(costs)) + 1 == len(costs) - 2
    again = scenarios.submit_job(
        service,
        schedule=stages[: finished.best_epoch],
        validation={"fraction": 0.3},
        **{**fields, "network_id": network},
    )
    assert service.wait_for_job(again["id"]).network_version == 2
    inputs = {"inputs": [[0.3, -0.4]]}
    outputs = [
        service.post(f"/v1/networks/{network}/predictions", {**inputs, "version": version})["outputs"]
        for version in (1, 2)
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"target_cost": 0.3}, "target_cost"),
        ({"max_seconds": 0.05}, "max_seconds"),
        ({"optimizer": "l-bfgs", "batch_size": None, "learning_rate": None}, "converged"),
    ],
)
def test_stop_reason_is_reported(service: RunningService, settings: dict[str, Any], reason: str) -> None:
    job = scenarios.submit_job(service, **{"epochs": 10**6, **settings})
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.stop_reason, finished.network_version) == ("succeeded", reason, 1)
    assert 0 < finished.epoch < 10**6


def test_time_limit_before_the_first_epoch_ends_publishes_nothing(service: RunningService) -> None:
    dataset = scenarios.create_2000_row_dataset(service)["id"]
    network = train_xor(service)
    job = scenarios.submit_job(
        service, network_id=network, dataset_id=dataset, batch_size=1, max_seconds=1e-6, warm_start=True
    )
    failed = service.wait_for_job(job["id"])
    assert failed.error is not None
    assert (failed.state, failed.error.kind, failed.network_version) == ("failed", "out_of_time", None)
    assert "of 2000 rows" in failed.error.message
    assert service.get(f"/v1/networks/{network}")["version"] == 1


def test_time_limit_with_weights_worse_than_at_the_start_publishes_nothing(service: RunningService) -> None:
    # The best output for labels that contradict each other is ½, from which a high learning rate only leads away.
    dataset = scenarios.create_dataset(service, inputs=[[0, 0]] * 4, labels=["no", "yes", "no", "yes"])["id"]
    job = scenarios.submit_job(
        service, dataset_id=dataset, batch_size=1, epochs=10**9, learning_rate=1e3, max_seconds=0.5
    )
    failed = service.wait_for_job(job["id"])
    assert failed.error is not None
    assert (failed.state, failed.error.kind, failed.network_version) == ("failed", "out_of_time", None)
    assert "above the" in failed.error.message
    assert service.get(f"/v1/networks/{job['network_id']}")["version"] == 0


def train_xor(service: RunningService) -> str:
    job = scenarios.submit_job(service)
    assert service.wait_for_job(job["id"]).network_version == 1
    network: str = job["network_id"]
    return network


def test_validation_dataset_is_protected_while_in_use(service: RunningService) -> None:
    other = scenarios.create_dataset(service, inputs=[[0, 0.1], [1, 0.1]], labels=["no", "yes"])
    running = scenarios.submit_endless_job(service, validation={"dataset_id": other["id"]})
    assert running["validation"]["dataset_id"] == other["id"]
    response = service.http.delete(f"/v1/datasets/{other['id']}")
    assert (response.status_code, running["id"] in response.text) == (409, True)
    service.post(f"/v1/jobs/{running['id']}/cancel")
    job = scenarios.submit_job(service, validation={"dataset_id": other["id"]})
    service.wait_for_job(job["id"])
    assert get_history(service, job)[-1]["validation_accuracy"] == 1
    assert service.http.delete(f"/v1/datasets/{other['id']}").status_code == 204


def test_warm_start_continues_from_the_current_version(service: RunningService) -> None:
    fields = {
        "network_id": create_linear_network(service)["id"],
        "dataset_id": create_linear_dataset(service)["id"],
        "learning_rate": 0.05,
    }
    first = scenarios.submit_job(service, **fields, epochs=5, batch_size=121)
    second = scenarios.submit_job(service, **fields, epochs=5, batch_size=121, warm_start=True)
    third = scenarios.submit_job(service, **fields, epochs=10, batch_size=121)
    versions = [service.wait_for_job(job["id"]).start_version for job in (first, second, third)]
    assert versions == [0, 1, 0]
    costs = [epoch["cost"] for job in (first, second) for epoch in get_history(service, job)]
    assert costs == [epoch["cost"] for epoch in get_history(service, third)]


def test_rows_of_weight_0_have_no_effect(service: RunningService) -> None:
    """The last two rows contradict the first two."""
    rows = {"inputs": [[0], [1], [0], [1]], "labels": None, "targets": [[0], [1], [9], [9]]}
    network = scenarios.create_network(
        service, inputs=1, layers=[{"units": 1, "activation": "identity"}], cost="quadratic"
    )["id"]
    for weights, expected in (([1, 1, 0, 0], 1.0), ([0, 0, 1, 1], 9.0)):
        dataset = scenarios.create_dataset(service, weights=weights, **rows)
        job = scenarios.submit_job(
            service, network_id=network, dataset_id=dataset["id"], learning_rate=0.3, shuffle=False
        )
        assert service.wait_for_job(job["id"]).state == "succeeded"
        output = service.post(f"/v1/networks/{network}/predictions", {"inputs": [[1]]})["outputs"][0][0]
        assert output == pytest.approx(expected, abs=0.05)


def test_rows_keep_their_order_without_shuffling(service: RunningService) -> None:
    job = scenarios.submit_job(service, shuffle=False, batch_size=1, epochs=5)
    assert job["shuffle"] is False
    other = scenarios.submit_job(service, shuffle=False, batch_size=1, epochs=5, seed=8)
    assert service.wait_for_job(job["id"]).cost == service.wait_for_job(other["id"]).cost
    shuffled = scenarios.submit_job(service, batch_size=1, epochs=5)
    assert service.wait_for_job(shuffled["id"]).cost != service.wait_for_job(job["id"]).cost


def test_dataset_larger_than_the_memory_limit_is_shuffled_in_blocks(start_service: StartService) -> None:
    service = start_service(data_memory_limit="8000", checkpoint_interval="0.05")
    data = scenarios.create_dataset(
        service, inputs=scenarios.XOR_INPUTS * 500, labels=["no", "yes", "yes", "no"] * 500
    )["id"]
    large = scenarios.submit_job(service, dataset_id=data, epochs=20)
    assert (large["shuffle"], large["shuffle_mode"]) == (True, "blocks")
    small = scenarios.submit_job(service)
    assert small["shuffle_mode"] == "rows"
    unshuffled = scenarios.submit_job(service, dataset_id=data, epochs=1, shuffle=False)
    assert (unshuffled["shuffle"], unshuffled["shuffle_mode"]) == (False, "none")
    finished = service.wait_for_job(large["id"])
    assert (finished.state, finished.shuffle_mode) == ("succeeded", "blocks")
    predictions = service.post(f"/v1/networks/{large['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert predictions["labels"] == ["no", "yes", "yes", "no"]
