# Generated from jobs.py in _async by scripts/generate_sync_client.py. Change that one.
"""A job, as a program holds it."""

from collections.abc import Iterator
from typing import Any, Literal

import httpx

from nabla.app.client._sync.http import Connection
from nabla.app.client._sync.networks import Network
from nabla.app.client._sync.resource import Handle
from nabla.app.client.concurrency import sleep
from nabla.app.client.errors import Unavailable, ended
from nabla.app.client.history import Curve, History, page
from nabla.app.client.sse import Parser
from nabla.app.client.tabular import answer_for, request_for
from nabla.app.schemas.jobs import CheckpointsView, CheckpointView, EpochView, HistoryView, JobView
from nabla.app.schemas.networks import NetworkView, VersionView
from nabla.app.schemas.predictions import PredictionView

# The service says something at least every 15.
_SECONDS_OF_SILENCE = 60.0
_POINTS_OF_A_CURVE = 500


class Job(Handle[JobView]):
    """A training job. What it has seen of its epochs, it shows in a notebook."""

    def __init__(self, connection: Connection, view: JobView) -> None:
        super().__init__(connection, view)
        self.curve = Curve()

    @property
    def state(self) -> str:
        return self.view.state

    @property
    def epoch(self) -> int:
        """How many it has finished."""
        return self.view.epoch

    @property
    def cost(self) -> float | None:
        """Of the last one."""
        return self.view.cost

    @property
    def has_ended(self) -> bool:
        return self.view.finished_at is not None

    def refresh(self) -> "Job":
        """Ask how it is now."""
        return self._now(self._connection.ask(JobView, "GET", self._path))

    def follow(self, patience: float | None = None) -> Iterator[EpochView | JobView]:
        """What happens to it, from its beginning and as it happens, until it has ended: its epochs, and itself at each
        change of state.

        A stream that breaks is gone on with where it broke. Raises ConnectionLost when there is no service for
        `patience` seconds, by default those of the client.
        """
        last_id, tries = "0", self._connection.tries(patience)
        while True:
            try:
                headers = {"Last-Event-ID": last_id}
                with self._connection.streamed(
                    f"{self._path}/events", headers=headers, timeout=_SECONDS_OF_SILENCE
                ) as answer:
                    parser = Parser()
                    for part in answer.iter_bytes():
                        tries.succeeded()
                        for event in parser.feed(part):
                            last_id = event.id
                            yield self._seen(event.kind, event.data)
                            if self.has_ended:
                                return
                pause = 0.1  # the service has ended the stream, to start anew
            except (httpx.TransportError, Unavailable) as problem:
                pause = tries.pause_after(problem)
            sleep(pause)

    def _seen(self, kind: str, data: str) -> EpochView | JobView:
        if kind == "state":
            return self._now(JobView.model_validate_json(data)).view
        epoch = EpochView.model_validate_json(data)
        self.curve.add(epoch.epoch, epoch.cost, epoch.validation_cost)
        return epoch

    def _now(self, view: JobView) -> "Job":
        self.view = view
        return self

    def wait(self) -> "Job":
        """Follow it until it has succeeded, also across a restart of the service. Raises JobFailed, JobCancelled."""
        if self.has_ended:
            self._see_what_was()
        else:
            for _ in self.follow():
                pass
        if self.view.state != "succeeded":
            raise ended(self.view)
        return self

    def _see_what_was(self) -> None:
        """Of a job that nobody has followed here."""
        if not self.curve.points:
            for epoch in self.history_in_brief(_POINTS_OF_A_CURVE):
                self.curve.add(epoch.epoch, epoch.cost, epoch.validation_cost)

    def history(self) -> History:
        """All of it, however many pages it has."""
        epochs: list[EpochView] = []
        while True:
            query = {"after": epochs[-1].epoch if epochs else 0, "limit": 10_000}
            found = self._connection.ask(HistoryView, "GET", f"{self._path}/history", params=query)
            epochs += found.data
            if not found.has_more:
                return History(epochs)

    def history_in_brief(self, points: int) -> History:
        """About so many epochs of all, for a plot: with the first, the last, the lowest and the highest."""
        query = {"points": points}
        return History((self._connection.ask(HistoryView, "GET", f"{self._path}/history", params=query)).data)

    def cancel(self, keep: Literal["last", "best"] | None = None) -> "Job":
        """`keep`: which weights to publish all the same."""
        return self._now(self._connection.ask(JobView, "POST", f"{self._path}/cancel", json={"keep": keep}))

    def pause(self) -> "Job":
        return self._now(self._connection.ask(JobView, "POST", f"{self._path}/pause"))

    def resume(self) -> "Job":
        return self._now(self._connection.ask(JobView, "POST", f"{self._path}/resume"))

    def change(self, **fields: Any) -> "Job":
        """Fields as in PATCH /v1/jobs/{job}: `priority`, `learning_rate`."""
        return self._now(self._connection.ask(JobView, "PATCH", self._path, json=fields))

    def checkpoints(self) -> list[CheckpointView]:
        """Newest first."""
        return (self._connection.ask(CheckpointsView, "GET", f"{self._path}/checkpoints")).data

    def publish(self, checkpoint: int, weights: Literal["last", "best"] = "last") -> VersionView:
        """The weights of a checkpoint become the network's current version."""
        path = f"{self._path}/checkpoints/{checkpoint}/publish"
        return self._connection.ask(VersionView, "POST", path, json={"weights": weights})

    def predict(self, rows: Any, *, top_k: int | None = None, probabilities: bool = False) -> PredictionView | Any:
        """As a network does, in kind, but with the weights that the running job has at the moment."""
        request = request_for(rows, {"top_k": top_k, "probabilities": probabilities or None})
        answer = self._connection.send("POST", f"{self._path}/predictions", repeatable=True, **request)
        return answer_for(rows, answer.content)

    def network(self) -> Network:
        """The one that it trains."""
        path = f"/v1/networks/{self.view.network_id}"
        return Network(self._connection, self._connection.ask(NetworkView, "GET", path))

    def delete(self) -> None:
        """With its history and its checkpoints; only one that has ended. The version that it published stays."""
        self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def __repr__(self) -> str:
        cost = "" if self.cost is None else f", cost {self.cost:.4g}"
        return f"<Job {self._called()}: {self.state}, epoch {self.epoch} of {self.view.epochs}{cost}>"

    def _repr_html_(self) -> str:
        view = self.view
        figures = [("state", view.state), ("epoch", f"{view.epoch:,} of {view.epochs:,}")]
        figures += [] if view.cost is None else [("cost", f"{view.cost:.4g}")]
        figures += [("seconds", f"{view.seconds_elapsed:.1f}")]
        figures += [("error", view.error.message)] if view.error else []
        return page(f"Job {self._called()}", figures, self.curve.points)
