"""Classes of a network and of datasets: the same names, in another order, some of them, and others."""

from typing import Any

import pytest

from tests.support.service import RunningService

_ANT_TO_CAT = ("ant", "bee", "cat")
_NETWORK = {
    "inputs": 1,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
    "cost": "categorical_cross_entropy",
    "seed": 1,
}


def create_dataset(service: RunningService, classes: tuple[str, ...], order: tuple[str, ...] | None = None) -> str:
    """Create a dataset of 10 rows per class: `ant` around −1, `bee` around 0, `cat` around 1, `dog` around 2."""
    centers = {"ant": -1.0, "bee": 0.0, "cat": 1.0, "dog": 2.0}
    rows = [(centers[name] + step / 50, name) for step in range(-5, 5) for name in classes]
    body: dict[str, Any] = {"inputs": [[x] for x, _ in rows], "labels": [name for _, name in rows]}
    if order is not None:
        body["classes"] = order
    created = service.post("/v1/datasets", body, 201)
    assert tuple(created["classes"]) == (order or classes)
    id: str = created["id"]
    return id


@pytest.fixture(scope="module")
def trained(service: RunningService) -> tuple[str, str]:
    """Train a network on ant, bee and cat; return the ids of the network and of the job."""
    network = service.post("/v1/networks", _NETWORK, 201)["id"]
    job = submit(service, network, create_dataset(service, _ANT_TO_CAT), epochs=200, checkpoints={"epochs": 50})
    return network, job


def submit(service: RunningService, network: str, dataset: str, epochs: int = 2, **change: Any) -> str:
    body = {"network_id": network, "dataset_id": dataset, "epochs": epochs, "batch_size": 5, "learning_rate": 0.5}
    job: str = service.post("/v1/jobs", {**body, **change}, 202)["id"]
    assert service.wait_for_job(job).state == "succeeded"
    return job


def predict(service: RunningService, network: str) -> list[str]:
    labels: list[str] = service.post(f"/v1/networks/{network}/predictions", {"inputs": [[-1], [0], [1]]}, 200)["labels"]
    return labels


def start_again(service: RunningService, trained: tuple[str, str], start: str) -> tuple[str, dict[str, Any]]:
    """Return a network, and the fields of a job that starts with the trained weights."""
    network, job = trained
    if start == "clone":
        return service.post(f"/v1/networks/{network}/clones", {}, 201)["id"], {}
    if start == "checkpoint":
        checkpoint = service.get(f"/v1/jobs/{job}/checkpoints")["data"][0]["number"]
        return network, {"resume_from": {"job_id": job, "checkpoint": checkpoint}}
    return network, {"warm_start": True}


@pytest.mark.parametrize("start", ["warm_start", "checkpoint", "clone"])
def test_training_maps_reordered_classes_by_name(service: RunningService, trained: tuple[str, str], start: str) -> None:
    network, fields = start_again(service, trained, start)
    reordered = create_dataset(service, _ANT_TO_CAT, ("cat", "ant", "bee"))
    submit(service, network, reordered, **fields)
    assert predict(service, network) == [*_ANT_TO_CAT]
    current = service.get(f"/v1/networks/{network}/versions/current")
    assert current["classes"] == [*_ANT_TO_CAT]
    metrics = service.post(f"/v1/networks/{network}/evaluations", {"dataset_id": reordered}, 200)
    assert metrics["accuracy"] == 1
    assert [scores["label"] for scores in metrics["classes"]] == [*_ANT_TO_CAT]


@pytest.mark.parametrize("start", ["warm_start", "checkpoint", "clone"])
def test_training_on_other_classes_is_rejected(service: RunningService, trained: tuple[str, str], start: str) -> None:
    network, fields = start_again(service, trained, start)
    other = create_dataset(service, ("bee", "cat", "dog"))
    body = {"network_id": network, "dataset_id": other, "epochs": 1, "batch_size": 5, "learning_rate": 0.1, **fields}
    (error,) = service.post("/v1/jobs", body, 422)["errors"]
    assert error["field"] == "dataset_id"
    assert "ant, bee, cat" in error["message"]
    assert "bee, cat, dog" in error["message"]
    assert predict(service, network) == [*_ANT_TO_CAT]


def test_training_continues_with_some_of_the_classes(service: RunningService, trained: tuple[str, str]) -> None:
    network = service.post(f"/v1/networks/{trained[0]}/clones", {}, 201)["id"]
    submit(service, network, create_dataset(service, ("bee", "cat")), class_weights={"ant": 2.0})
    assert predict(service, network)[1:] == ["bee", "cat"]
    assert service.get(f"/v1/networks/{network}/versions/current")["classes"] == [*_ANT_TO_CAT]


def test_validation_dataset_may_have_some_of_the_classes_in_another_order(service: RunningService) -> None:
    network = service.post("/v1/networks", _NETWORK, 201)["id"]
    training = create_dataset(service, _ANT_TO_CAT)
    validation = create_dataset(service, ("ant", "cat"), ("cat", "ant"))
    job = submit(service, network, training, epochs=200, validation={"dataset_id": validation})
    last = service.get(f"/v1/jobs/{job}/history")["data"][-1]
    assert last["validation_accuracy"] == 1


def test_evaluation_on_a_dataset_that_lacks_a_class(service: RunningService, trained: tuple[str, str]) -> None:
    network = service.post(f"/v1/networks/{trained[0]}/clones", {}, 201)["id"]
    metrics = service.post(
        f"/v1/networks/{network}/evaluations", {"dataset_id": create_dataset(service, ("bee", "cat"))}, 200
    )
    assert metrics["accuracy"] == 1
    assert [(scores["label"], scores["support"]) for scores in metrics["classes"]] == [
        ("ant", 0),
        ("bee", 10),
        ("cat", 10),
    ]
    assert metrics["macro"] == {"precision": 1, "recall": 1, "f1": 1}
    assert metrics["confusion_matrix"] == [[0, 0, 0], [0, 10, 0], [0, 0, 10]]


def test_batch_prediction_of_a_dataset_with_other_classes(service: RunningService, trained: tuple[str, str]) -> None:
    dataset = create_dataset(service, ("cat", "dog"))
    batch = service.post(f"/v1/networks/{trained[0]}/batch-predictions", {"dataset_id": dataset}, 202)
    assert batch["state"] in ("queued", "running", "succeeded")
