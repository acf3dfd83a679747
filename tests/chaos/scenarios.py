"""Jobs with reproducible results: the same job gives the same bits, however often it is interrupted."""

import io
from dataclasses import dataclass
from typing import Any

import safetensors.numpy

from tests.support.service import RunningService

_NETWORK = {"inputs": 2, "cost": "binary_cross_entropy", "seed": 7}
_OUTPUT = {"units": 1, "activation": "sigmoid"}


@dataclass(frozen=True)
class Run:
    """A network and a job of about a second, which saves checkpoints during and at the end of training."""

    network: dict[str, Any]
    job: dict[str, Any]


def _job(**change: Any) -> dict[str, Any]:
    return {"epochs": 400, "batch_size": 4, "seed": 3, "checkpoints": {"epochs": 50, "keep": 2}, **change}


RUNS = (
    Run(
        {**_NETWORK, "layers": [{"units": 8, "activation": "tanh"}, _OUTPUT]},
        _job(learning_rate=0.01, optimizer="adam", validation={"fraction": 0.2}),
    ),
    Run(
        {**_NETWORK, "dtype": "float64", "layers": [{"units": 8, "activation": "relu", "batch_norm": True}, _OUTPUT]},
        _job(learning_rate=0.05, optimizer="momentum"),
    ),
    Run(
        {
            **_NETWORK,
            "layers": [{"units": 16, "activation": "gelu", "dropout": 0.2}, _OUTPUT],
            "preprocessing": {"inputs": "standardize"},
        },
        _job(learning_rate=0.1, schedule={"type": "cosine"}),
    ),
)


def result(service: RunningService, job: str) -> tuple[Any, ...]:
    """Return the history of a job, and the arrays of its last checkpoint as bytes."""
    page = service.get(f"/v1/jobs/{job}/history?limit=1000")["data"]
    history = tuple((epoch["epoch"], epoch["cost"], epoch["validation_cost"], epoch["accuracy"]) for epoch in page)
    last = service.get(f"/v1/jobs/{job}/checkpoints")["data"][0]
    assert last["epoch"] == len(history)
    content = service.http.get(f"/v1/jobs/{job}/checkpoints/{last['number']}").content
    arrays = safetensors.numpy.load(io.BytesIO(content).getvalue())
    return history, tuple((name, array.tobytes()) for name, array in sorted(arrays.items()))
