"""Datasets in requests and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.schemas.base import Name, Request
from engine.data.dataset import Dataset

Rows = Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)]
Label = Annotated[bool | int | str, Field(union_mode="left_to_right")]

EXAMPLE = {
    "name": "xor",
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "labels": ["no", "yes", "yes", "no"],
}


class NewDataset(Request):
    """Small data in the request itself: inputs, and targets or labels."""

    name: Name | None = None
    inputs: Annotated[Rows, Field(description="One row of numbers per example, all of the same length.")]
    targets: Annotated[Rows | None, Field(description="The outputs to meet, one row per example.")] = None
    labels: Annotated[
        list[Label] | None,
        Field(
            min_length=1,
            description="Or the class of each example. Learned as one-hot targets over the sorted classes (0 and 1 for "
            "a network with one output), and given back in predictions.",
        ),
    ] = None
    classes: Annotated[
        list[Label] | None, Field(min_length=2, description="All classes in order, if not those that occur.")
    ] = None
    weights: Annotated[
        list[float] | None,
        Field(description="How much each row counts, at least 0; without weights all rows count the same."),
    ] = None


class DatasetFile(Request):
    """A file: .npz with arrays inputs and targets or labels, or .csv with a header; or two .npy files. Weights of the
    rows are another array, column or file."""

    file: Annotated[str | None, Field(json_schema_extra={"format": "binary"}, description=".npz or .csv")] = None
    inputs: Annotated[str | None, Field(json_schema_extra={"format": "binary"}, description="inputs.npy")] = None
    targets: Annotated[str | None, Field(json_schema_extra={"format": "binary"}, description="targets.npy")] = None
    labels: Annotated[str | None, Field(json_schema_extra={"format": "binary"}, description="labels.npy")] = None
    weights: Annotated[str | None, Field(json_schema_extra={"format": "binary"}, description="weights.npy")] = None
    name: Name | None = None
    target: Annotated[
        str | None, Field(description="CSV: the column to learn as a number; several with commas between them.")
    ] = None
    label: Annotated[str | None, Field(description="CSV: the column that holds the class.")] = None
    weight: Annotated[str | None, Field(description="CSV: the column that says how much a row counts.")] = None
    classes: Annotated[str | None, Field(description="All classes in order, with commas between them.")] = None


class DatasetView(BaseModel):
    """A dataset. With `classes`, `targets` is their number; `weighted`: each row has a weight."""

    id: str
    name: str | None
    rows: int
    inputs: int
    targets: int
    classes: list[str] | None
    weighted: bool
    bytes: int
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetView":
        return cls(
            id=dataset.id,
            name=dataset.name,
            rows=dataset.rows,
            inputs=dataset.inputs,
            targets=dataset.targets,
            classes=list(dataset.classes) if dataset.classes else None,
            weighted=dataset.weighted,
            bytes=dataset.bytes,
            created_at=dataset.created_at,
        )
