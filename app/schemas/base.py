"""What all requests share: unknown fields, text for numbers, NaN and infinities are refused."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.jobs.ids import PREFIXES


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

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Newest first; the next page is `?after=` the last id of this one."""

    data: list[Item]
    has_more: bool
