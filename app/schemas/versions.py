"""Versions of networks, and tags on them, in requests and answers."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import Request, VersionReference
from app.schemas.networks import PreparationFields
from engine.data.columns import ColumnType
from engine.names import NetworkFormat, Origin

if TYPE_CHECKING:
    from engine.jobs.network import NetworkRecord, Version


class ColumnName(BaseModel):
    name: str
    type: ColumnType


class VersionPreparation(PreparationFields):
    """How raw inputs become those of this version. `columns`: those of the table that it was trained on, in the order
    of values in a row; null for plain numbers."""

    columns: list[ColumnName] | None


class Source(BaseModel):
    network_id: str
    version: int


class VersionView(BaseModel):
    """Published weights. `origin`: whether they were drawn from a seed, trained, or came in a file; `job_id`: the job
    that trained them; `imported`: the format of the file; `epoch`: after which of the job's epochs, where they were
    published before its end; `cloned_from`: whose they were before; `classes`: what they tell apart; `preparation`:
    null where nothing has been trained."""

    network_id: str
    version: int
    current: bool
    tags: list[str]
    origin: Origin
    job_id: str | None
    imported: NetworkFormat | None
    epoch: int | None
    cloned_from: Source | None
    classes: list[str] | None
    preparation: VersionPreparation | None
    created_at: datetime

    @classmethod
    def of(cls, version: "Version", network: "NetworkRecord") -> "VersionView":
        source = version.cloned_from
        return cls(
            network_id=network.id,
            version=version.number,
            current=version.number == network.current,
            tags=network.tags_of(version),
            origin=version.origin,
            job_id=version.job_id,
            imported=version.imported,
            epoch=version.epoch,
            cloned_from=Source(network_id=source[0], version=source[1]) if source else None,
            classes=list(version.classes) if version.classes else None,
            preparation=None if version.origin == "drawn" else _preparation_of(version, network),
            created_at=version.created_at,
        )


def _preparation_of(version: "Version", network: "NetworkRecord") -> VersionPreparation:
    columns = None
    if version.columns is not None:
        columns = [ColumnName(name=name, type=type_) for name, type_ in version.columns]
    return VersionPreparation(**asdict(network.preparation), columns=columns)


class VersionsView(BaseModel):
    """Newest first; what follows is `?before=` the last version of this."""

    data: list[VersionView]
    has_more: bool


class TagFields(Request):
    """Where a tag is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "current"}]})

    version: Annotated[
        VersionReference, Field(description="A published version, by its number or another tag; current: as it is now.")
    ]


class TagView(BaseModel):
    """A name of a version."""

    tag: str
    version: int


class TagsView(BaseModel):
    """In the order of the alphabet."""

    data: list[TagView]

    @classmethod
    def of(cls, network: "NetworkRecord") -> "TagsView":
        return cls(data=[TagView(tag=tag, version=version) for tag, version in network.tags.items()])
