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
        ({"labels": ["off", "on", "on", "off"]}, "no, yes"),
        ({"classes": ["yes", "no"]}, "yes, no"),
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
    # Version 0 was not trained, and takes the classes of the dataset.
    metrics = evaluate(service, network, other, version=0)
    labels = [scores["label"] for scores in metrics["classes"] or []]
    assert labels == (other["classes"] or [])


def test_evaluation_does_not_disturb_a_running_job(service: RunningService) -> None:
    dataset = scenarios.create_dataset(service)
    job = scenarios.submit_endless_job(service, dataset_id=dataset["id"])
    service.wait_for_epoch(job["id"], 1)
    metrics = evaluate(service, job["network_id"], dataset)
    assert metrics["version"] == 0
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    service.post(f"/v1/jobs/{job['id']}/cancel")
