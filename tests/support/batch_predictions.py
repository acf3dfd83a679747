"""Batch predictions, as the tests of them ask for them; and one that is held in the middle."""

import io
import os
import signal
import time
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.app.client import BatchPredictionEnded, Client
from nabla.app.schemas.predictions import BatchPredictionView
from tests.integration.test_datasets import npy
from tests.integration.test_uploads import create
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService

HIDDEN = [{"units": 256, "activation": "tanh"}, {"units": 256, "activation": "tanh"}]
Floats = npt.NDArray[np.floating]


def ended(service: RunningService, batch: str) -> BatchPredictionView:
    with Client(service.url, timeout=PATIENCE) as client:
        begun = client.batch_prediction(batch)
        with suppress(BatchPredictionEnded):
            begun.wait()
        return begun.view


def begun(service: RunningService, network: str, dataset: str, **fields: Any) -> str:
    path = f"/v1/networks/{network}/batch-predictions"
    return str(service.post(path, {"dataset_id": dataset, **fields}, 202)["id"])


def file_of(service: RunningService, batch: str) -> bytes:
    view = ended(service, batch)
    assert (view.state, view.error, view.rows_done) == ("succeeded", None, view.rows)
    answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == view.bytes
    return answer.content


def left(service: RunningService) -> list[str]:
    return sorted(path.name for path in (service.folder / "batches").iterdir())


def single(service: RunningService, network: str, rows: Floats) -> Floats:
    """What predictions answer, as an array."""
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    answer = service.http.post(f"/v1/networks/{network}/predictions", content=npy(rows), headers=headers)
    assert answer.status_code == 200, answer.text
    found: Floats = np.load(io.BytesIO(answer.content))
    return found


class Held:
    """A service whose process that predicts datasets stands still, and what there is to predict: of some seconds."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        layers = [*HIDDEN, {"units": 1, "activation": "identity"}]
        self.network = scenarios.network(service, inputs=4, cost="quadratic", layers=layers)["id"]
        x = np.random.default_rng(6).normal(size=(300_000, 4)).astype(np.float32)
        files = {"inputs": ("x.npy", npy(x)), "targets": ("y.npy", npy(x[:, :1]))}
        self.dataset = create(service, files=files)["id"]
        targets = [[row[0]] for row in x[:10].tolist()]
        small = scenarios.dataset(service, inputs=x[:10].tolist(), labels=None, targets=targets)["id"]
        file_of(service, self.begun(small))
        self.small = small
        self.stop()

    def begun(self, dataset: str | None = None) -> str:
        return begun(self.service, self.network, dataset or self.dataset, format="npy")

    @property
    def process(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while not (found := self.service.predictors()):
            assert time.monotonic() < deadline
        return found[0]

    def stop(self) -> None:
        os.kill(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    def state(self, batch: str) -> str:
        return str(self.service.get(f"/v1/batch-predictions/{batch}")["state"])

    def running(self, batch: str) -> None:
        """Wait until it runs."""
        deadline = time.monotonic() + PATIENCE
        while self.state(batch) != "running":
            assert time.monotonic() < deadline

    def in_the_middle(self, batch: str) -> None:
        """Let it get on until something is in its file, and hold it there."""
        self.resume()
        deadline = time.monotonic() + PATIENCE
        while not (self.written() and self.service.get(f"/v1/batch-predictions/{batch}")["rows_done"]):
            assert time.monotonic() < deadline
        self.stop()
        view = self.service.get(f"/v1/batch-predictions/{batch}")
        assert (view["state"], view["rows_done"] < view["rows"]) == ("running", True)
        assert self.written()

    def written(self) -> int:
        """Bytes of a file that is not complete; its name may change meanwhile."""
        with suppress(FileNotFoundError):
            unfinished = (self.service.folder / "batches").glob("**/.unfinished-*/.unfinished-*")
            return sum(path.stat().st_size for path in unfinished)
        return 0
