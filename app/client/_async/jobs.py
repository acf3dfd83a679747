"""Training jobs: following, controlling and inspecting them."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal, Self

from httpx_sse import ServerSentEvent

from nabla.app.client._async.http import AsyncConnection
from nabla.app.client._async.networks import AsyncNetwork
from nabla.app.client._async.resource import AsyncResource
from nabla.app.client.errors import job_error
from nabla.app.client.history import CostCurve, History, render_html
from nabla.app.client.request_encoding import decode_predictions, encode_prediction_request
from nabla.app.schemas.jobs import CheckpointsView, CheckpointView, EpochView, HistoryView, JobView
from nabla.app.schemas.networks import NetworkView, VersionView
from nabla.app.schemas.predictions import PredictionView

_HISTORY_PAGE = 10_000
_CURVE_POINTS = 500


class AsyncJob(AsyncResource[JobView]):
    """A training job.

    In a notebook it shows its state, and the cost (loss) of the epochs that were followed as a curve.

    Attributes:
        view: The last representation received from the service.
        cost_curve: The cost of the epochs received by `follow` or `wait`.

    Example:
        ```python
        job = await client.create_job(network, dataset, epochs=200)
        await job.wait()
        job.cost
        ```
    """

    _view_type = JobView
    _collection = "/v1/jobs"

    def __init__(self, connection: AsyncConnection, view: JobView) -> None:
        super().__init__(connection, view)
        self.cost_curve = CostCurve()

    @property
    def state(self) -> str:
        """One of `queued`, `running`, `paused`, `succeeded`, `failed` and `cancelled`."""
        return self.view.state

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.view.epoch

    @property
    def cost(self) -> float | None:
        """Training cost of the last finished epoch."""
        return self.view.cost

    @property
    def is_finished(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.view.finished_at is not None

    async def follow(self, retry_timeout: float | None = None) -> AsyncIterator[EpochView | JobView]:
        """Stream the events of the job from its creation until it is finished.

        The job object is updated as they arrive. An interrupted stream resumes after the last event.

        Args:
            retry_timeout: Seconds for which an unreachable service is retried; by default that of the client.

        Yields:
            An `EpochView` for each finished epoch, and a `JobView` for each change of state.

        Raises:
            ConnectionFailed: The service was unreachable for too long.

        Example:
            ```python
            async for event in job.follow():
                print(job.state, job.epoch, job.cost)
            ```
        """
        stream = self._connection.stream_events(f"{self._path}/events", retry_timeout)
        async with aclosing(stream) as events:
            async for event in events:
                view = self._apply_event(event)
                if view is not None:
                    yield view
                    if self.is_finished:
                        return

    def _apply_event(self, event: ServerSentEvent) -> EpochView | JobView | None:
        """Update the job from an event, and return the content of the event; None for events of other types."""
        if event.event == "state":
            self.view = JobView.model_validate_json(event.data)
            return self.view
        if event.event == "epoch":
            epoch = EpochView.model_validate_json(event.data)
            self._add_to_curve(epoch)
            return epoch
        return None

    async def wait(self) -> Self:
        """Wait until the job succeeds, even across restarts of the service.

        Raises:
            JobFailed: The job failed.
            JobCancelled: The job was cancelled.
            ConnectionFailed: The service was unreachable for too long.
        """
        if self.is_finished:
            await self._load_curve()
        else:
            async for _ in self.follow():
                pass
        if self.view.state != "succeeded":
            raise job_error(self.view)
        return self

    async def _load_curve(self) -> None:
        if not self.cost_curve.points:
            for epoch in await self.history(points=_CURVE_POINTS):
                self._add_to_curve(epoch)

    def _add_to_curve(self, epoch: EpochView) -> None:
        self.cost_curve.add(epoch.epoch, epoch.cost, epoch.validation_cost)

    async def history(self, *, points: int | None = None) -> History:
        """Fetch the finished epochs.

        Args:
            points: Fetch a sample of about this many epochs, for a plot: with the first, the last, and the lowest and
                highest costs in between. By default all epochs are fetched.
        """
        path = f"{self._path}/history"
        if points is not None:
            return History((await self._connection.request(HistoryView, "GET", path, params={"points": points})).data)
        epochs: list[EpochView] = []
        while True:
            query = {"after": epochs[-1].epoch if epochs else 0, "limit": _HISTORY_PAGE}
            page = await self._connection.request(HistoryView, "GET", path, params=query)
            epochs += page.data
            if not page.has_more:
                return History(epochs)

    async def cancel(self, keep: Literal["last", "best"] | None = None) -> Self:
        """Cancel the job; its history and its checkpoints stay.

        Args:
            keep: Weights to publish: the last ones, or those of the best epoch. By default none.

        Raises:
            Conflict: The job is already finished.
        """
        return await self._change_state("cancel", json={"keep": keep})

    async def pause(self) -> Self:
        """Pause the job: if it is running, it is saved at its next step and frees its slot.

        If that step takes longer than 10 seconds, the method returns earlier: then the state is still `running`, and
        `view.pausing` is true.

        Raises:
            Conflict: The job is already finished.
        """
        return await self._change_state("pause")

    async def resume(self) -> Self:
        """Queue the paused job again; it continues exactly where it was paused.

        Raises:
            Conflict: The job is not paused.
        """
        return await self._change_state("resume")

    async def _change_state(self, action: str, **request: Any) -> Self:
        self.view = await self._connection.request(JobView, "POST", f"{self._path}/{action}", **request)
        return self

    async def update(self, **fields: Any) -> Self:
        """Change the priority, or the learning rate from the next epoch on.

        Args:
            fields: Fields of PATCH /v1/jobs/{job}: `priority`, `learning_rate`.

        Raises:
            Conflict: The job is already finished.
        """
        self.view = await self._connection.request(JobView, "PATCH", self._path, json=fields)
        return self

    async def list_checkpoints(self) -> list[CheckpointView]:
        """Fetch the stored checkpoints, newest first."""
        return (await self._connection.request(CheckpointsView, "GET", f"{self._path}/checkpoints")).data

    async def publish(self, checkpoint: int, weights: Literal["last", "best"] = "last") -> VersionView:
        """Publish the weights of a checkpoint as the current version of the network.

        Args:
            checkpoint: The number of the checkpoint.
            weights: The last weights, or those of the best epoch so far, for a job with early stopping.

        Returns:
            The new version.

        Raises:
            NotFound: There is no such checkpoint.
        """
        path = f"{self._path}/checkpoints/{checkpoint}/publish"
        return await self._connection.request(VersionView, "POST", path, json={"weights": weights})

    async def predict(
        self, rows: Any, *, top_k: int | None = None, probabilities: bool = False
    ) -> PredictionView | Any:
        """Predict raw rows with the current weights of the running job.

        Args:
            rows: As for `AsyncNetwork.predict`.
            top_k: Number of most likely classes to return for each row; not for arrays.
            probabilities: Whether to return the probability of each class. The cost must be a cross-entropy.

        Returns:
            As `AsyncNetwork.predict`.

        Raises:
            Conflict: The job is not running.
        """
        request = encode_prediction_request(rows, {"top_k": top_k, "probabilities": probabilities or None})
        response = await self._connection.send("POST", f"{self._path}/predictions", repeatable=True, **request)
        return decode_predictions(rows, response.content)

    async def get_network(self) -> AsyncNetwork:
        """Fetch the network that the job trains."""
        path = f"/v1/networks/{self.view.network_id}"
        return AsyncNetwork(self._connection, await self._connection.request(NetworkView, "GET", path))

    async def delete(self) -> None:
        """Delete the job with its history and its checkpoints. The version that it published stays.

        Raises:
            Conflict: The job is not finished.
        """
        await self._connection.delete(self._path)

    def __repr__(self) -> str:
        """Return the id, the name, the state, the progress and the cost."""
        cost = "" if self.cost is None else f", cost {self.cost:.4g}"
        return f"<Job {self._label}: {self.state}, epoch {self.epoch} of {self.view.epochs}{cost}>"

    def _repr_html_(self) -> str:
        view = self.view
        properties = [("state", view.state), ("epoch", f"{view.epoch:,} of {view.epochs:,}")]
        if view.cost is not None:
            properties.append(("cost", f"{view.cost:.4g}"))
        properties.append(("seconds", f"{view.seconds_elapsed:.1f}"))
        if view.error:
            properties.append(("error", view.error.message))
        return render_html(f"Job {self._label}", properties, self.cost_curve.points)
