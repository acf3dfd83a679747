# Generated from _async/batch_predictions.py by scripts/generate_sync_client.py. Do not edit.
"""Batch predictions: all rows of a dataset, predicted into a file by the service."""

from pathlib import Path
from typing import Self

from nabla.app.client._sync.resource import Resource, poll_while
from nabla.app.client.errors import BatchPredictionError
from nabla.app.schemas.predictions import BatchPredictionView


class BatchPrediction(Resource[BatchPredictionView]):
    """A batch prediction, created by `Network.predict_dataset`.

    Example:
        ```python
        batch = network.predict_dataset("customers", format="parquet")
        batch.wait()
        batch.download("predictions.parquet")
        ```
    """

    _view_type = BatchPredictionView
    _collection = "/v1/batch-predictions"

    @property
    def state(self) -> str:
        """One of `queued`, `running`, `succeeded`, `failed` and `cancelled`."""
        return self.view.state

    def wait(self) -> Self:
        """Wait until the batch prediction succeeds, even across restarts of the service.

        Raises:
            BatchPredictionError: The batch prediction failed or was cancelled.
        """
        poll_while(self, "queued", "running")
        if self.view.state != "succeeded":
            raise BatchPredictionError(self.view)
        return self

    def download(self, path: Path | str) -> Path:
        """Download the predictions.

        The file appears under its name when it is complete. An interrupted download is retried.

        Args:
            path: The file to write.

        Returns:
            The path of the file.

        Raises:
            Conflict: The batch prediction has not succeeded.
        """
        return self._connection.download(f"{self._path}/file", Path(path))

    def cancel(self) -> Self:
        """Cancel the batch prediction.

        Raises:
            Conflict: The batch prediction is already finished.
        """
        self.view = self._connection.request(BatchPredictionView, "POST", f"{self._path}/cancel")
        return self

    def delete(self) -> None:
        """Delete the batch prediction, its file and the datasets that it owns; cancel it if it is not finished."""
        self._connection.delete(self._path)

    def __repr__(self) -> str:
        """Return the id, the name, the state and the progress."""
        return f"<BatchPrediction {self._label}: {self.view.state}, {self.view.rows_done:,} of {self.view.rows:,}>"
