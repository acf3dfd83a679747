"""Datasets in requests and answers."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import Name, Request
from app.schemas.reading import UNLABELED, Label, ReadingFields
from engine.data.columns import Column, ColumnType, Filling
from engine.names import UploadKind, UploadState

if TYPE_CHECKING:
    from engine.data.dataset import Dataset
    from engine.data.sources import Progress
    from engine.jobs.upload import Upload

Rows = Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)]
Cell = bool | int | float | str | None

EXAMPLE = {
    "name": "xor",
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "labels": ["no", "yes", "yes", "no"],
}


class NewDataset(Request):
    """Small data in the request itself: inputs, and targets or labels; or inputs alone, if they are `unlabeled`."""

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
    unlabeled: Annotated[bool, Field(description=UNLABELED)] = False


class NewTable(ReadingFields):
    """Small data in the request itself: rows with names."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "rows": [{"age": 31, "job": "clerk", "pays": "yes"}, {"age": 52, "job": "smith", "pays": "no"}],
                    "label": "pays",
                }
            ]
        }
    )

    rows: Annotated[list[dict[str, Cell]], Field(min_length=1, description="One object per example.")]


class NewUpload(ReadingFields):
    """A dataset that comes in several requests, until it is closed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "large", "upload": "rows", "target": "y"}]})

    upload: Annotated[
        Literal["rows", "file"],
        Field(description="rows: files, one after the other (`/rows`); file: one file in parts (`/parts`)."),
    ]


class DatasetFile(ReadingFields):
    """A table or an .npz in `file`; or arrays (.npy, IDX) in `inputs` and `targets` or `labels`, and `weights`; or in
    `inputs` alone, if they are `unlabeled`."""

    file: Annotated[str | None, Field(json_schema_extra={"format": "binary"})] = None
    inputs: Annotated[str | None, Field(json_schema_extra={"format": "binary"})] = None
    targets: Annotated[str | None, Field(json_schema_extra={"format": "binary"})] = None
    labels: Annotated[str | None, Field(json_schema_extra={"format": "binary"})] = None
    weights: Annotated[str | None, Field(json_schema_extra={"format": "binary"})] = None


class ColumnView(BaseModel):
    """A column that is learned from. `inputs`: how many of a network's it takes; `missing`: rows without a value, which
    get what `fill` says."""

    name: str
    type: ColumnType
    inputs: int
    categories: list[str] | None
    missing: int
    fill: Filling | None

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        return cls(
            name=column.name,
            type=column.type,
            inputs=column.inputs,
            categories=list(column.categories) if column.type == "category" else None,
            missing=column.missing,
            fill=column.fill,
        )


class ProgressView(BaseModel):
    """How far reading has come: bytes of the files, and rows."""

    bytes_read: int
    bytes_total: int
    rows: int


class PieceView(BaseModel):
    """What has come: a file of rows, or a part of a file."""

    number: int
    bytes: int
    sha256: str


class DatasetProblem(BaseModel):
    field: str
    message: str


class DatasetView(BaseModel):
    """A dataset. `inputs` counts those of a network; with `classes`, `targets` is their number. `columns`: what is
    learned from, where it came as a table, and `answers`: the columns to learn; `weighted`: each row has a weight.
    `unlabeled`: the rows have no answers, `targets` is 0, and there is nothing to learn from it, but to predict.
    `sha256` is the same for the same content.

    Until it is `ready` most of it is not known: then `progress` tells how far reading has come, `pieces` what has been
    sent of an open one, and `errors` why one has failed."""

    id: str
    name: str | None
    state: UploadState | Literal["ready"]
    rows: int | None
    inputs: int | None
    targets: int | None
    classes: list[str] | None
    columns: list[ColumnView] | None
    answers: list[str] | None
    weighted: bool | None
    unlabeled: bool
    bytes: int
    sha256: str | None
    created_at: datetime
    upload: Literal["rows", "file"] | None
    pieces: list[PieceView] | None
    progress: ProgressView | None
    errors: list[DatasetProblem] | None

    @classmethod
    def of(cls, record: "Dataset | Upload", progress: "Progress | None" = None) -> "DatasetView":
        from engine.jobs.upload import Upload

        return cls._of_upload(record, progress) if isinstance(record, Upload) else cls._of_dataset(record)

    @classmethod
    def _of_dataset(cls, dataset: "Dataset") -> "DatasetView":
        return cls(
            id=dataset.id,
            name=dataset.name,
            state="ready",
            rows=dataset.rows,
            inputs=dataset.inputs,
            targets=dataset.targets,
            classes=list(dataset.classes) if dataset.classes else None,
            columns=None if dataset.features is None else [ColumnView.of(column) for column in dataset.features],
            answers=list(dataset.answers) or None,
            weighted=dataset.weighted,
            unlabeled=dataset.unlabeled,
            bytes=dataset.bytes,
            sha256=dataset.sha256,
            created_at=dataset.created_at,
            upload=None,
            pieces=None,
            progress=None,
            errors=None,
        )

    @classmethod
    def _of_upload(cls, upload: "Upload", progress: "Progress | None") -> "DatasetView":
        pieces = [PieceView(number=one.number, bytes=one.bytes, sha256=one.sha256) for one in upload.pieces]
        return cls(
            id=upload.id,
            name=upload.name,
            state=upload.state,
            rows=None,
            inputs=None,
            targets=None,
            classes=None,
            columns=None,
            answers=None,
            weighted=None,
            unlabeled=upload.reading.unlabeled,
            bytes=upload.bytes,
            sha256=None,
            created_at=upload.created_at,
            upload=_open_kind(upload.kind),
            pieces=pieces if upload.state == "receiving" else None,
            progress=ProgressView(**vars(progress)) if progress else None,
            errors=[DatasetProblem(field=field, message=text) for field, text in upload.problems] or None,
        )


def _open_kind(kind: UploadKind) -> Literal["rows", "file"] | None:
    return None if kind == "fields" else kind
