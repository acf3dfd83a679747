"""Requests that many tests begin with."""

from typing import Any

from nabla.app.schemas.jobs import JobView
from tests.support.service import RunningService

XOR_INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
EPOCHS = 3000
"""Of a long job."""
Result = tuple[Any, ...]


def network(service: RunningService, **change: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "inputs": 2,
        "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
        "cost": "binary_cross_entropy",
        "seed": 7,
    }
    return service.post("/v1/networks", {**body, **change}, 201)


def dataset(service: RunningService, **change: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": XOR_INPUTS, "labels": ["no", "yes", "yes", "no"]}
    return service.post("/v1/datasets", {**body, **change}, 201)


def job(service: RunningService, **change: Any) -> dict[str, Any]:
    """A job on XOR, unless told otherwise; it takes well under a second. What is None is left out."""
    for kind, make in (("network_id", network), ("dataset_id", dataset)):
        if kind not in change:
            change[kind] = make(service)["id"]
    body = {"epochs": 500, "batch_size": 4, "learning_rate": 1.0, "seed": 7}
    fields = {name: value for name, value in {**body, **change}.items() if value is not None}
    return service.post("/v1/jobs", fields, 202)


def endless(service: RunningService, **change: Any) -> dict[str, Any]:
    """A job that nobody will see the end of."""
    return job(service, **{"epochs": 10**9, "learning_rate": 1e-6, **change})


def long(service: RunningService, **change: Any) -> dict[str, Any]:
    """A job of a few seconds."""
    if "dataset_id" not in change:
        change["dataset_id"] = many_rows(service)["id"]
    return job(service, epochs=EPOCHS, batch_size=4, **change)


def many_rows(service: RunningService, **change: Any) -> dict[str, Any]:
    return dataset(service, inputs=XOR_INPUTS * 500, labels=["no", "yes", "yes", "no"] * 500, **change)


def started(service: RunningService, job_id: str) -> None:
    """Wait until it runs."""
    for event in service.follow(job_id):
        if isinstance(event, JobView) and event.state == "running":
            return
    raise AssertionError


def in_state(service: RunningService, state: str) -> dict[str, Any]:
    """A job in this state. An endless one has the only slot before."""
    if state in ("running", "succeeded", "failed"):
        for one in service.get("/v1/jobs")["data"]:
            service.http.post(f"/v1/jobs/{one['id']}/cancel")
    match state:
        case "running":
            found = endless(service)
            started(service, found["id"])
        case "succeeded":
            found = job(service, epochs=1)
            service.finished(found["id"])
        case "failed":
            before = endless(service)
            found = job(service, depends_on=[before["id"]])
            service.post(f"/v1/jobs/{before['id']}/cancel")
            service.finished(found["id"])
        case _:
            found = job(service)
    controls = {"paused": "pause", "cancelled": "cancel"}
    if state in controls:
        service.post(f"/v1/jobs/{found['id']}/{controls[state]}")
    return found


def result(service: RunningService, job: dict[str, Any]) -> Result:
    """What a job leaves behind: outputs and history, without the times."""
    path = f"/v1/networks/{job['network_id']}/predictions"
    history = []
    for after in range(0, 10**6, 10_000):
        page = service.get(f"/v1/jobs/{job['id']}/history?limit=10000&after={after}")
        history += [(epoch["epoch"], epoch["cost"], epoch["accuracy"]) for epoch in page["data"]]
        if not page["has_more"]:
            break
    return service.post(path, {"inputs": XOR_INPUTS})["outputs"], history
