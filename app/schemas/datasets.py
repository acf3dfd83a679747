"""Requests and responses about datasets: columns, state, previews, profiles, rows, splits and proposals."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nabla.app.schemas.common import Name, RequestModel
from nabla.app.schemas.ingest import Cell
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
from nabla.engine.literals import MAX_SEED, UploadState

if TYPE_CHECKING:
    from nabla.engine.data.dataset import Dataset
    from nabla.engine.data.ingest_options import Progress
    from nabla.engine.records.upload import Upload

from typing import TYPE_CHECKING

from nabla.engine.literals import DataFormat

if TYPE_CHECKING:
    from nabla.engine.data.ingest_options import TablePreview

from typing import Any


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
    notes: Annotated[
        list[str] | None, Field(description="Sentences about how the data were read: what was recognized or left out.")
    ]
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
            notes=list(dataset.notes),
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
            notes=None,
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


class PreviewOptions(BaseModel):
    """Options with which the table is read, as POST /v1/datasets accepts them: those that were sent or detected."""

    format: DataFormat
    delimiter: str | None
    header: bool | None
    skip_rows: int | None
    comment: str | None
    encoding: str | None
    target: str | None
    task: Literal["regression", "classification"] | None


class PreviewView(BaseModel):
    """How a table would be read, and what a dataset of it would be."""

    options: PreviewOptions
    names: Annotated[list[str], Field(description="Names of all columns; none for arrays.")]
    rows: Annotated[list[list[Cell]], Field(description="The first rows, at most 10.")]
    columns: Annotated[
        list[ColumnView] | None, Field(description="The columns to learn from; null if the table would be rejected.")
    ]
    classes: Annotated[list[ClassLabel] | None, Field(description="The classes of the target, if it has any.")]
    notes: Annotated[list[str], Field(description="What was recognized or cleaned, as sentences.")]
    errors: Annotated[list[DatasetError], Field(description="Why the table would be rejected; none if it would not.")]

    @classmethod
    def of(cls, preview: "TablePreview") -> Self:
        """Return the view of a preview."""
        csv, content = preview.csv, preview.content
        task: Literal["regression", "classification"] | None = None
        if content is not None and preview.target is not None:
            task = "regression" if content.classes is None else "classification"
        return cls(
            options=PreviewOptions(
                format=preview.format,
                delimiter=None if csv is None else csv.delimiter,
                header=None if csv is None else csv.header,
                skip_rows=None if csv is None else csv.skip_rows,
                comment=None if csv is None else csv.comment,
                encoding=preview.encoding,
                target=preview.target,
                task=task,
            ),
            names=list(preview.names),
            rows=[list(row) for row in preview.rows],
            columns=None if content is None else [ColumnView.of(column) for column in content.features or ()],
            classes=None if content is None or content.classes is None else list(content.classes),
            notes=[] if content is None else list(content.notes),
            errors=[DatasetError(field=field, message=message) for field, message in preview.problems],
        )


class NewProposal(RequestModel):
    """Settings that are fixed; all others are proposed."""

    hidden_units: Annotated[
        list[Annotated[int, Field(ge=1)]] | None,
        Field(max_length=100, description="Units of each hidden layer; an empty list for a linear network."),
    ] = None
    epochs: Annotated[int | None, Field(ge=1, description="Maximum number of epochs.")] = None


class Reason(BaseModel):
    """Why a setting is proposed."""

    setting: Annotated[str, Field(description="Path of the setting, such as `network.cost`.")]
    reason: str


class ProposalView(BaseModel):
    """A network for a dataset, and settings of a job that trains it."""

    dataset_id: str
    network: Annotated[dict[str, Any], Field(description="Fields of POST /v1/networks.")]
    job: Annotated[dict[str, Any], Field(description="Fields of POST /v1/jobs, without network and dataset.")]
    reasons: list[Reason]
