"""Batch predictions, as a client asks for them and fetches their files."""

import time
import uuid
from pathlib import Path
from typing import Any

from app.client.connection import Connection, ServiceError, check, persistently
from app.schemas.batches import BatchPredictionView

# Between two looks at one that has not ended: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0
_UNFINISHED = ("queued", "running")


class BatchPredictions(Connection):
    """Datasets worked through networks into files, by a process of the service."""

    def predict_dataset(self, network: str, dataset: str, **fields: Any) -> BatchPredictionView:
        """Begin it; other fields as in POST /v1/networks/{network}/batch-predictions. It is begun once, also if the
        connection breaks."""
        return persistently(
            self._ask,
            BatchPredictionView,
            "POST",
            f"/v1/networks/{network}/batch-predictions",
            json={"dataset_id": dataset, **fields},
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    def batch_prediction(self, batch: str) -> BatchPredictionView:
        """Its state, and how far it is."""
        return self._ask(BatchPredictionView, "GET", f"/v1/batch-predictions/{batch}")

    def predicted(self, batch: str) -> BatchPredictionView:
        """Wait until it has ended, also across a restart of the service.

        Raises ServiceError, with the service's sentence, unless it has succeeded.
        """
        pause = _SOON
        while (view := persistently(self.batch_prediction, batch)).state in _UNFINISHED:
            batch = view.id  # there may be a newer one of this name by now
            time.sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
        if view.state != "succeeded":
            why = f": {view.error.message}" if view.error else "."
            raise ServiceError(409, {"detail": f"The batch prediction {view.id} is {view.state}{why}"})
        return view

    def download_predictions(self, batch: str, path: Path) -> Path:
        """The file of one that has succeeded, as `path`, which is there when all of it has come."""
        return self._download(f"/v1/batch-predictions/{batch}/file", path)

    def cancel_prediction(self, batch: str) -> BatchPredictionView:
        """End one that has not ended."""
        return self._ask(BatchPredictionView, "POST", f"/v1/batch-predictions/{batch}/cancel")

    def delete_prediction(self, batch: str) -> None:
        """With its file, whatever its state."""
        check(self._http.delete(f"/v1/batch-predictions/{batch}"))
