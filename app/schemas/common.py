"""Types that several resources share: names, references, versions, tags and pages; and devices."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from nabla.engine.literals import CURRENT, DeviceKind
from nabla.engine.records.ids import PREFIXES

if TYPE_CHECKING:
    from nabla.engine.services.devices import DeviceRecord


class RequestModel(BaseModel):
    """Base class of request bodies: unknown fields, text in place of numbers, NaN and infinities are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


# Validates a list of data, which may be long, up to its first invalid item. Otherwise an error object is made for each
# of millions of items, of which twenty are reported.
FIRST_ERROR = Field(fail_fast=True)

_NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}"
_NAME = re.compile(_NAME_PATTERN)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "A name consists of at most 100 letters from a to z, digits, spaces, '.', '_' and '-', and begins with a "
            f"letter or a digit, not {name[:100]!r}"
        )
    if name.startswith(PREFIXES):
        raise ValueError(f"A name must not start with {', '.join(PREFIXES)}, which ids start with")
    return name


Name = Annotated[
    str,
    Field(
        json_schema_extra={"pattern": f"^{_NAME_PATTERN}$"},
        description="Name of the resource. It is accepted wherever an id is; if several resources share it, it stands "
        "for the newest.",
    ),
    AfterValidator(_check_name),
]

# The constraint also makes pydantic decode the text, which rejects half of a surrogate pair.
Reference = Annotated[str, Field(max_length=200)]
"""Id or name of a resource."""

# Digits alone would be a version number, and dots alone mean something else in a path.
TAG_PATTERN = "(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_TAG = re.compile(TAG_PATTERN)
TAG_RULE = "at most 64 letters, digits, '-', '_' and '.', starting with a letter or a digit, and not only digits"


def _check_version_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(f"A version is an integer of at least 0, or a tag: {TAG_RULE}")
    return text


def _check_new_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(f"A tag consists of {TAG_RULE}")
    if text == CURRENT:
        raise ValueError(f"{CURRENT} is reserved for the version that predicts; choose another tag")
    return text


_TAG_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{TAG_PATTERN}$"})


def _number_or_tag(value: Any) -> str:
    return "tag" if isinstance(value, str) else "number"


VersionReference = Annotated[
    Annotated[int, Field(ge=0), Tag("number")]
    | Annotated[str, AfterValidator(_check_version_tag), _TAG_SCHEMA, Tag("tag")],
    Discriminator(_number_or_tag),
]
"""Number or tag of a published version."""

TagName = Annotated[str, AfterValidator(_check_new_tag), _TAG_SCHEMA]
"""A tag to create or move."""

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Items, newest first. The next page is `?after=` the last id of this one."""

    data: list[Item]
    has_more: bool


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model with its definitions inlined.

    Where FastAPI does not collect the definitions, as in `responses`, a reference would point to a definition that the
    OpenAPI document does not have.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved


class SlotView(BaseModel):
    """A slot: it runs one job at a time."""

    name: str
    state: Annotated[
        Literal["starting", "idle", "busy", "lost"],
        Field(description="lost: the slot's worker has exited and is being replaced."),
    ]
    cores: int
    job_id: str | None


class DeviceView(BaseModel):
    """A device that trains: the CPU or a GPU."""

    id: Annotated[str, Field(examples=["cpu", "cuda:0"])]
    kind: DeviceKind
    name: str
    memory_total_bytes: int
    memory_free_bytes: Annotated[int, Field(description="For a GPU: as last reported by its worker, between two jobs.")]
    compute_capability: Annotated[
        str | None, Field(description="Compute capability of a GPU; null for the CPU.", examples=["9.0"])
    ]
    slots: list[SlotView]

    @classmethod
    def of(cls, device: "DeviceRecord") -> "DeviceView":
        """Return the view of a device."""
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
    """Devices: the CPU first, then the GPUs."""

    data: list[DeviceView]
    gpu_unavailable_reason: Annotated[
        str | None,
        Field(description="Why no GPU can be used, for example because CuPy is not installed; null if one can."),
    ]
