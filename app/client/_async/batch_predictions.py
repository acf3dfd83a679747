"""A dataset that is worked through a network into a file, by a process of the service."""

from pathlib import Path

from nabla.app.client._async.resource import AsyncHandle
from nabla.app.client.concurrency import async_sleep
from nabla.app.client.errors import BatchPredictionEnded
from nabla.app.schemas.predictions import BatchPredictionView

# Between two looks at one that has not ended: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0


class AsyncBatchPrediction(AsyncHandle[BatchPredictionView]):
    """A batch prediction."""

    @property
    def state(self) -> str:
        return self.view.state

    async def refresh(self) -> "AsyncBatchPrediction":
        """Ask how far it is."""
        self.view = await self._connection.ask(BatchPredictionView, "GET", self._path)
        return self

    async def wait(self) -> "AsyncBatchPrediction":
        """Until it has ended, also across a restart of the service. Raises BatchPredictionEnded unless it has
        succeeded."""
        pause = _SOON
        while self.view.state in ("queued", "running"):
            await async_sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
            await self.refresh()
        if self.view.state != "succeeded":
            raise BatchPredictionEnded(self.view)
        return self

    async def download(self, path: Path | str) -> Path:
        """The file of one that has succeeded, as `path`, which is there when all of it has come."""
        return await self._connection.download(f"{self._path}/file", Path(path))

    async def cancel(self) -> "AsyncBatchPrediction":
        """End one that has not ended."""
        self.view = await self._connection.ask(BatchPredictionView, "POST", f"{self._path}/cancel")
        return self

    async def delete(self) -> None:
        """With its file, whatever its state."""
        await self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/batch-predictions/{self.id}"

    def __repr__(self) -> str:
        return f"<BatchPrediction {self._called()}: {self.view.state}, {self.view.rows_done:,} of {self.view.rows:,}>"
