"""Networks, jobs and predictions, as a client asks for them. A version is a number, a tag, or `current`."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import httpx

from app.client.batches import BatchPredictions
from app.client.connection import check
from app.client.datasets import Datasets
from app.client.networks import Networks
from app.schemas.checkpoints import CheckpointsView, CheckpointView
from app.schemas.devices import DevicesView
from app.schemas.evaluations import EvaluationView
from app.schemas.histories import EpochView, HistoryView
from app.schemas.jobs import JobView
from app.schemas.predictions import PredictionView
from app.schemas.versions import VersionView
from engine.jobs.network import VersionReference

# A service that was ended may be back soon.
_SECONDS_WITHOUT_SERVICE, _SECONDS_BETWEEN_TRIES = 30.0, 0.1


class Client(Networks, Datasets, BatchPredictions):
    """Speaks to one service. Use it as a context manager, so that its connections are closed."""

    def devices(self) -> DevicesView:
        """What the service can train on."""
        return self._ask(DevicesView, "GET", "/v1/devices")

    def create_job(self, **fields: Any) -> JobView:
        """Fields as in POST /v1/jobs."""
        return self._ask(JobView, "POST", "/v1/jobs", json=fields)

    def job(self, job: str) -> JobView:
        return self._ask(JobView, "GET", f"/v1/jobs/{job}")

    def change(self, job: str, **fields: Any) -> JobView:
        """Fields as in PATCH /v1/jobs/{job}."""
        return self._ask(JobView, "PATCH", f"/v1/jobs/{job}", json=fields)

    def pause(self, job: str) -> JobView:
        return self._ask(JobView, "POST", f"/v1/jobs/{job}/pause")

    def resume(self, job: str) -> JobView:
        return self._ask(JobView, "POST", f"/v1/jobs/{job}/resume")

    def cancel(self, job: str, keep: Literal["last", "best"] | None = None) -> JobView:
        """`keep`: which weights to publish all the same."""
        return self._ask(JobView, "POST", f"/v1/jobs/{job}/cancel", json={"keep": keep})

    def checkpoints(self, job: str) -> list[CheckpointView]:
        """Newest first."""
        return self._ask(CheckpointsView, "GET", f"/v1/jobs/{job}/checkpoints").data

    def publish(self, job: str, checkpoint: int, weights: Literal["last", "best"] = "last") -> VersionView:
        """The weights of a checkpoint become the network's current version."""
        path = f"/v1/jobs/{job}/checkpoints/{checkpoint}/publish"
        return self._ask(VersionView, "POST", path, json={"weights": weights})

    def follow(self, job: str, patience: float = _SECONDS_WITHOUT_SERVICE) -> Iterator[EpochView | JobView]:
        """What happens to a job, as it happens, until it has ended: its epochs, and itself at each change of state.

        A stream that breaks is gone on with where it broke. Raises httpx.TransportError when there is no service for
        `patience` seconds.
        """
        last_id, broken_at = "0", 0.0
        while True:
            try:
                for kind, id, data in self._events(job, last_id):
                    last_id, broken_at = id, 0.0
                    event = (JobView if kind == "state" else EpochView).model_validate(data)
                    yield event
                    if isinstance(event, JobView) and event.finished_at is not None:
                        return
            except httpx.TransportError:
                broken_at = broken_at or time.monotonic()
                if time.monotonic() - broken_at >= patience:
                    raise
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def _events(self, job: str, last_id: str) -> Iterator[tuple[str, str, Any]]:
        headers = {"Last-Event-ID": last_id}
        with self._http.stream("GET", f"/v1/jobs/{job}/events", headers=headers, timeout=60.0) as answer:
            check(answer)
            yield from _events(answer.iter_lines())

    def history(self, job: str) -> list[EpochView]:
        """All of it, however many pages it has."""
        epochs: list[EpochView] = []
        while True:
            after = epochs[-1].epoch if epochs else 0
            page = self._ask(HistoryView, "GET", f"/v1/jobs/{job}/history", params={"after": after})
            epochs += page.data
            if not page.has_more:
                return epochs

    def predict(
        self,
        network: str,
        inputs: Sequence[Sequence[Any]] | None = None,
        *,
        rows: Sequence[Mapping[str, Any]] | None = None,
        version: VersionReference | None = None,
    ) -> PredictionView:
        """Either raw inputs, row by row, or rows of values by the names of their columns; by default through the
        current version."""
        path = f"/v1/networks/{network}/predictions"
        return self._ask(PredictionView, "POST", path, json={"inputs": inputs, "rows": rows, "version": version})

    def predict_with_job(
        self,
        job: str,
        inputs: Sequence[Sequence[Any]] | None = None,
        *,
        rows: Sequence[Mapping[str, Any]] | None = None,
    ) -> PredictionView:
        """As `predict`, with the weights that a running job has at the moment."""
        return self._ask(PredictionView, "POST", f"/v1/jobs/{job}/predictions", json={"inputs": inputs, "rows": rows})

    def evaluate(self, network: str, dataset: str, version: VersionReference | None = None) -> EvaluationView:
        """A version of the network, by default the current one, on a dataset."""
        path = f"/v1/networks/{network}/evaluations"
        return self._ask(EvaluationView, "POST", path, json={"dataset_id": dataset, "version": version})


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """(event, id, data) of a stream of Server-Sent Events."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield fields.get("event", "message"), fields.get("id", "0"), json.loads(fields["data"])
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
