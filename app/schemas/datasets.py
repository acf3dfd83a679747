"""Requests and responses about datasets: creation, uploads, profiles, rows and splits."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nabla.app.schemas.common import Name, RequestModel
from nabla.engine.data.schema import (
    ClassLabel,
    Column,
    ColumnHeader,
    ColumnProfile,
    ColumnType,
    ImputationStrategy,
    Profile,
    Role,
    StoredType,
)
from nabla.engine.literals import MAX_SEED, DataFormat, UploadState

if TYPE_CHECKING:
    from nabla.engine.data.dataset import Dataset
    from nabla.engine.data.ingest_options import IngestOptions, Progress
    from nabla.engine.records.upload import Upload

EXAMPLE = {
    "name": "xor",
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "labels": ["no", "yes", "yes", "no"],
}
_UNLABELED = (
    "The rows have no targets and are for batch predictions only: target, label, targets, labels, classes, weight and "
    "weights must be left out. Missing values are allowed: the network fills them with the values fitted in training."
)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"Not valid JSON: {error}") from error


def parse_list(value: Any) -> Any:
    """Convert a form or query value, either names separated by commas or a JSON array, to a tuple.

    Raises:
        ValueError: The text starts with `[` and is not valid JSON.
    """
    if isinstance(value, str):
        value = _parse_json(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",")]
    return tuple(value) if isinstance(value, list) else value


def _parse_object(value: Any) -> Any:
    return _parse_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value


def _parse_bool(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _check_label(value: Any) -> Any:
    # Without this check pydantic would report one error for each member of the union.
    if not isinstance(value, bool | int | str):
        raise ValueError("A label is an integer, a boolean or a string")
    return value


Label = Annotated[bool | int | str, Field(union_mode="left_to_right"), BeforeValidator(_check_label)]
Rows = Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)]
Cell = bool | int | float | str | None
_ColumnNames = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
_FileField = Annotated[str | None, Field(json_schema_extra={"format": "binary"})]


class IngestFields(RequestModel):
    """How to parse files.

    In forms and queries, lists are separated by commas or are JSON arrays, and objects are JSON.
    """

    name: Name | None = None
    format: Annotated[DataFormat | None, Field(description="Format of the files; detected by default.")] = None
    header: Annotated[
        bool | None,
        BeforeValidator(_parse_bool),
        Field(description="CSV, TSV: whether the first line names the columns; detected by default."),
    ] = None
    target: Annotated[_ColumnNames, Field(description="Columns to learn as numbers (regression).")] = ()
    label: Annotated[
        str | None, Field(description="Column to learn as classes (classification), instead of target.")
    ] = None
    weight: Annotated[str | None, Field(description="Column with the sample weights.")] = None
    features: Annotated[_ColumnNames | None, Field(description="Columns to learn from; by default all others.")] = None
    classes: Annotated[
        tuple[Label, ...] | None,
        BeforeValidator(parse_list),
        Field(description="All classes in order; by default those that occur, sorted."),
    ] = None
    types: Annotated[
        dict[str, ColumnType],
        BeforeValidator(_parse_object),
        Field(
            default_factory=dict,
            description='Types of columns for which the inferred type is wrong: {"zip": "category"}.',
        ),
    ]
    imputation: Annotated[
        ImputationStrategy | dict[str, ImputationStrategy] | None,
        BeforeValidator(_parse_object),
        Field(
            description="How to fill missing values: one strategy for all columns (categories and booleans then get "
            "their most frequent value), or one for each column. The values are computed from the training rows. By "
            "default, rows with missing values are rejected."
        ),
    ] = None
    constants: Annotated[
        dict[str, float | str],
        BeforeValidator(_parse_object),
        Field(default_factory=dict, description='Fill values of the columns with the imputation "constant".'),
    ]
    unlabeled: Annotated[bool, BeforeValidator(_parse_bool), Field(description=_UNLABELED)] = False

    def ingest_options(self, max_bytes: int) -> "IngestOptions":
        """Return the options for the ingest.

        Args:
            max_bytes: Limit on the decompressed size of the data, in bytes.

        Raises:
            InvalidInput: Two options contradict each other.
        """
        from nabla.engine.data.ingest_options import IngestOptions

        options = {name: getattr(self, name) for name in IngestFields.model_fields if name != "name"}
        return IngestOptions(**options, largest=max_bytes)


class NewDataset(RequestModel):
    """Small data in the request itself: inputs with targets or labels, or inputs alone if `unlabeled`."""

    name: Name | None = None
    inputs: Annotated[Rows, Field(description="One row of numbers per example, all of the same length.")]
    targets: Annotated[Rows | None, Field(description="Target outputs, one row per example (regression).")] = None
    labels: Annotated[
        list[Label] | None,
        Field(
            min_length=1,
            description="Class of each example (classification), instead of targets. Encoded as one-hot targets over "
            "the sorted classes (0 and 1 for a network with one output); predictions return the labels.",
        ),
    ] = None
    classes: Annotated[
        list[Label] | None,
        Field(min_length=2, description="All classes in order; by default those that occur, sorted."),
    ] = None
    weights: Annotated[
        list[float] | None,
        Field(description="Sample weight of each row, at least 0; by default all rows weigh the same."),
    ] = None
    unlabeled: Annotated[bool, Field(description=_UNLABELED)] = False


class NewTable(IngestFields):
    """Small data in the request itself: rows with named values."""

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


class NewUpload(IngestFields):
    """A dataset that is uploaded in several requests and then closed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "large", "upload": "rows", "target": "y"}]})

    upload: Annotated[
        Literal["rows", "file"],
        Field(
            description="rows: files with rows, one after the other (`/rows`); file: one file in chunks (`/chunks`)."
        ),
    ]


class DatasetFile(IngestFields):
    """A table or .npz archive in `file`, or arrays (.npy, IDX) in one field each.

    Arrays: `inputs` with `targets` or `labels`, and optionally `weights`; or `inputs` alone if `unlabeled`.
    """

    file: _FileField = None
    inputs: _FileField = None
    targets: _FileField = None
    labels: _FileField = None
    weights: _FileField = None


class ColumnView(BaseModel):
    """A feature column."""

    name: str
    type: ColumnType
    inputs: Annotated[int, Field(description="Number of network inputs that the column becomes.")]
    categories: list[str] | None
    missing: Annotated[int, Field(description="Number of rows without a value, which `imputation` fills.")]
    imputation: ImputationStrategy | None

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        """Return the view of a column."""
        return cls(
            name=column.name,
            type=column.type,
            inputs=column.inputs,
            categories=list(column.categories) if column.type == "category" else None,
            missing=column.missing,
            imputation=column.imputation,
        )


class ProgressView(BaseModel):
    """Progress of an ingest: bytes of the uploaded files, and rows."""

    bytes_read: int
    bytes_total: int
    rows: int


class ChunkView(BaseModel):
    """An uploaded chunk: a file with rows, or a part of one file."""

    number: int
    bytes: int
    sha256: str


class DatasetError(BaseModel):
    """Why an ingest failed: the field of the request, and the reason."""

    field: str
    message: str


class DatasetView(BaseModel):
    """A dataset. Most fields are null until `state` is `ready`."""

    id: str
    name: str | None
    state: Annotated[
        UploadState | Literal["ready"],
        Field(description="receiving: open for uploads; reading: being ingested; failed: see `errors`."),
    ]
    rows: int | None
    inputs: Annotated[int | None, Field(description="Number of network inputs that a row becomes.")]
    targets: Annotated[
        int | None, Field(description="Number of targets; with `classes` their number, and 0 if `unlabeled`.")
    ]
    classes: Annotated[
        list[ClassLabel] | None,
        Field(description="The classes in order, of the type of the labels; null if the targets are numbers."),
    ]
    columns: Annotated[list[ColumnView] | None, Field(description="Feature columns; null if the data are arrays.")]
    target_columns: Annotated[list[str] | None, Field(description="Names of the columns to learn.")]
    weighted: Annotated[bool | None, Field(description="Whether the rows have sample weights.")]
    unlabeled: Annotated[bool, Field(description="The rows have no targets: they can be predicted, not trained on.")]
    bytes: int
    sha256: Annotated[str | None, Field(description="SHA-256 of the content: equal for equal content.")]
    split_from: Annotated[str | None, Field(description="Id of the dataset that it is a part of, after a split.")]
    split_with: Annotated[
        list[str] | None,
        Field(description="Ids of the other parts of the same split, which have no rows in common with it."),
    ]
    shadows: Annotated[
        list[str],
        Field(
            description="Ids of up to 20 older datasets with the same name, which stands for this one or a newer one."
        ),
    ]
    created_at: datetime
    upload: Literal["rows", "file"] | None
    chunks: Annotated[list[ChunkView] | None, Field(description="Chunks received so far, while `receiving`.")]
    progress: Annotated[ProgressView | None, Field(description="Progress of the ingest, while `reading`.")]
    errors: Annotated[list[DatasetError] | None, Field(description="Why the ingest failed.")]

    @classmethod
    def of(
        cls, record: "Dataset | Upload", shadows: Sequence[str], progress: "Progress | None" = None
    ) -> "DatasetView":
        """Return the view of a dataset, or of the upload that will become one.

        Args:
            record: The dataset or upload.
            shadows: Ids of older datasets with its name.
            progress: Progress of its ingest.
        """
        from nabla.engine.records.upload import Upload

        return cls._of_upload(record, progress) if isinstance(record, Upload) else cls._of_dataset(record, shadows)

    @classmethod
    def _of_dataset(cls, dataset: "Dataset", shadows: Sequence[str]) -> "DatasetView":
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
            split_from=dataset.split_from,
            split_with=list(dataset.split_with) if dataset.split_from else None,
            shadows=list(shadows),
            created_at=dataset.created_at,
            upload=None,
            chunks=None,
            progress=None,
            errors=None,
        )

    @classmethod
    def _of_upload(cls, upload: "Upload", progress: "Progress | None") -> "DatasetView":
        chunks = [ChunkView(number=chunk.number, bytes=chunk.bytes, sha256=chunk.sha256) for chunk in upload.chunks]
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
            split_from=None,
            split_with=None,
            shadows=[],
            created_at=upload.created_at,
            upload=None if upload.kind == "fields" else upload.kind,
            chunks=chunks if upload.state == "receiving" else None,
            progress=ProgressView(**vars(progress)) if progress else None,
            errors=[DatasetError(field=field, message=message) for field, message in upload.problems] or None,
        )


class ValueCountView(BaseModel):
    """A value of a column, and the number of rows that have it."""

    value: str
    rows: int


class ColumnProfileView(BaseModel):
    """Statistics of a column. Booleans count as 0 and 1, dates as days since 1970-01-01."""

    name: str
    role: Role
    type: StoredType
    missing: Annotated[int, Field(description="Number of rows without a value.")]
    distinct: Annotated[
        int | None,
        Field(
            description="Number of distinct values; null above 1,000 (above fewer in datasets of more than 4,000 "
            "columns)."
        ),
    ]
    min: float | None
    max: float | None
    mean: float | None
    std: Annotated[float | None, Field(description="Standard deviation over all rows.")]
    histogram: Annotated[
        list[int] | None, Field(description="Number of rows in each of 20 equal bins from `min` to `max`.")
    ]
    top_values: Annotated[
        list[ValueCountView] | None,
        Field(description="The most frequent texts, truncated to 100 characters."),
    ]
    duplicate_of: Annotated[str | None, Field(description="Name of an earlier column with the same values.")]

    @classmethod
    def of(cls, column: ColumnProfile) -> Self:
        """Return the view of a column's profile."""
        return cls(
            name=column.name,
            role=column.role,
            type=column.type,
            missing=column.missing,
            distinct=column.distinct,
            min=column.smallest,
            max=column.largest,
            mean=column.mean,
            std=column.deviation,
            histogram=None if column.histogram is None else list(column.histogram),
            top_values=None
            if column.frequent is None
            else [ValueCountView(value=value, rows=rows) for value, rows in column.frequent],
            duplicate_of=column.same_as,
        )


class ProfileView(BaseModel):
    """Statistics of a dataset."""

    dataset_id: str
    rows: int
    columns: list[ColumnProfileView]
    classes: Annotated[dict[str, int] | None, Field(description="Number of rows of each class.")]
    warnings: Annotated[list[str], Field(description="Sentences about what may impair training.")]

    @classmethod
    def of(cls, dataset_id: str, profile: Profile) -> Self:
        """Return the view of a dataset's profile."""
        return cls(
            dataset_id=dataset_id,
            rows=profile.rows,
            columns=[ColumnProfileView.of(column) for column in profile.columns],
            classes=profile.classes,
            warnings=list(profile.warnings),
        )


class ColumnHeaderView(BaseModel):
    """Name and role of a column."""

    name: str
    role: Role


class RowsView(BaseModel):
    """Rows as they were uploaded."""

    columns: list[ColumnHeaderView]
    data: list[list[Cell]]
    offset: Annotated[int, Field(description="Index of the first row, from 0.")]
    rows: Annotated[int, Field(description="Number of rows of the dataset.")]

    @classmethod
    def of(cls, columns: tuple[ColumnHeader, ...], data: list[list[Cell]], offset: int, rows: int) -> Self:
        """Return the view of consecutive rows."""
        headers = [ColumnHeaderView(name=column.name, role=column.role) for column in columns]
        return cls(columns=headers, data=data, offset=offset, rows=rows)


class SplitFields(RequestModel):
    """A split to create."""

    name: Annotated[Name, Field(description="Name of the new dataset.")]
    share: Annotated[float, Field(gt=0, le=1, description="Fraction of the rows.")]


class NewSplit(RequestModel):
    """Split a dataset into new datasets without common rows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"splits": [{"name": "xor-train", "share": 0.5}, {"name": "xor-test", "share": 0.5}], "seed": 7}
            ]
        }
    )

    splits: Annotated[list[SplitFields], Field(min_length=1, max_length=100)]
    seed: Annotated[
        int, Field(ge=0, le=MAX_SEED, description="Seed of the random split: the same seed gives the same splits.")
    ] = 0
    stratified: Annotated[bool, Field(description="Preserve the proportions of the classes in each split.")] = True

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        # Shares such as 0.7 + 0.2 + 0.1 add up to a little more than 1 in floating point.
        if sum(split.share for split in self.splits) > 1 + 1e-9:
            raise ValueError("The shares of all splits add up to more than 1")
        return self


class SplitsView(BaseModel):
    """The new datasets, in the order of the request."""

    data: list[DatasetView]
