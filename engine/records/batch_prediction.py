"""Batch predictions: all rows of a dataset are predicted into a file."""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nabla.engine.literals import BatchState, FileFormat
from nabla.engine.records.job import JobError


@dataclass(frozen=True)
class BatchPrediction:
    """A batch prediction. Running is not recorded as a state: the next service process restarts an unfinished one.

    Attributes:
        id: The id.
        name: The name, if it has one.
        network_id: The network.
        version: Number of the version that predicts.
        dataset_id: The dataset.
        rows: Rows of the dataset.
        format: Format of the file.
        probabilities: Whether the probabilities of the classes are written.
        created_at: When it was created.
        state: Its state.
        started_at: When it was started.
        finished_at: When it ended.
        file: Name of the file in its directory, if it has succeeded.
        bytes: Size of the file.
        warnings: Sentences about unusual rows.
        error: Why it failed.
        owned_datasets: Ids of datasets that are deleted with it.
    """

    id: str
    name: str | None
    network_id: str
    version: int
    dataset_id: str
    rows: int
    format: FileFormat
    probabilities: bool
    created_at: datetime
    state: BatchState = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    file: str | None = None
    bytes: int | None = None
    error: JobError | None = None
    warnings: tuple[str, ...] = ()
    owned_datasets: tuple[str, ...] = ()

    @property
    def dataset_ids(self) -> set[str]:
        """Ids of the datasets that it needs."""
        return {self.dataset_id}

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state != "queued"

    def succeeded(
        self, started_at: datetime, at: datetime, file: str, size: int, warnings: tuple[str, ...]
    ) -> "BatchPrediction":
        """Return it as succeeded."""
        return replace(
            self,
            state="succeeded",
            started_at=started_at,
            finished_at=at,
            file=file,
            bytes=size,
            warnings=warnings,
        )

    def failed(self, started_at: datetime, at: datetime, error: JobError) -> "BatchPrediction":
        """Return it as failed."""
        return replace(self, state="failed", started_at=started_at, finished_at=at, error=error)


class ActiveBatch:
    """A running batch prediction.

    Attributes:
        batch: Its record.
        started_at: When it was started.
        rows_done: How many rows are predicted.
        released: Set when nothing uses its files any more, and unreferenced ones are removed.
    """

    def __init__(self, batch: BatchPrediction) -> None:
        self.batch = batch
        self.started_at = datetime.now(UTC)
        self.rows_done = 0
        self.released = threading.Event()
