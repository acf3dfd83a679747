"""Predictions in requests and answers."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from app.schemas.base import Request, VersionReference

EXAMPLE = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}

# What a value may be depends on the version's columns; it is looked at with them.
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]


class NewPrediction(Request):
    """Rows to work through a network, raw: they are prepared as those were that it was trained on."""

    inputs: Annotated[
        list[Annotated[list[Value], Field(min_length=1)]] | None,
        Field(
            min_length=1,
            description="One row per example: as many numbers as the network has inputs; or, where it was trained on a "
            "table, values in the order of its columns, null where there is none.",
        ),
    ] = None
    rows: Annotated[
        list[dict[str, Value]] | None,
        Field(
            min_length=1,
            description="Or one object per example, with the value of each column under its name.",
            examples=[[{"age": 31, "job": "clerk"}]],
        ),
    ] = None
    version: Annotated[
        VersionReference | None,
        Field(description="A published version, by its number or a tag; by default the current one."),
    ] = None


class PredictionView(BaseModel):
    """Outputs, in the units of the targets; and labels where the version was trained on classes."""

    network_id: str
    version: int
    outputs: list[list[float]]
    labels: list[str] | None
