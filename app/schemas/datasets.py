"""Datasets in requests and answers."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nabla.app.schemas.common import Name, Request
from nabla.engine.data.profile_schema import ColumnProfile, Kind, Named, Profile, Role
from nabla.engine.data.schema import Column, ColumnType, ImputationStrategy
from nabla.engine.literals import LARGEST_SEED, DataFormat, UploadKind, UploadState

if TYPE_CHECKING:
    from nabla.engine.data.ingest_options import Reading


def _label(value: Any) -> Any:
    """One sentence, and not one for each kind that it is not."""
    if not isinstance(value, bool | int | str):
        raise ValueError("A label is a whole number, a truth value or text")
    return value


Label = Annotated[bool | int | str, Field(union_mode="left_to_right"), BeforeValidator(_label)]


def decoded(text: str) -> Any:
    """JSON. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError as problem:
        raise ValueError(f"Not valid JSON: {problem}") from problem


def listed(value: Any) -> Any:
    """Text has commas between names, or is a JSON array of them."""
    if isinstance(value, str):
        value = decoded(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",")]
    return tuple(value) if isinstance(value, list) else value


def _object(value: Any) -> Any:
    return decoded(value) if isinstance(value, str) and value.lstrip().startswith("{") else value


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


UNLABELED = (
    "The rows have no answers, and are there for batch predictions: without target, label, targets, labels, classes, "
    "weight, weights. A value may be missing without more being said: the network fills it as it has learned to."
)
_Names = Annotated[tuple[str, ...], BeforeValidator(listed)]


class ReadingFields(Request):
    """How files are read. In forms and queries lists have commas between their items or are JSON, and objects are
    JSON."""

    name: Name | None = None
    format: Annotated[DataFormat | None, Field(description="What the files are; by default that is found out.")] = None
    header: Annotated[
        bool | None,
        BeforeValidator(_truth),
        Field(description="CSV, TSV: whether the first line names the columns; by default that is found out."),
    ] = None
    target: Annotated[_Names, Field(description="The columns to learn as numbers.")] = ()
    label: Annotated[str | None, Field(description="Or the column that holds the class.")] = None
    weight: Annotated[str | None, Field(description="The column that says how much a row counts.")] = None
    features: Annotated[
        _Names | None, Field(description="The columns to learn from; by default all others that there are.")
    ] = None
    classes: Annotated[
        tuple[Label, ...] | None,
        BeforeValidator(listed),
        Field(description="All classes in order, if not those that occur."),
    ] = None
    types: Annotated[
        dict[str, ColumnType],
        BeforeValidator(_object),
        Field(
            default_factory=dict,
            description='What columns hold, where it is not what they look like: {"zip": "category"}.',
        ),
    ]
    imputation: Annotated[
        ImputationStrategy | dict[str, ImputationStrategy] | None,
        BeforeValidator(_object),
        Field(
            description="What rows without a value get: a word for all columns (of categories and booleans then the "
            "most frequent one), or one for each. It is worked out from the rows that are trained on. Without it, such "
            "rows are refused."
        ),
    ] = None
    constants: Annotated[
        dict[str, float | str],
        BeforeValidator(_object),
        Field(default_factory=dict, description="The values of columns that are filled with a constant."),
    ]
    unlabeled: Annotated[bool, BeforeValidator(_truth), Field(description=UNLABELED)] = False

    def reading(self, largest: int) -> "Reading":
        """`largest`: bytes, once unpacked. Raises InvalidInput if these say one thing and its opposite."""
        from nabla.engine.data.ingest_options import Reading

        fields = {name: getattr(self, name) for name in ReadingFields.model_fields if name != "name"}
        return Reading(**fields, largest=largest)


if TYPE_CHECKING:
    from nabla.engine.data.dataset import Dataset
    from nabla.engine.data.ingest_options import Progress
    from nabla.engine.records.upload import Upload

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
    get what `imputation` says."""

    name: str
    type: ColumnType
    inputs: int
    categories: list[str] | None
    missing: int
    imputation: ImputationStrategy | None

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        return cls(
            name=column.name,
            type=column.type,
            inputs=column.inputs,
            categories=list(column.categories) if column.type == "category" else None,
            missing=column.missing,
            imputation=column.imputation,
        )


class ProgressView(BaseModel):
    """How far reading has come: bytes of the files, and rows."""

    bytes_read: int
    bytes_total: int
    rows: int


class ChunkView(BaseModel):
    """What has come: a file of rows, or a part of a file."""

    number: int
    bytes: int
    sha256: str


class DatasetProblem(BaseModel):
    field: str
    message: str


class DatasetView(BaseModel):
    """A dataset. `inputs` counts those of a network; with `classes`, `targets` is their number. `columns`: what is
    learned from, where it came as a table, and `target_columns`: the columns to learn; `weighted`: each row has a
    weight. `unlabeled`: the rows have no answers, `targets` is 0, and there is nothing to learn from it, but to predict.
    `sha256` is the same for the same content.

    Until it is `ready` most of it is not known: then `progress` tells how far reading has come, `chunks` what has been
    sent of an open one, and `errors` why one has failed."""

    id: str
    name: str | None
    state: UploadState | Literal["ready"]
    rows: int | None
    inputs: int | None
    targets: int | None
    classes: list[str] | None
    columns: list[ColumnView] | None
    target_columns: list[str] | None
    weighted: bool | None
    unlabeled: bool
    bytes: int
    sha256: str | None
    created_at: datetime
    upload: Literal["rows", "file"] | None
    chunks: list[ChunkView] | None
    progress: ProgressView | None
    errors: list[DatasetProblem] | None

    @classmethod
    def of(cls, record: "Dataset | Upload", progress: "Progress | None" = None) -> "DatasetView":
        from nabla.engine.records.upload import Upload

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
            target_columns=list(dataset.target_columns) or None,
            weighted=dataset.weighted,
            unlabeled=dataset.unlabeled,
            bytes=dataset.bytes,
            sha256=dataset.sha256,
            created_at=dataset.created_at,
            upload=None,
            chunks=None,
            progress=None,
            errors=None,
        )

    @classmethod
    def _of_upload(cls, upload: "Upload", progress: "Progress | None") -> "DatasetView":
        chunks = [ChunkView(number=one.number, bytes=one.bytes, sha256=one.sha256) for one in upload.chunks]
        return cls(
            id=upload.id,
            name=upload.name,
            state=upload.state,
            rows=None,
            inputs=None,
            targets=None,
            classes=None,
            columns=None,
            target_columns=None,
            weighted=None,
            unlabeled=upload.reading.unlabeled,
            bytes=upload.bytes,
            sha256=None,
            created_at=upload.created_at,
            upload=_open_kind(upload.kind),
            chunks=chunks if upload.state == "receiving" else None,
            progress=ProgressView(**vars(progress)) if progress else None,
            errors=[DatasetProblem(field=field, message=text) for field, text in upload.problems] or None,
        )


def _open_kind(kind: UploadKind) -> Literal["rows", "file"] | None:
    return None if kind == "fields" else kind


class FrequentView(BaseModel):
    value: str
    rows: int


class ColumnProfileView(BaseModel):
    """`distinct`: how many different values there are, null for more than 1,000 (fewer, where there are more than 4,000
    columns). `histogram`: how many rows there are in each of 20 equal parts between `min` and `max`. Booleans count as
    0 and 1, dates as days since 1970-01-01. `frequent`: the most frequent texts, those of more than 100 characters cut.
    `same_as`: an earlier column of the same values."""

    name: str
    role: Role
    type: Kind
    missing: int
    distinct: int | None
    min: float | None
    max: float | None
    mean: float | None
    deviation: float | None
    histogram: list[int] | None
    frequent: list[FrequentView] | None
    same_as: str | None

    @classmethod
    def of(cls, column: ColumnProfile) -> Self:
        fields = asdict(column)
        frequent = fields.pop("frequent")
        return cls(
            min=fields.pop("smallest"),
            max=fields.pop("largest"),
            frequent=None if frequent is None else [FrequentView(value=value, rows=rows) for value, rows in frequent],
            **fields,
        )


class ProfileView(BaseModel):
    """`classes`: how many rows each has. `warnings`: what may stand in the way of training."""

    dataset_id: str
    rows: int
    columns: list[ColumnProfileView]
    classes: dict[str, int] | None
    warnings: list[str]

    @classmethod
    def of(cls, dataset_id: str, profile: Profile) -> Self:
        return cls(
            dataset_id=dataset_id,
            rows=profile.rows,
            columns=[ColumnProfileView.of(column) for column in profile.columns],
            classes=profile.classes,
            warnings=list(profile.warnings),
        )


class NamedView(BaseModel):
    name: str
    role: Role


class RowsView(BaseModel):
    """Rows as they were handed in, `offset` the number of the first, counted from 0."""

    columns: list[NamedView]
    data: list[list[Cell]]
    offset: int
    rows: int

    @classmethod
    def of(cls, columns: tuple[Named, ...], data: list[list[Cell]], offset: int, rows: int) -> Self:
        named = [NamedView(name=column.name, role=column.role) for column in columns]
        return cls(columns=named, data=data, offset=offset, rows=rows)


class SplitFields(Request):
    name: Annotated[Name, Field(description="Of the new dataset.")]
    share: Annotated[float, Field(gt=0, le=1, description="Of the rows.")]


class NewSplit(Request):
    """Divide a dataset into parts that have no row in common."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"splits": [{"name": "xor-train", "share": 0.5}, {"name": "xor-test", "share": 0.5}], "seed": 7}
            ]
        }
    )

    splits: Annotated[list[SplitFields], Field(min_length=1, max_length=100)]
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, description="Draws the rows; the same seed, the same parts.")] = 0
    stratified: Annotated[bool, Field(description="Give each part of each class its share.")] = True

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if sum(part.share for part in self.splits) > 1 + 1e-9:
            raise ValueError("The shares of all parts are at most 1 together")
        return self


class SplitsView(BaseModel):
    """The new datasets, in the order of the parts."""

    data: list[DatasetView]
