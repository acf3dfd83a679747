"""What is in a dataset, in answers; and dividing it, in requests."""

from dataclasses import asdict
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schemas.base import Name, Request
from app.schemas.datasets import Cell, DatasetView
from engine.data.profiles import ColumnProfile, Kind, Named, Profile, Role
from engine.names import LARGEST_SEED


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


class PartFields(Request):
    name: Annotated[Name, Field(description="Of the new dataset.")]
    share: Annotated[float, Field(gt=0, le=1, description="Of the rows.")]


class NewSplit(Request):
    """Divide a dataset into parts that have no row in common."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parts": [{"name": "xor-train", "share": 0.5}, {"name": "xor-test", "share": 0.5}], "seed": 7}
            ]
        }
    )

    parts: Annotated[list[PartFields], Field(min_length=1, max_length=100)]
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, description="Draws the rows; the same seed, the same parts.")] = 0
    stratified: Annotated[bool, Field(description="Give each part of each class its share.")] = True

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if sum(part.share for part in self.parts) > 1 + 1e-9:
            raise ValueError("The shares of all parts are at most 1 together")
        return self


class PartsView(BaseModel):
    """The new datasets, in the order of the parts."""

    data: list[DatasetView]
