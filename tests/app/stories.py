"""Requests that many tests begin with."""

from typing import Any

from tests.running import RunningService

XOR_INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]


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
