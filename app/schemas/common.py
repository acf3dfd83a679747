"""What all requests share: unknown fields, text for numbers, NaN and infinities are refused."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from nabla.engine.literals import CURRENT, DeviceKind
from nabla.engine.records.ids import PREFIXES


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _not_like_an_id(name: str) -> str:
    if name.startswith(PREFIXES):
        raise ValueError(f"A name does not begin with {', '.join(PREFIXES)}: ids do")
    return name


Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$",
        description="To find it by: wherever an id is asked for, a name stands for the newest one that has it.",
    ),
    AfterValidator(_not_like_an_id),
]

# The constraint also has it looked at whether it is text at all: half of a surrogate pair is none.
Reference = Annotated[str, Field(max_length=200)]
"""An id, or a name."""

# Digits alone would be taken for a number; dots alone mean something else in a path.
TAG_PATTERN = "(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_TAG = re.compile(TAG_PATTERN)
TAG_IN_WORDS = "at most 64 letters, digits, '-', '_' and '.', beginning with a letter or a digit, and not only digits"


def _number_or_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(f"A version is an integer of at least 0, or a tag: {TAG_IN_WORDS}")
    return text


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(f"A tag is made of {TAG_IN_WORDS}")
    if text == CURRENT:
        raise ValueError(f"{CURRENT} always stands for the version that predicts; a tag needs another name")
    return text


_TAG_IN_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{TAG_PATTERN}$"})


def _kind_of_version(value: Any) -> str:
    return "tag" if isinstance(value, str) else "number"


VersionReference = Annotated[
    Annotated[int, Field(ge=0), Tag("number")]
    | Annotated[str, AfterValidator(_number_or_tag), _TAG_IN_SCHEMA, Tag("tag")],
    Discriminator(_kind_of_version),
]
"""Of a published version: its number, or a tag."""

TagName = Annotated[str, AfterValidator(_tag), _TAG_IN_SCHEMA]
"""Of a tag to be."""

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Newest first; the next page is `?after=` the last id of this one."""

    data: list[Item]
    has_more: bool


def in_one_piece(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model, with those of its parts where they are used: references would be looked for at the root of
    the OpenAPI document."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return put(parts[value["$ref"].rpartition("/")[2]])
        return {name: put(each) for name, each in value.items()}

    found: dict[str, Any] = put(schema)
    return found


if TYPE_CHECKING:
    from nabla.engine.services.devices import DeviceRecord


class SlotView(BaseModel):
    """A place where one job runs at a time."""

    name: str
    state: Annotated[
        Literal["starting", "idle", "busy", "lost"],
        Field(description="lost: its worker has ended, and the next one is on its way."),
    ]
    cores: int
    job_id: str | None


class DeviceView(BaseModel):
    id: Annotated[str, Field(examples=["cpu", "cuda:0"])]
    kind: DeviceKind
    name: str
    memory_total_bytes: int
    memory_free_bytes: Annotated[
        int, Field(description="Of a GPU: as its worker last said, which it does between jobs.")
    ]
    compute_capability: Annotated[str | None, Field(description="Of a GPU.", examples=["9.0"])]
    slots: list[SlotView]

    @classmethod
    def of(cls, device: "DeviceRecord") -> "DeviceView":
        return cls(
            id=device.id,
            kind=device.kind,
            name=device.name,
            memory_total_bytes=device.memory_total,
            memory_free_bytes=device.memory_free,
            compute_capability=device.compute_capability,
            slots=[SlotView.model_validate(asdict(slot)) for slot in device.slots],
        )


class DevicesView(BaseModel):
    """The CPU first, then the GPUs."""

    data: list[DeviceView]
    missing: Annotated[
        str | None, Field(description="Why there is no GPU to use: CuPy is not installed, or there is no GPU.")
    ]
