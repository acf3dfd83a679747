"""Seconds from the request for a job to its first epoch, in a service whose cache of compiled code is empty.

    python -m benchmarks.first_job [ROUNDS]

Each job gets a new service and a new cache. The job is requested when the service is ready.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nabla.app.client import Client
from nabla.app.schemas.jobs import EpochView
from tests.support.service import RunningService

_INPUTS, _ROWS = 10, 500
_CROSS_ENTROPY = {"cost": "categorical_cross_entropy"}
_SOFTMAX = {"units": 2, "activation": "softmax"}
_IDENTITY = {"units": 1, "activation": "identity"}
_HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sin")
# Fields of the network, and of the job; None is what the service proposes for the data.
JOBS: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {
    "relu and softmax, adam": (
        {"layers": [{"units": 64, "activation": "relu"}, _SOFTMAX], **_CROSS_ENTROPY},
        {"optimizer": "adam"},
    ),
    "float64, l-bfgs": (
        {"layers": [{"units": 16, "activation": "tanh"}, _IDENTITY], "cost": "quadratic", "dtype": "float64"},
        {"optimizer": "l-bfgs"},
    ),
    "dropout and batch normalization, adamw": (
        {
            "layers": [{"units": 64, "activation": "relu", "dropout": 0.2, "batch_norm": True}, _SOFTMAX],
            **_CROSS_ENTROPY,
        },
        {"optimizer": "adamw", "validation": {"fraction": 0.2}},
    ),
    "huber, nadam": (
        {"layers": [{"units": 64, "activation": "silu"}, _IDENTITY], "cost": "huber"},
        {"optimizer": "nadam"},
    ),
    "twelve activations, rmsprop": (
        {"layers": [*({"units": 8, "activation": name} for name in _HIDDEN), _SOFTMAX], **_CROSS_ENTROPY},
        {"optimizer": "rmsprop"},
    ),
    "as proposed": None,
}


def measure_first_epoch(name: str) -> float:
    """Return the seconds from the request to the first epoch."""
    random = np.random.default_rng(0)
    x = random.normal(size=(_ROWS, _INPUTS)).astype(np.float32)
    with tempfile.TemporaryDirectory() as directory:
        environment = {"NUMBA_CACHE_DIR": f"{directory}/compiled"}
        with RunningService(Path(directory) / "data", environment) as service, Client(service.url) as client:
            service.wait_until_ready()
            fields = JOBS[name]
            is_regression = fields is not None and fields[0]["layers"][-1] == _IDENTITY
            targets = {"targets": x[:, :1]} if is_regression else {"labels": (x[:, 0] > 0).astype(int)}
            dataset = client.upload_arrays(inputs=x, **targets)
            if fields is None:
                proposal = service.post(f"/v1/datasets/{dataset.id}/proposal", {})
                fields = proposal["network"], proposal["job"]
            network_fields, job_fields = fields
            network = service.post("/v1/networks", {"inputs": _INPUTS, **network_fields})["id"]
            started = time.perf_counter()
            job = service.post("/v1/jobs", {"epochs": 3, **job_fields, "network_id": network, "dataset_id": dataset.id})
            next(event for event in client.get_job(job["id"]).follow() if isinstance(event, EpochView))
            return time.perf_counter() - started


def main() -> None:
    """Print a line for each kind of job."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name in JOBS:
        seconds = [measure_first_epoch(name) for _ in range(rounds)]
        print(f"{name}: {statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f}", flush=True)


if __name__ == "__main__":
    main()
