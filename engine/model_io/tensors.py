"""Arrays in files that anybody may have made: looked at before they are read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.nn.architecture import Architecture

FIELD = "file"
# As many as a network has that is created in words.
MOST_LAYERS = 1000
# Of arrays and words: more than any network of that many layers has.
MOST_TENSORS = 20_000
# Bytes of all words.
MOST_WORDS = 100_000_000

_MOST_DIMENSIONS, _LONGEST = 4, 2**40

NO_PICKLES = (
    "This is a pickle, which may hold a program, and is not read. Save arrays: with numpy.savez, or with "
    "safetensors.torch.save_file(model.state_dict(), …)."
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An array of a file. Its shape and type are what the file says; `read` takes memory for it. What is not of one of
    the types that are accepted has the name of its own in `kind`, and None for `dtype`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    kind: str
    read: Callable[[], Array]

    def __str__(self) -> str:
        return f"{self.kind} of shape {list(self.shape)}"


@dataclass(frozen=True)
class Found:
    """What there is in a file."""

    tensors: Mapping[str, Tensor]
    words: Mapping[str, str]


def numbers_in(shape: Sequence[int], name: str) -> int:
    """How many an array of this shape has. Raises InvalidInput if it is none that anybody has; the product of very many
    lengths would take minutes."""
    if len(shape) > _MOST_DIMENSIONS:
        raise refused(
            f"The array {shortened(name)!r} is said to have {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are "
            "accepted."
        )
    if not all(0 <= length <= _LONGEST for length in shape):
        raise refused(f"The array {shortened(name)!r} is said to have a dimension below 0 or above {_LONGEST}.")
    return math.prod(shape)


def refused(sentence: str) -> InvalidInput:
    return InvalidInput(FIELD, sentence)


def listed(names: Iterable[str]) -> str:
    """The first of them, in a sentence."""
    known = [shortened(name) for name in names]
    return (", ".join(known[:20]) or "(none)") + (f", … ({len(known)} in all)" if len(known) > 20 else "")


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def floating_type(found: Mapping[str, Tensor]) -> np.dtype[Any]:
    """That of all of them. Raises InvalidInput if they have none in common."""
    for name, tensor in found.items():
        if tensor.dtype is None:
            raise refused(f"The array {shortened(name)} is {tensor.kind}; accepted: float32 and float64.")
    types = {tensor.dtype for tensor in found.values() if tensor.dtype is not None}
    if len(types) != 1:
        raise refused("Some of the arrays are float32 and some float64; a network has one type for all of them.")
    return types.pop()


def copy_into(view: Array, name: str, tensor: Tensor, *, transposed: bool = False) -> None:
    """Raises InvalidInput if it is of another shape or type, or not all of it is finite numbers."""
    shape = view.T.shape if transposed else view.shape
    if tensor.shape != shape or tensor.dtype != view.dtype:
        raise refused(f"The array {shortened(name)} is {tensor}; expected {view.dtype} of shape {list(shape)}.")
    read = tensor.read()
    view[...] = read.T if transposed else read
    check_finite(view, name)


def check_finite(values: Array, name: str) -> None:
    """Raises InvalidInput if there is a NaN or an infinity."""
    if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise refused(f"The array {shortened(name)} holds NaN or infinite numbers; all have to be finite.")


def check_size(architecture: Architecture, most: int) -> None:
    """Before there is memory for it. Raises TooLarge."""
    if len(architecture.layers) > MOST_LAYERS:
        raise TooLarge(FIELD, f"The network has {len(architecture.layers)} layers; at most {MOST_LAYERS} are accepted.")
    if architecture.parameters > most:
        raise TooLarge(
            FIELD,
            f"The network has {architecture.parameters} parameters; this service takes at most {most}.",
        )


def check_variances(variances: Array, name: str) -> None:
    """Raises InvalidInput if one is below 0."""
    if (variances < 0).any():
        raise refused(f"The array {shortened(name)} has a variance below 0; variances are at least 0.")
