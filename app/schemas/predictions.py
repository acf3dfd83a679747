"""Predictions in requests and answers."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from app.schemas.base import Request, VersionReference

EXAMPLE = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}
MOST_TOP = 1000

# What a value may be depends on the version's columns; it is looked at with them. Rows are not looked at value by value
# but as an array, as long as nothing is wrong.
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]

Version = Annotated[
    VersionReference | None,
    Field(description="A published version, by its number or a tag; by default the current one."),
]
TopK = Annotated[
    int | None,
    Field(ge=1, le=MOST_TOP, description="So many of the most likely classes of each row, the likeliest first."),
]
Probabilities = Annotated[
    bool,
    Field(
        description="The probability of each class. The network has to learn by a cross-entropy: other costs make no "
        "probabilities of outputs."
    ),
]


class NewLivePrediction(Request):
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
    top_k: TopK = None
    probabilities: Probabilities = False


class NewPrediction(NewLivePrediction):
    """Rows to work through a version of a network, raw: they are prepared as those were that it was trained on."""

    version: Version = None


class Likely(BaseModel):
    """A class and its score: the output for it. A single output p is the second class's, and 1 − p the first's."""

    label: str
    score: float


class PredictionView(BaseModel):
    """Outputs, in the units of the targets; and labels where the network was trained on classes. `probabilities` (of
    each class, row by row) and `top` are there if they were asked for; `job_id` and `epoch` if a running job was."""

    network_id: str
    version: int | None = Field(description="That of the weights; null for those of a running job.")
    job_id: str | None = None
    epoch: int | None = Field(
        None, description="How many epochs the job's weights had seen; steps of the next one may be in them."
    )
    outputs: list[list[float]]
    labels: list[str] | None
    probabilities: list[list[float]] | None = None
    top: list[list[Likely]] | None = None
