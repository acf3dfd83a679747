# Generated from batch_predictions.py in _async by scripts/generate_sync_client.py. Change that one.
"""A dataset that is worked through a network into a file, by a process of the service."""

from pathlib import Path

from nabla.app.client._sync.resource import Handle
from nabla.app.client.concurrency import sleep
from nabla.app.client.errors import BatchPredictionEnded
from nabla.app.schemas.predictions import BatchPredictionView

# Between two looks at one that has not ended: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0


class BatchPrediction(Handle[BatchPredictionView]):
    """A batch prediction."""

    @property
    def state(self) -> str:
        return self.view.state

    def refresh(self) -> "BatchPrediction":
        """Ask how far it is."""
        self.view = self._connection.ask(BatchPredictionView, "GET", self._path)
        return self

    def wait(self) -> "BatchPrediction":
        """Until it has ended, also across a restart of the service. Raises BatchPredictionEnded unless it has
        succeeded."""
        pause = _SOON
        while self.view.state in ("queued", "running"):
            sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
            self.refresh()
        if self.view.state != "succeeded":
            raise BatchPredictionEnded(self.view)
        return self

    def download(self, path: Path | str) -> Path:
        """The file of one that has succeeded, as `path`, which is there when all of it has come."""
        return self._connection.download(f"{self._path}/file", Path(path))

    def cancel(self) -> "BatchPrediction":
        """End one that has not ended."""
        self.view = self._connection.ask(BatchPredictionView, "POST", f"{self._path}/cancel")
        return self

    def delete(self) -> None:
        """With its file, whatever its state."""
        self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/batch-predictions/{self.id}"

    def __repr__(self) -> str:
        return f"<BatchPrediction {self._called()}: {self.view.state}, {self.view.rows_done:,} of {self.view.rows:,}>"
