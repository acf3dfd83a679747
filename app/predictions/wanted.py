"""What a request for predictions wants, out of its JSON."""

from typing import Annotated

import msgspec
from msgspec import Meta

from app.schemas.base import TAG_PATTERN
from app.schemas.predictions import MOST_TOP, NewPrediction
from engine.data.cells import matrix_of
from engine.errors import InvalidInput
from engine.nn.views import Matrix
from engine.training.model import Model

_Some = Meta(min_length=1)
_Cell = float | bool | str | None


class _Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=f"^{TAG_PATTERN}$")] | None = None
    top_k: Annotated[int, Meta(ge=1, le=MOST_TOP)] | None = None
    probabilities: bool = False


class Numbers(_Options):
    inputs: Annotated[list[Annotated[list[float], _Some]], _Some]


class _Cells(_Options):
    inputs: Annotated[list[Annotated[list[_Cell], _Some]], _Some] | None = None
    rows: Annotated[list[dict[str, _Cell]], _Some] | None = None


Wanted = Numbers | _Cells | NewPrediction
"""All with the fields of the last one."""

_NUMBERS, _CELLS = msgspec.json.Decoder(Numbers), msgspec.json.Decoder(_Cells)


def wanted_in(body: bytes) -> Wanted:
    """Raises InvalidInput, and pydantic's ValidationError.

    Thousands of numbers that are looked at one by one would take longer than the network. What the quickest decoder
    does not take is given to the next, and in the end to that which says in words what is wrong.
    """
    try:
        return _NUMBERS.decode(body)
    except msgspec.DecodeError:
        pass
    try:
        found: _Cells | NewPrediction = _CELLS.decode(body)
    except msgspec.DecodeError:
        found = NewPrediction.model_validate_json(body)
    if (found.inputs is None) == (found.rows is None):
        raise InvalidInput("inputs", "Exactly one of inputs and rows is required.")
    return found


def prepared(wanted: Wanted, model: Model) -> Matrix:
    """Its rows as the network takes them. Raises InvalidInput naming row and column."""
    if isinstance(wanted, Numbers):
        if model.preparation.columns is None:
            raw = matrix_of(wanted.inputs, model.network.architecture.inputs, "inputs")
            return model.prepared(raw, len(raw), lambda row, column: f"inputs.{row}.{column}")
        return model.prepared_rows(wanted.inputs, "inputs")
    if wanted.rows is not None:
        return model.prepared_named(wanted.rows, "rows")
    return model.prepared_rows(wanted.inputs or [], "inputs")
