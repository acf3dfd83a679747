"""Checkpoints of jobs in requests and answers."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import Request

if TYPE_CHECKING:
    from engine.jobs.job import SavedRun


class CheckpointView(BaseModel):
    """A saved run: after so many whole epochs, with the cost of the last of them."""

    number: int
    epoch: int
    cost: float | None
    seconds_elapsed: float
    bytes: int
    created_at: datetime

    @classmethod
    def of(cls, saved: "SavedRun") -> "CheckpointView":
        return cls(
            number=saved.number,
            epoch=saved.epoch,
            cost=saved.cost,
            seconds_elapsed=saved.seconds,
            bytes=saved.bytes,
            created_at=saved.created_at,
        )


class CheckpointsView(BaseModel):
    """Newest first."""

    data: list[CheckpointView]


class Publication(Request):
    """Which weights of a checkpoint to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weights": "last"}]})

    weights: Annotated[
        Literal["last", "best"], Field(description="best: those of the best epoch so far, with early stopping.")
    ] = "last"
