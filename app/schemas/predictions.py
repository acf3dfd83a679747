"""Predictions in requests and answers."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.schemas.base import Request
from app.schemas.datasets import Rows

EXAMPLE = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}


class NewPrediction(Request):
    """Rows to work through a network."""

    inputs: Annotated[Rows, Field(description="One row per example, as long as the network has inputs.")]
    version: Annotated[int | None, Field(ge=0, description="A published version; by default the current one.")] = None


class PredictionView(BaseModel):
    """Outputs, and labels where the version was trained on classes."""

    network_id: str
    version: int
    outputs: list[list[float]]
    labels: list[str] | None
