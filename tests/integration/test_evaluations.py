"""Evaluations over HTTP and with the client."""

from typing import Any

import pytest

from nabla.app.client import Client
from tests.support import scenarios
from tests.support.service import RunningService

REGRESSION: dict[str, Any] = {"cost": "quadratic", "layers": [{"units": 2, "activation": "identity"}]}
TARGETS: dict[str, Any] = {"labels": None, "targets": [[0, 1], [1, 1], [2, 1], [3, 1]]}


def train_xor(service: RunningService, **dataset: Any) -> str:
    """Return the id of a network trained on XOR, which has version 1."""
    network = scenarios.create_network(service)["id"]
    job = scenarios.submit_job(
        service, network_id=network, dataset_id=scenarios.create_dataset(service, **dataset)["id"]
    )
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return str(network)


def evaluate(service: RunningService, network: str, dataset: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/evaluations", {"dataset_id": dataset["id"], **fields}, 200)


def test_classification_metrics_with_the_client(service: RunningService) -> None:
    network = train_xor(service, name="evaluated")
    with Client(service.url) as client:
        trained = client.get_network(network).evaluate("evaluated")
        initial = client.get_network(network).evaluate("evaluated", version=0)
    assert (trained.network_id, trained.version, trained.rows, trained.accuracy) == (network, 1, 4, 1.0)
    assert trained.dataset_id == service.get("/v1/datasets/evaluated")["id"]
    assert trained.confusion_matrix == [[2, 0], [0, 2]]
    assert trained.classes is not None
    assert [
        (scores.label, scores.precision, scores.recall, scores.f1, scores.support) for scores in trained.classes
    ] == [
        ("no", 1.0, 1.0, 1.0, 2),
        ("yes", 1.0, 1.0, 1.0, 2),
    ]
    assert trained.macro is not None
    assert trained.macro.f1 == 1.0
    assert (trained.r2, trained.mae, trained.rmse, trained.outputs) == (None, None, None, None)
    assert initial.version == 0
    assert initial.cost > trained.cost > 0


def create_numbered_dataset(service: RunningService, rows: int, first: int = 0, **fields: Any) -> dict[str, Any]:
    """Create a dataset whose rows are all different: x is the number of the row, y is x."""
    inputs = [[number, 0] for number in range(first, first + rows)]
    body = {"inputs": inputs, "targets": [[row[0]] for row in inputs], **fields}
    return service.post("/v1/datasets", body, 201)


def train_line(service: RunningService, dataset: str, **fields: Any) -> str:
    """Return the id of a network trained on numbered rows."""
    layers = [{"units": 1, "activation": "identity"}]
    preprocessing = {"inputs": "standardize"}
    network = scenarios.create_network(service, layers=layers, cost="quadratic", preprocessing=preprocessing)["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset, epochs=2, learning_rate=0.01, **fields)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return str(network)


def evaluate_default(service: RunningService, network: str, **fields: Any) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/evaluations", fields, 200)


def test_default_rows_are_the_other_part_of_the_split(service: RunningService) -> None:
    dataset = create_numbered_dataset(service, 40)["id"]
    body = {"splits": [{"name": "line-train", "share": 0.75}, {"name": "line-test", "share": 0.25}]}
    training, test = service.post(f"/v1/datasets/{dataset}/split", body, 201)["data"]
    assert (training["split_from"], training["split_with"]) == (dataset, [test["id"]])
    network = train_line(service, training["id"], validation={"fraction": 0.2})
    metrics = evaluate_default(service, network)
    assert (metrics["dataset_id"], metrics["rows"], metrics["trained_rows"]) == (test["id"], 10, 0)
    assert (metrics["selection"], metrics["warnings"]) == ("all", [])
    # Of the whole dataset the test rows are unseen, and the rows that were held out for validation.
    whole = evaluate_default(service, network, dataset_id=dataset)
    assert (whole["selection"], whole["rows"], whole["trained_rows"]) == ("unseen", 16, 0)
    assert whole["warnings"] == ["Only the 16 of 40 rows that the network was not trained on are used."]
    every = evaluate_default(service, network, dataset_id=dataset, rows="all")
    assert (every["selection"], every["rows"], every["trained_rows"]) == ("all", 40, 24)
    (warning,) = every["warnings"]
    assert warning.startswith("24 of the 40 rows equal rows that the network was trained on")


def test_default_rows_are_those_of_the_validation_dataset(service: RunningService) -> None:
    training, validation = create_numbered_dataset(service, 40)["id"], create_numbered_dataset(service, 8, 100)["id"]
    network = train_line(service, training, validation={"dataset_id": validation})
    metrics = evaluate_default(service, network)
    assert (metrics["dataset_id"], metrics["rows"], metrics["trained_rows"]) == (validation, 8, 0)


def test_default_rows_are_those_held_out_for_validation(service: RunningService) -> None:
    training = create_numbered_dataset(service, 40)["id"]
    network = train_line(service, training, validation={"fraction": 0.25})
    for fields in ({}, {"dataset_id": training}, {"dataset_id": create_numbered_dataset(service, 40)["id"]}):
        metrics = evaluate_default(service, network, **fields)
        assert (metrics["selection"], metrics["rows"], metrics["trained_rows"]) == ("unseen", 10, 0)
    history = service.history(service.get(f"/v1/networks/{network}/versions/current")["job_id"])
    assert evaluate_default(service, network)["r2"] == pytest.approx(history[-1].validation_r2, rel=1e-5)


def test_trained_rows_are_counted_in_other_datasets(service: RunningService) -> None:
    network = train_line(service, create_numbered_dataset(service, 40)["id"])
    overlapping = create_numbered_dataset(service, 40, 30)["id"]
    metrics = evaluate_default(service, network, dataset_id=overlapping)
    assert (metrics["selection"], metrics["rows"], metrics["trained_rows"]) == ("all", 40, 10)
    assert "10 of the 40 rows equal rows that the network was trained on" in metrics["warnings"][0]
    unseen = evaluate_default(service, network, dataset_id=overlapping, rows="unseen")
    assert (unseen["rows"], unseen["trained_rows"]) == (30, 0)


def test_trained_rows_include_those_of_earlier_jobs(service: RunningService) -> None:
    first, second = create_numbered_dataset(service, 20)["id"], create_numbered_dataset(service, 20, 20)["id"]
    network = train_line(service, first)
    clone = service.post(f"/v1/networks/{network}/clones", {}, 201)["id"]
    job = scenarios.submit_job(service, network_id=clone, dataset_id=second, epochs=1, learning_rate=0.01)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    assert evaluate_default(service, clone, dataset_id=first)["trained_rows"] == 20
    every = create_numbered_dataset(service, 60)["id"]
    assert evaluate_default(service, clone, dataset_id=every, rows="all")["trained_rows"] == 40
    assert evaluate_default(service, network, dataset_id=every)["trained_rows"] == 20


def test_without_unseen_rows_a_dataset_has_to_be_named(service: RunningService) -> None:
    training = create_numbered_dataset(service, 40)["id"]
    network = train_line(service, training)
    url = f"/v1/networks/{network}/evaluations"
    (error,) = service.post(url, {}, 422)["errors"]
    assert (error["field"], "held out no rows" in error["message"]) == ("dataset_id", True)
    (error,) = service.post(url, {"dataset_id": training, "rows": "unseen"}, 422)["errors"]
    assert (error["field"], "all rows" in error["message"]) == ("rows", True)
    metrics = evaluate_default(service, network, dataset_id=training)
    assert metrics["trained_rows"] == 40
    assert "trained on all 40 rows" in metrics["warnings"][0]
    job = service.get(f"/v1/networks/{network}/versions/current")["job_id"]
    assert service.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert evaluate_default(service, network, dataset_id=training)["trained_rows"] is None
    (error,) = service.post(url, {}, 422)["errors"]
    assert "its job was deleted" in error["message"]


def test_regression_metrics(service: RunningService) -> None:
    network = scenarios.create_network(service, **REGRESSION)["id"]
    metrics = evaluate(service, network, scenarios.create_dataset(service, **TARGETS))
    for field in ("accuracy", "classes", "macro", "confusion_matrix"):
        assert metrics[field] is None
    first, second = metrics["outputs"]
    assert second["r2"] is None
    assert metrics["r2"] == first["r2"]
    for field in ("mae", "rmse"):
        assert metrics[field] == pytest.approx((first[field] + second[field]) / 2)
    assert metrics["cost"] == pytest.approx((first["rmse"] ** 2 + second["rmse"] ** 2) / 2, rel=1e-5)


def test_sample_weights_affect_only_the_cost(service: RunningService) -> None:
    network = scenarios.create_network(service, **REGRESSION)["id"]
    costs = [
        evaluate(service, network, scenarios.create_dataset(service, labels=None, inputs=[row], targets=[target]))[
            "cost"
        ]
        for row, target in zip(scenarios.XOR_INPUTS, TARGETS["targets"], strict=True)
    ]
    unweighted = evaluate(service, network, scenarios.create_dataset(service, **TARGETS))
    weighted = evaluate(service, network, scenarios.create_dataset(service, **TARGETS, weights=[1, 0, 0, 3]))
    assert unweighted["cost"] == pytest.approx(sum(costs) / 4, rel=1e-5)
    assert weighted["cost"] == pytest.approx((costs[0] + 3 * costs[3]) / 4, rel=1e-5)
    assert weighted["outputs"] == unweighted["outputs"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ({"labels": ["off", "on", "on", "off"]}, "the network are no, yes; the dataset has the classes off, on"),
        ({"labels": ["no", "yes", "maybe", "no"]}, "does not know maybe"),
        ({"labels": None, "targets": [[0], [1], [1], [0]]}, "no classes"),
    ],
)
def test_trained_version_requires_its_classes(service: RunningService, dataset: dict[str, Any], expected: str) -> None:
    network, other = train_xor(service), scenarios.create_dataset(service, **dataset)
    response = service.http.post(f"/v1/networks/{network}/evaluations", json={"dataset_id": other["id"]})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "dataset_id"
    assert expected in error["message"]


def test_untrained_version_takes_the_classes_of_the_dataset(service: RunningService) -> None:
    network, other = train_xor(service), scenarios.create_dataset(service, labels=["off", "on", "on", "off"])
    metrics = evaluate(service, network, other, version=0)
    assert [scores["label"] for scores in metrics["classes"]] == ["off", "on"]


def test_evaluation_does_not_disturb_a_running_job(service: RunningService) -> None:
    dataset = scenarios.create_dataset(service)
    job = scenarios.submit_endless_job(service, dataset_id=dataset["id"])
    service.wait_for_epoch(job["id"], 1)
    metrics = evaluate(service, job["network_id"], dataset)
    assert metrics["version"] == 0
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    service.post(f"/v1/jobs/{job['id']}/cancel")
