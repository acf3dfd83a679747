"""Batch predictions in requests and answers."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.base import Name, Reference, Request
from app.schemas.jobs import ErrorView
from app.schemas.predictions import Version
from engine.names import BatchState, FileFormat

if TYPE_CHECKING:
    from engine.jobs.batch import BatchPrediction, Underway

_EXAMPLE: dict[str, JsonValue] = {"name": "xor", "dataset_id": "xor", "format": "csv", "probabilities": True}


class NewBatchPrediction(Request):
    """Work all rows of a dataset through a network, into a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    dataset_id: Annotated[
        Reference,
        Field(
            description="Id or name of a dataset that fits the network, as an evaluation needs it; or of an unlabeled "
            "one, whose inputs do: a table's columns are found by their names, in any order."
        ),
    ]
    version: Version = None
    format: Annotated[
        FileFormat,
        Field(
            description="csv, parquet, arrow: a table with the columns output_1, output_2, …, and label if the version "
            "was trained on classes. npy: an array of the outputs."
        ),
    ] = "csv"
    probabilities: Annotated[
        bool,
        Field(
            description="Columns probability_CLASS as well; in npy the probabilities instead of the outputs. The "
            "network has to learn by a cross-entropy."
        ),
    ] = False
    name: Name | None = None


class BatchPredictionView(BaseModel):
    """A batch prediction. `version`: the one that predicts, also when another is current by now; `rows_done` of `rows`:
    how far it is, and what is done is done again after a crash; `bytes`: of the file, when it has succeeded."""

    id: str
    name: str | None
    state: BatchState | Literal["running"]
    network_id: str
    version: int
    dataset_id: str
    format: FileFormat
    probabilities: bool
    rows: int
    rows_done: int
    bytes: int | None
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, batch: "BatchPrediction", underway: "Underway | None" = None) -> "BatchPredictionView":
        done = batch.rows if batch.state == "succeeded" else 0
        return cls(
            id=batch.id,
            name=batch.name,
            state="running" if underway else batch.state,
            network_id=batch.network_id,
            version=batch.version,
            dataset_id=batch.dataset_id,
            format=batch.format,
            probabilities=batch.probabilities,
            rows=batch.rows,
            rows_done=underway.rows_done if underway else done,
            bytes=batch.bytes,
            error=ErrorView(kind=batch.error.kind, message=batch.error.message) if batch.error else None,
            created_at=batch.created_at,
            started_at=underway.started_at if underway else batch.started_at,
            finished_at=batch.finished_at,
        )
