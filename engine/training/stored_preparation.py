"""A preparation as part of a safetensors file: its vectors are tensors, its rule and columns are words."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine.data.columns import Column
from engine.data.preparation import Preparation, PreparationRule
from engine.data.scaling import Scaling
from engine.errors import Damaged

# Of the names of its tensors.
PREFIX = "preparation."
_WORDS = "preparation"
_FILLS = f"{PREFIX}fills"
_PARTS = ("inputs", "targets")

Arrays = dict[str, npt.NDArray[Any]]


class _Words(msgspec.Struct, frozen=True):
    rule: PreparationRule
    columns: tuple[Column, ...] | None


def tensors_of(preparation: Preparation) -> Arrays:
    """`preparation.fills`; and where they are scaled, `preparation.inputs.offsets` and `.scales`, and those of the
    targets."""
    found: Arrays = {_FILLS: preparation.fills}
    for part in _PARTS:
        scaling: Scaling | None = getattr(preparation, part)
        if scaling is not None:
            found |= {f"{PREFIX}{part}.offsets": scaling.offsets, f"{PREFIX}{part}.scales": scaling.scales}
    return found


def words_of(preparation: Preparation) -> dict[str, str]:
    return {_WORDS: msgspec.json.encode(_Words(preparation.rule, preparation.columns)).decode()}


def preparation_in(tensors: Arrays, metadata: dict[str, str]) -> Preparation | None:
    """Taken out of the tensors of a file; None if there is none. Raises Damaged if it is not whole."""
    own = {name: tensors.pop(name) for name in [*tensors] if name.startswith(PREFIX)}
    if _WORDS not in metadata:
        return None
    try:
        words = msgspec.json.decode(metadata[_WORDS], type=_Words)
        fills = own.pop(_FILLS)
        inputs, targets = (_scaling(own, part) for part in _PARTS)
    except (KeyError, msgspec.DecodeError) as problem:
        raise Damaged("What the network's inputs are prepared by is not complete.") from problem
    if own or fills.shape != (len(words.columns or ()),) or fills.dtype != np.float64:
        raise Damaged("What the network's inputs are prepared by does not fit its columns.")
    return Preparation(words.rule, words.columns, fills, inputs, targets)


def _scaling(own: Arrays, part: str) -> Scaling | None:
    names = (f"{PREFIX}{part}.offsets", f"{PREFIX}{part}.scales")
    if not any(name in own for name in names):
        return None
    return Scaling(*(own.pop(name) for name in names))
