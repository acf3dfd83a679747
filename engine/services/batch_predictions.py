"""Batch predictions: queued, carried out one after the other, cancelled, handed out."""

import logging
import threading
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
from nabla.engine.records.batch_prediction import BatchPrediction, Underway
from nabla.engine.records.job import JobError
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.networks import Catalog
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.workers.task_process import Child, Died, GivenUp
from nabla.engine.workers.task_protocol import Predict, Predicted

log = logging.getLogger(__name__)

# What could not be recorded is tried again so often.
_SECONDS_BETWEEN_TRIES = 1.0
# The most specific kinds come first.
_KINDS: tuple[tuple[type[NablaError], ErrorKind], ...] = (
    (Damaged, "damaged_data"),
    (StorageFailed, "storage_failed"),
    (TooLarge, "out_of_memory"),
    (InvalidInput, "invalid_data"),
    (Died, "worker_died"),
    (NablaError, "internal"),
)


class BatchPredictions:
    """Methods may be called from any thread. A process of its own computes; a thread here gives it the oldest that has
    not ended, and waits for it."""

    def __init__(self, registry: Registry, folder: DataFolder, catalog: Catalog, child: Child, most: int) -> None:
        """`most`: how many may wait or run."""
        self._registry = registry
        self._folder = folder
        self._catalog = catalog
        self._child = child
        self._most = most
        self._changed = threading.Condition(registry.lock)
        self._underway: Underway | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="predicting datasets", daemon=True)

    def start(self) -> None:
        """Go on with what the journal knows of."""
        self._thread.start()

    def end(self) -> None:
        """What is carried out is left; the next service begins it anew."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._child.close()
        if self._thread.is_alive():
            self._thread.join()

    def underway(self, batch: BatchPrediction) -> Underway | None:
        """How far it is, if it runs."""
        underway = self._underway
        return underway if underway is not None and underway.batch.id == batch.id and not batch.finished else None

    def submit(
        self,
        network: NetworkRecord,
        version: Version,
        dataset: Dataset,
        format: FileFormat,
        probabilities: bool,
        name: str | None,
        receipt: Receipt | None = None,
    ) -> BatchPrediction:
        """Queue one. Raises InvalidInput if the dataset does not fit, TooMany if as many wait already as may."""
        self._catalog.check_predicts(network, version, dataset)
        with self._changed:
            self._registry.networks.get(network.id)  # they may have been deleted since they were found
            self._registry.datasets.get(dataset.id)
            if sum(not batch.finished for batch in self._registry.batches) >= self._most:
                raise TooMany(f"{self._most} batch predictions wait or run already, as many as this service takes.")
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
            )
            self._registry.add(self._registry.batches, batch, receipt)
            self._changed.notify_all()
            return batch

    def open(self, batch: BatchPrediction) -> BinaryIO:
        """Its file, to be read, after a look at every byte of it. Raises Conflict unless it has succeeded, Damaged."""
        if batch.file is None:
            error = f" ({batch.error.message})" if batch.error else ""
            raise Conflict(
                f"The batch prediction {batch.id} is {self.state_of(batch)}{error}; only one that has succeeded has a "
                "file."
            )
        try:
            return durable_files.open_checked(self._folder.of_batch(batch.id) / batch.file)
        except Damaged:
            self._registry.batches.get(batch.id)  # it may have been deleted since it was found
            raise

    def state_of(self, batch: BatchPrediction) -> str:
        return "running" if self.underway(batch) else batch.state

    def cancel(self, batch: BatchPrediction) -> BatchPrediction:
        """End it, and leave nothing of its file. Raises Conflict if it has ended."""
        with self._changed:
            now = self._registry.batches.get(batch.id)
            if now.finished:
                raise Conflict(f"The batch prediction is {now.state}; only one that is queued or running is cancelled.")
            underway = self.underway(now)
            started_at = underway.started_at if underway else None
            cancelled = replace(now, state="cancelled", started_at=started_at, finished_at=datetime.now(UTC))
            self._registry.change(self._registry.batches, cancelled)
        self._let_go(cancelled)
        return cancelled

    def delete(self, batch: BatchPrediction) -> None:
        """Forget it and its file, whatever its state."""
        with self._changed:
            self._registry.remove(self._registry.batches, self._registry.batches.get(batch.id))
        self._let_go(batch)
        self._folder.remove(self._folder.of_batch(batch.id))

    def _let_go(self, batch: BatchPrediction) -> None:
        """Of one that nobody wants any more."""
        underway = self._underway
        if underway is not None and underway.batch.id == batch.id:
            self._child.give_up(batch.id)
            underway.released.wait()

    def _work(self) -> None:
        while (underway := self._next()) is not None:
            try:
                ended = self._carried_out(underway)
                if ended is not None:
                    self._settle(ended)
                with self._changed:
                    self._underway = None
                    now = self._registry.batches.peek(underway.batch.id)
                if now is None or now.state != "succeeded":
                    self._folder.remove(self._folder.of_batch(underway.batch.id))
            finally:  # whoever cancelled it waits for this
                underway.released.set()

    def _next(self) -> Underway | None:
        """Waits for the oldest that has not ended; None when the service ends."""
        with self._changed:
            while not self._ending:
                batch = next((batch for batch in self._registry.batches if not batch.finished), None)
                if batch is not None:
                    self._underway = Underway(batch)
                    return self._underway
                # Woken at each; and now and then, for the journal may have more than was told when it is opened anew.
                self._changed.wait(_SECONDS_BETWEEN_TRIES)
            return None

    def _carried_out(self, underway: Underway) -> BatchPrediction | None:
        """As it has ended; None where nobody wants to know, or the service ends."""
        batch, started_at = underway.batch, underway.started_at
        try:
            predicted = self._predict(underway)
        except (GivenUp, Unavailable):
            return None
        except NablaError as problem:
            log.log(logging.INFO if isinstance(problem, InvalidInput) else logging.ERROR, "%s: %s", batch.id, problem)
            kind = next(kind for type_, kind in _KINDS if isinstance(problem, type_))
            return batch.failed(started_at, datetime.now(UTC), JobError(kind, str(problem)))
        except BaseException:
            log.exception("%s failed", batch.id)
            error = JobError("internal", "The service met an error of its own; its log has the details.")
            return batch.failed(started_at, datetime.now(UTC), error)
        return batch.succeeded(started_at, datetime.now(UTC), predicted.file, predicted.bytes)

    def _predict(self, underway: Underway) -> Predicted:
        batch = underway.batch
        network = self._registry.networks.get(batch.network_id)
        version = network.find(batch.version)

        def advanced(progress: Progress) -> None:
            underway.rows_done = progress.rows

        with durable_files.new_folder(self._folder.of_batch(batch.id)) as place:
            errand = Predict(
                self._registry.datasets.get(batch.dataset_id),
                str(self._folder.of_dataset(batch.dataset_id)),
                network.architecture,
                str(self._folder.of_network(network.id) / version.file),
                network.preprocessing,
                version.classes,
                batch.format,
                batch.probabilities,
                str(place),
            )
            predicted = self._child.carry_out(batch.id, errand, advanced)
            assert isinstance(predicted, Predicted)
            return predicted

    def _settle(self, ended: BatchPrediction) -> None:
        """Record how it has ended, unless its owner was faster; a journal that cannot be written is waited for."""
        with self._changed:
            while not self._ending:
                now = self._registry.batches.peek(ended.id)
                if now is None or now.finished:
                    return
                try:
                    self._registry.change(self._registry.batches, ended)
                    return
                except StorageFailed as problem:
                    log.critical("%s: %s", ended.id, problem)
                    self._changed.wait(_SECONDS_BETWEEN_TRIES)
