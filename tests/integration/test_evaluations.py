"""How good a network is, over HTTP."""

from typing import Any

import pytest

from nabla.app.client import Client
from tests.support import scenarios
from tests.support.service import RunningService

REGRESSION: dict[str, Any] = {"cost": "quadratic", "layers": [{"units": 2, "activation": "identity"}]}
TARGETS: dict[str, Any] = {"labels": None, "targets": [[0, 1], [1, 1], [2, 1], [3, 1]]}


def trained(service: RunningService, **dataset: Any) -> str:
    """A network that has learned XOR, and so has a version 1."""
    network = scenarios.network(service)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=scenarios.dataset(service, **dataset)["id"])
    assert service.finished(job["id"]).state == "succeeded"
    return str(network)


def evaluation(service: RunningService, network: str, dataset: dict[str, Any], **more: Any) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/evaluations", {"dataset_id": dataset["id"], **more}, 200)


def test_xor_with_the_client(service: RunningService) -> None:
    network = trained(service, name="evaluated")
    with Client(service.url) as client:
        now = client.network(network).evaluate("evaluated")
        start = client.network(network).evaluate("evaluated", version=0)
    assert (now.network_id, now.version, now.rows, now.accuracy) == (network, 1, 4, 1.0)
    assert now.dataset_id == service.get("/v1/datasets/evaluated")["id"]
    assert now.confusion_matrix == [[2, 0], [0, 2]]
    assert now.classes is not None
    assert [(one.label, one.precision, one.recall, one.f1, one.support) for one in now.classes] == [
        ("no", 1.0, 1.0, 1.0, 2),
        ("yes", 1.0, 1.0, 1.0, 2),
    ]
    assert now.macro is not None
    assert now.macro.f1 == 1.0
    assert (now.r2, now.mae, now.rmse, now.outputs) == (None, None, None, None)
    assert start.version == 0
    assert start.cost > now.cost > 0


def test_targets(service: RunningService) -> None:
    network = scenarios.network(service, **REGRESSION)["id"]
    found = evaluation(service, network, scenarios.dataset(service, **TARGETS))
    for field in ("accuracy", "classes", "macro", "confusion_matrix"):
        assert found[field] is None
    first, second = found["outputs"]
    assert second["r2"] is None
    assert found["r2"] == first["r2"]
    for field in ("mae", "rmse"):
        assert found[field] == pytest.approx((first[field] + second[field]) / 2)
    assert found["cost"] == pytest.approx((first["rmse"] ** 2 + second["rmse"] ** 2) / 2, rel=1e-5)


def test_weights_count_in_the_cost_alone(service: RunningService) -> None:
    network = scenarios.network(service, **REGRESSION)["id"]
    single = [
        evaluation(service, network, scenarios.dataset(service, labels=None, inputs=[row], targets=[target]))["cost"]
        for row, target in zip(scenarios.XOR_INPUTS, TARGETS["targets"], strict=True)
    ]
    plain = evaluation(service, network, scenarios.dataset(service, **TARGETS))
    weighted = evaluation(service, network, scenarios.dataset(service, **TARGETS, weights=[1, 0, 0, 3]))
    assert plain["cost"] == pytest.approx(sum(single) / 4, rel=1e-5)
    assert weighted["cost"] == pytest.approx((single[0] + 3 * single[3]) / 4, rel=1e-5)
    assert weighted["outputs"] == plain["outputs"]


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (
            {"labels": ["off", "on", "on", "off"]},
            "tell apart no, yes; it needs a dataset of these classes",
        ),
        ({"classes": ["yes", "no"]}, "This one has the classes yes, no."),
        ({"labels": None, "targets": [[0], [1], [1], [0]]}, "This one has numbers as targets, and no classes."),
    ],
)
def test_a_version_keeps_to_the_classes_it_was_trained_on(
    service: RunningService, dataset: dict[str, Any], words: str
) -> None:
    network, other = trained(service), scenarios.dataset(service, **dataset)
    answer = service.http.post(f"/v1/networks/{network}/evaluations", json={"dataset_id": other["id"]})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "dataset_id"
    assert words in error["message"]
    # The start was trained on nothing.
    found = evaluation(service, network, other, version=0)
    labels = [one["label"] for one in found["classes"] or []]
    assert labels == (other["classes"] or [])


def test_a_job_that_uses_the_same_dataset_is_not_disturbed(service: RunningService) -> None:
    dataset = scenarios.dataset(service)
    job = scenarios.endless(service, dataset_id=dataset["id"])
    service.trained(job["id"], 1)
    found = evaluation(service, job["network_id"], dataset)
    assert found["version"] == 0
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    service.post(f"/v1/jobs/{job['id']}/cancel")
