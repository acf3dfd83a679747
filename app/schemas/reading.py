"""How files are to be read, in bodies, forms and queries."""

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from app.schemas.base import Name, Request
from engine.data.columns import ColumnType, Filling
from engine.names import DataFormat

if TYPE_CHECKING:
    from engine.data.sources import Reading


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
    missing: Annotated[
        Filling | dict[str, Filling] | None,
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
        from engine.data.sources import Reading

        fields = {name: getattr(self, name) for name in ReadingFields.model_fields if name != "name"}
        return Reading(**fields, largest=largest)
