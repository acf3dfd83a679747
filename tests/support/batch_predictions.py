"""Batch predictions: requests and results, and a service whose batch prediction is suspended midway."""

import io
import os
import signal
import time
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.app.client import BatchPredictionError, Client
from nabla.app.schemas.predictions import BatchPredictionView
from tests.support import scenarios
from tests.support.datasets import post_dataset, to_npy
from tests.support.service import TIMEOUT_SECONDS, RunningService

ROWS = 300_000
HIDDEN_LAYERS = [{"units": 256, "activation": "tanh"}, {"units": 256, "activation": "tanh"}]
FloatArray = npt.NDArray[np.floating]


def start_batch_prediction(service: RunningService, network: str, dataset: str, **fields: Any) -> str:
    """Start a batch prediction and return its id."""
    path = f"/v1/networks/{network}/batch-predictions"
    return str(service.post(path, {"dataset_id": dataset, **fields}, 202)["id"])


def wait_for_batch_prediction(service: RunningService, batch: str) -> BatchPredictionView:
    """Wait until a batch prediction is finished, and return it."""
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        started = client.get_batch_prediction(batch)
        with suppress(BatchPredictionError):
            started.wait()
        return started.view


def download_predictions(service: RunningService, batch: str) -> bytes:
    """Wait until a batch prediction succeeds, and return the bytes of its file."""
    view = wait_for_batch_prediction(service, batch)
    assert (view.state, view.error, view.rows_done) == ("succeeded", None, view.rows)
    response = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert response.status_code == 200, response.text
    assert len(response.content) == view.bytes
    return response.content


def run_batch_prediction(service: RunningService, network: str, dataset: str, **fields: Any) -> bytes:
    """Run a batch prediction that succeeds, and return the bytes of its file."""
    return download_predictions(service, start_batch_prediction(service, network, dataset, **fields))


def list_batch_directories(service: RunningService) -> list[str]:
    """Return the sorted names in the directory of batch predictions."""
    return sorted(path.name for path in (service.data_dir / "batches").iterdir())


def predict_npy(service: RunningService, network: str, rows: FloatArray) -> FloatArray:
    """Return the outputs of an ordinary prediction, as the array of shape (rows, outputs) that the service sends."""
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    response = service.http.post(f"/v1/networks/{network}/predictions", content=to_npy(rows), headers=headers)
    assert response.status_code == 200, response.text
    outputs: FloatArray = np.load(io.BytesIO(response.content))
    return outputs


def make_inputs() -> npt.NDArray[np.float32]:
    """Return the inputs of the dataset of a SuspendedBatchService, of shape (ROWS, 4)."""
    return np.random.default_rng(6).normal(size=(ROWS, 4)).astype(np.float32)


class SuspendedBatchService:
    """A service whose process for batch predictions is suspended, with a dataset that takes it seconds.

    Attributes:
        service: The service.
        network: The id of an untrained network.
        dataset: The id of a dataset of ROWS rows.
        small_dataset: The id of a dataset of 10 rows, already predicted once.
    """

    def __init__(self, service: RunningService) -> None:
        self.service = service
        layers = [*HIDDEN_LAYERS, {"units": 1, "activation": "identity"}]
        self.network = scenarios.create_network(service, inputs=4, cost="quadratic", layers=layers)["id"]
        inputs = make_inputs()
        files = {"inputs": ("x.npy", to_npy(inputs)), "targets": ("y.npy", to_npy(inputs[:, :1]))}
        self.dataset = post_dataset(service, files=files)["id"]
        few = inputs[:10].tolist()
        small = scenarios.create_dataset(service, inputs=few, labels=None, targets=[row[:1] for row in few])
        self.small_dataset = small["id"]
        # The first batch prediction starts the process.
        download_predictions(service, self.start(self.small_dataset))
        self.suspend()

    def start(self, dataset: str | None = None) -> str:
        """Start a batch prediction of a dataset, by default the one that takes seconds, and return its id."""
        return start_batch_prediction(self.service, self.network, dataset or self.dataset, format="npy")

    @property
    def pid(self) -> int:
        """Wait until the process runs, and return its id."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (pids := self.service.batch_prediction_pids()):
            assert time.monotonic() < deadline
        return pids[0]

    def suspend(self) -> None:
        """Suspend the process with SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process continue."""
        os.kill(self.pid, signal.SIGCONT)

    def state(self, batch: str) -> str:
        """Return the state of a batch prediction."""
        return str(self.service.get(f"/v1/batch-predictions/{batch}")["state"])

    def wait_until_running(self, batch: str) -> None:
        """Wait until a batch prediction is running."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.state(batch) != "running":
            assert time.monotonic() < deadline

    def suspend_midway(self, batch: str) -> None:
        """Let the process continue until a part of the file is written, and suspend it again."""
        self.resume()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (self.unfinished_bytes() and self.service.get(f"/v1/batch-predictions/{batch}")["rows_done"]):
            assert time.monotonic() < deadline
        self.suspend()
        view = self.service.get(f"/v1/batch-predictions/{batch}")
        assert (view["state"], view["rows_done"] < view["rows"]) == ("running", True)
        assert self.unfinished_bytes()

    def unfinished_bytes(self) -> int:
        """Return the size of the unfinished file; 0 if there is none."""
        with suppress(FileNotFoundError):  # it may be renamed meanwhile
            unfinished = (self.service.data_dir / "batches").glob("**/.unfinished-*/.unfinished-*")
            return sum(path.stat().st_size for path in unfinished)
        return 0
