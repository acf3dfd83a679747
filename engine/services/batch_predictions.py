"""Batch prediction service: a queue of datasets to predict into files, one after the other."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import BinaryIO

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import Progress
from nabla.engine.errors import (
    Conflict,
    Damaged,
    InvalidInput,
    NablaError,
    StorageFailed,
    TooLarge,
    TooMany,
    Unavailable,
)
from nabla.engine.literals import ErrorKind, FileFormat
from nabla.engine.records import ids
from nabla.engine.records.batch_prediction import ActiveBatch, BatchPrediction
from nabla.engine.records.job import JobError
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.workers.task_process import ProcessCrashed, TaskCancelled, TaskProcess
from nabla.engine.workers.tasks.predictions import PredictDataset, PredictionFile

log = logging.getLogger(__name__)

# How often a failed write is retried, and the queue is polled.
_RETRY_INTERVAL = 1.0
# Subclasses come before their bases.
_ERROR_KINDS: tuple[tuple[type[NablaError], ErrorKind], ...] = (
    (Damaged, "damaged_data"),
    (StorageFailed, "storage_failed"),
    (TooLarge, "out_of_memory"),
    (InvalidInput, "invalid_data"),
    (ProcessCrashed, "worker_died"),
    (NablaError, "internal"),
)


class BatchPredictions:
    """The queue of batch predictions. Methods may be called from any thread.

    A task process predicts. A thread gives it the oldest unfinished batch prediction and waits for the result.
    """

    def __init__(
        self,
        registry: Registry,
        data_dir: DataDir,
        networks: NetworkService,
        task_process: TaskProcess,
        max_unfinished: int,
    ) -> None:
        """Create the queue with a stopped thread; at most `max_unfinished` may be queued or running."""
        self._registry = registry
        self._data_dir = data_dir
        self._networks = networks
        self._task_process = task_process
        self._max_unfinished = max_unfinished
        self._changed = threading.Condition(registry.lock)
        self._active: ActiveBatch | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="batch-predictions", daemon=True)

    def start(self) -> None:
        """Start to process the queue, which may have entries of an earlier service process."""
        self._thread.start()

    def stop(self) -> None:
        """Abort the running batch prediction; the next service process starts it again."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._task_process.close()
        if self._thread.is_alive():
            self._thread.join()

    def get_active(self, batch: BatchPrediction) -> ActiveBatch | None:
        """Return the progress of a batch prediction; None if it is not running."""
        active = self._active
        return active if active is not None and active.batch.id == batch.id and not batch.finished else None

    def submit(
        self,
        network: NetworkRecord,
        version: Version,
        dataset: Dataset,
        format: FileFormat,
        probabilities: bool,
        name: str | None,
        idempotency: IdempotencyKey | None = None,
        owned_datasets: Sequence[Dataset] = (),
    ) -> BatchPrediction:
        """Queue a batch prediction; `owned_datasets` are deleted with it.

        Raises:
            InvalidInput: The dataset does not fit the version.
            Conflict: The network scales its data, and the version is untrained.
            NotFound: The network or the dataset was deleted meanwhile.
            TooMany: The queue is full.
        """
        self._networks.validate_prediction(network, version, dataset)
        with self._changed:
            self._registry.networks.get(network.id)
            self._registry.datasets.get(dataset.id)
            if sum(not batch.finished for batch in self._registry.batch_predictions) >= self._max_unfinished:
                raise TooMany(
                    f"{self._max_unfinished} batch predictions are queued or running already, the maximum. Retry later."
                )
            batch = BatchPrediction(
                ids.new_id(ids.BATCH),
                name,
                network.id,
                version.number,
                dataset.id,
                dataset.rows,
                format,
                probabilities,
                datetime.now(UTC),
                owned_datasets=tuple(dataset.id for dataset in owned_datasets),
            )
            self._registry.add(self._registry.batch_predictions, batch, idempotency)
            self._changed.notify_all()
            return batch

    def open_file(self, batch: BatchPrediction) -> BinaryIO:
        """Open the file of a batch prediction after verifying its digest.

        Raises:
            Conflict: It has not succeeded.
            Damaged: The file does not match its digest.
            NotFound: It was deleted meanwhile.
        """
        if batch.file is None:
            reason = f" ({batch.error.message})" if batch.error else ""
            raise Conflict(
                f"The batch prediction {batch.id} is {self._state(batch)}{reason}; only one that has succeeded has a "
                "file."
            )
        try:
            return durable_files.open_verified(self._data_dir.batch_prediction_dir(batch.id) / batch.file)
        except Damaged:
            self._registry.batch_predictions.get(batch.id)  # NotFound if it was deleted meanwhile
            raise

    def cancel(self, batch: BatchPrediction) -> BatchPrediction:
        """Cancel a batch prediction and remove its unfinished file.

        Raises:
            Conflict: It has ended.
        """
        with self._changed:
            now = self._registry.batch_predictions.get(batch.id)
            if now.finished:
                raise Conflict(f"The batch prediction is {now.state}; only one that is queued or running is cancelled.")
            active = self.get_active(now)
            started_at = active.started_at if active else None
            cancelled = replace(now, state="cancelled", started_at=started_at, finished_at=datetime.now(UTC))
            self._registry.change(self._registry.batch_predictions, cancelled)
        self._abort(cancelled)
        return cancelled

    def delete(self, batch: BatchPrediction) -> None:
        """Delete a batch prediction in any state, and its file."""
        with self._changed:
            self._registry.remove(self._registry.batch_predictions, self._registry.batch_predictions.get(batch.id))
        self._abort(batch)
        self._data_dir.remove(self._data_dir.batch_prediction_dir(batch.id))

    def _state(self, batch: BatchPrediction) -> str:
        """Return the state for messages. The record does not distinguish running from queued."""
        return "running" if self.get_active(batch) else batch.state

    def _abort(self, batch: BatchPrediction) -> None:
        """Abort the task of a batch prediction, if it runs, and wait until nothing uses its file."""
        active = self._active
        if active is not None and active.batch.id == batch.id:
            self._task_process.cancel(batch.id)
            active.released.wait()

    def _work(self) -> None:
        while (active := self._next()) is not None:
            try:
                finished = self._run(active)
                if finished is not None:
                    self._record(finished)
                with self._changed:
                    self._active = None
                    now = self._registry.batch_predictions.get_or_none(active.batch.id)
                if now is None or now.state != "succeeded":
                    self._data_dir.remove(self._data_dir.batch_prediction_dir(active.batch.id))
            finally:  # `_abort` waits for this
                active.released.set()

    def _next(self) -> ActiveBatch | None:
        """Wait for the oldest unfinished batch prediction; None when the service is stopping."""
        with self._changed:
            while not self._stopping:
                batch = next((batch for batch in self._registry.batch_predictions if not batch.finished), None)
                if batch is not None:
                    self._active = ActiveBatch(batch)
                    return self._active
                # The timeout is for entries that nothing announces: those of a journal that was reopened.
                self._changed.wait(_RETRY_INTERVAL)
            return None

    def _run(self, active: ActiveBatch) -> BatchPrediction | None:
        """Return the finished record, or None if it was cancelled or the service is stopping."""
        batch, started_at = active.batch, active.started_at
        try:
            predicted = self._predict(active)
        except (TaskCancelled, Unavailable):
            return None
        except NablaError as error:
            log.log(logging.INFO if isinstance(error, InvalidInput) else logging.ERROR, "%s: %s", batch.id, error)
            kind = next(kind for type_, kind in _ERROR_KINDS if isinstance(error, type_))
            return batch.failed(started_at, datetime.now(UTC), JobError(kind, str(error)))
        except BaseException:
            log.exception("%s failed", batch.id)
            internal = JobError("internal", "Internal error; the log of the service has the details.")
            return batch.failed(started_at, datetime.now(UTC), internal)
        return batch.succeeded(started_at, datetime.now(UTC), predicted.file, predicted.bytes, predicted.warnings)

    def _predict(self, active: ActiveBatch) -> PredictionFile:
        batch = active.batch
        network = self._registry.networks.get(batch.network_id)
        version = network.resolve_version(batch.version)

        def on_progress(progress: Progress) -> None:
            active.rows_done = progress.rows

        with durable_files.create_dir(self._data_dir.batch_prediction_dir(batch.id)) as directory:
            task = PredictDataset(
                self._registry.datasets.get(batch.dataset_id),
                str(self._data_dir.dataset_dir(batch.dataset_id)),
                network.architecture,
                str(self._data_dir.network_dir(network.id) / version.file),
                network.preprocessing,
                version.classes,
                batch.format,
                batch.probabilities,
                output_dir=str(directory),
            )
            predicted = self._task_process.run(batch.id, task, on_progress)
            assert isinstance(predicted, PredictionFile)
            return predicted

    def _record(self, finished: BatchPrediction) -> None:
        """Record the result unless it was cancelled or deleted; retry while the journal cannot be written."""
        with self._changed:
            while not self._stopping:
                now = self._registry.batch_predictions.get_or_none(finished.id)
                if now is None or now.finished:
                    return
                try:
                    self._registry.change(self._registry.batch_predictions, finished)
                    return
                except StorageFailed as error:
                    log.critical("%s: %s", finished.id, error)
                    self._changed.wait(_RETRY_INTERVAL)
