"""Networks, datasets and jobs that many tests start from."""

from typing import Any

from nabla.app.schemas.jobs import JobView
from tests.support.service import RunningService

XOR_INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
XOR_LABELS = ["no", "yes", "yes", "no"]
LONG_JOB_EPOCHS = 3000
TrainingResult = tuple[Any, ...]


def create_network(service: RunningService, **change: Any) -> dict[str, Any]:
    """Create a network with a seed that can learn XOR, with these fields changed."""
    body: dict[str, Any] = {
        "inputs": 2,
        "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
        "cost": "binary_cross_entropy",
        "seed": 7,
    }
    return service.post("/v1/networks", {**body, **change}, 201)


def create_dataset(service: RunningService, **change: Any) -> dict[str, Any]:
    """Create the XOR dataset from JSON, with these fields changed."""
    body: dict[str, Any] = {"inputs": XOR_INPUTS, "labels": XOR_LABELS}
    return service.post("/v1/datasets", {**body, **change}, 201)


def create_2000_row_dataset(service: RunningService, **change: Any) -> dict[str, Any]:
    """Create a dataset of 500 copies of XOR, with these fields changed."""
    return create_dataset(service, inputs=XOR_INPUTS * 500, labels=XOR_LABELS * 500, **change)


def submit_job(service: RunningService, **change: Any) -> dict[str, Any]:
    """Submit a job with a seed that learns XOR in well under a second, with these fields changed, or omitted if None.

    Its network and dataset are created unless given.
    """
    for field, create in (("network_id", create_network), ("dataset_id", create_dataset)):
        if field not in change:
            change[field] = create(service)["id"]
    body = {"epochs": 500, "batch_size": 4, "learning_rate": 1.0, "seed": 7}
    fields = {name: value for name, value in {**body, **change}.items() if value is not None}
    return service.post("/v1/jobs", fields, 202)


def submit_endless_job(service: RunningService, **change: Any) -> dict[str, Any]:
    """Submit a job that does not end within the time of a test."""
    return submit_job(service, **{"epochs": 10**9, "learning_rate": 1e-6, **change})


def submit_long_job(service: RunningService, **change: Any) -> dict[str, Any]:
    """Submit a job of LONG_JOB_EPOCHS epochs, which take a few seconds."""
    if "dataset_id" not in change:
        change["dataset_id"] = create_2000_row_dataset(service)["id"]
    return submit_job(service, epochs=LONG_JOB_EPOCHS, batch_size=4, **change)


def wait_until_running(service: RunningService, job_id: str) -> None:
    """Wait until the job is running."""
    for event in service.follow(job_id):
        if isinstance(event, JobView) and event.state == "running":
            return
    raise AssertionError(f"the job {job_id} ended before it was seen running")


def submit_job_in_state(service: RunningService, state: str) -> dict[str, Any]:
    """Submit a job and bring it into a state. Until then, an endless job must occupy the only slot."""
    if state in ("running", "succeeded", "failed"):
        for listed in service.get("/v1/jobs")["data"]:
            service.http.post(f"/v1/jobs/{listed['id']}/cancel")
    match state:
        case "running":
            submitted = submit_endless_job(service)
            wait_until_running(service, submitted["id"])
        case "succeeded":
            submitted = submit_job(service, epochs=1)
            service.wait_for_job(submitted["id"])
        case "failed":
            dependency = submit_endless_job(service)
            submitted = submit_job(service, depends_on=[dependency["id"]])
            service.post(f"/v1/jobs/{dependency['id']}/cancel")
            service.wait_for_job(submitted["id"])
        case _:
            submitted = submit_job(service)
    controls = {"paused": "pause", "cancelled": "cancel"}
    if state in controls:
        service.post(f"/v1/jobs/{submitted['id']}/{controls[state]}")
    return submitted


def training_result(service: RunningService, submitted: dict[str, Any]) -> TrainingResult:
    """Return what a finished job leaves that does not depend on timing: its outputs, and epochs, costs, accuracies."""
    path = f"/v1/networks/{submitted['network_id']}/predictions"
    history = []
    for after in range(0, 10**6, 10_000):
        page = service.get(f"/v1/jobs/{submitted['id']}/history?limit=10000&after={after}")
        history += [(epoch["epoch"], epoch["cost"], epoch["accuracy"]) for epoch in page["data"]]
        if not page["has_more"]:
            break
    return service.post(path, {"inputs": XOR_INPUTS})["outputs"], history
