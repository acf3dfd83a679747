"""Response with the preview of a table."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, Field

from nabla.app.schemas.datasets import ColumnView, DatasetError
from nabla.app.schemas.ingest import Cell
from nabla.engine.data.schema import ClassLabel
from nabla.engine.literals import DataFormat

if TYPE_CHECKING:
    from nabla.engine.data.ingest_options import TablePreview


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
