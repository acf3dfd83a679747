"""A batch prediction: a dataset that is worked through a version of a network into a file."""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nabla.engine.literals import BatchState, FileFormat
from nabla.engine.records.job import JobError


@dataclass(frozen=True)
class BatchPrediction:
    """`rows`: those of the dataset. `file`, of so many `bytes`, is in its folder when it has succeeded. That it runs is
    not recorded: whatever has not ended is begun anew by the next service."""

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

    @property
    def dataset_ids(self) -> set[str]:
        """Of all datasets that it needs."""
        return {self.dataset_id}

    @property
    def finished(self) -> bool:
        return self.state != "queued"

    def succeeded(self, started_at: datetime, at: datetime, file: str, size: int) -> "BatchPrediction":
        return replace(self, state="succeeded", started_at=started_at, finished_at=at, file=file, bytes=size)

    def failed(self, started_at: datetime, at: datetime, error: JobError) -> "BatchPrediction":
        return replace(self, state="failed", started_at=started_at, finished_at=at, error=error)


class Underway:
    """The one that is carried out. `rows_done`: how far it is; `released`: set when nothing of it is in use any more,
    and what is not wanted of it is gone."""

    def __init__(self, batch: BatchPrediction) -> None:
        self.batch = batch
        self.started_at = datetime.now(UTC)
        self.rows_done = 0
        self.released = threading.Event()
