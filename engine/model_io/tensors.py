"""Tensors and metadata of a model file from an untrusted source: checked before data is read or memory is allocated."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nabla.engine.data.schema import format_names
from nabla.engine.errors import InvalidInput, TooLarge, quote, shorten
from nabla.engine.nn.architecture import Architecture
from nabla.engine.typing import AnyArray

FIELD = "file"
MAX_LAYERS = 1000
"""Layers of a network, as for networks that are created through the API."""
MAX_TENSORS = 20_000
"""Tensors and metadata entries of a file: more than any network of `MAX_LAYERS` layers has."""
MAX_METADATA_BYTES = 100_000_000
_MAX_DIMENSIONS, _MAX_DIMENSION = 4, 2**40

PICKLE_REJECTED = (
    "The file is a pickle, which can execute code when it is loaded, so it is not read. Save plain arrays: with "
    "numpy.savez, or with safetensors.torch.save_file(model.state_dict(), …)."
)


@dataclass(frozen=True)
class LazyTensor:
    """A tensor of a file, described by the file's header.

    Attributes:
        dtype: float32 or float64 in native byte order; None for any other type.
        type_name: The type as the file names it.
        read: Loads the data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    type_name: str
    read: Callable[[], AnyArray]

    def __str__(self) -> str:
        """Return type and shape."""
        return f"{self.type_name} of shape {list(self.shape)}"


@dataclass(frozen=True)
class TensorFile:
    """The tensors and the metadata of a file."""

    tensors: Mapping[str, LazyTensor]
    metadata: Mapping[str, str]


def invalid_file(message: str) -> InvalidInput:
    """Return the error for an invalid file."""
    return InvalidInput(FIELD, message)


def format_tensor_names(names: Iterable[str]) -> str:
    """Return the first names for an error message."""
    return format_names([shorten(name) for name in names]) or "(none)"


def count_elements(shape: Sequence[int], name: str) -> int:
    """Return the number of elements of a tensor.

    Raises InvalidInput if the shape has more than 4 dimensions or one outside 0 … 2**40: the product of very many
    dimensions would take minutes.
    """
    if len(shape) > _MAX_DIMENSIONS:
        raise invalid_file(
            f"The tensor {quote(name)} has {len(shape)} dimensions; at most {_MAX_DIMENSIONS} are accepted."
        )
    if not all(0 <= dimension <= _MAX_DIMENSION for dimension in shape):
        raise invalid_file(f"The tensor {quote(name)} has a dimension below 0 or above {_MAX_DIMENSION}.")
    return math.prod(shape)


def common_dtype(tensors: Mapping[str, LazyTensor]) -> np.dtype[Any]:
    """Return the dtype that all tensors share. Raises InvalidInput unless that is float32 or float64."""
    for name, tensor in tensors.items():
        if tensor.dtype is None:
            raise invalid_file(f"The tensor {shorten(name)} is {tensor.type_name}; accepted: float32 and float64.")
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.dtype is not None}
    if len(dtypes) != 1:
        raise invalid_file("The file has both float32 and float64 tensors; a network has one type for all of them.")
    return dtypes.pop()


def load_into(view: AnyArray, name: str, tensor: LazyTensor, *, transpose: bool = False) -> None:
    """Load a tensor into an array of the same shape and dtype. Raises InvalidInput for any other, NaN or infinity."""
    shape = view.T.shape if transpose else view.shape
    if tensor.shape != shape or tensor.dtype != view.dtype:
        raise invalid_file(f"The tensor {shorten(name)} is {tensor}; expected {view.dtype} of shape {list(shape)}.")
    values = tensor.read()
    view[...] = values.T if transpose else values
    check_finite(view, name)


def check_finite(values: AnyArray, name: str) -> None:
    """Raise InvalidInput if a value is NaN or infinite."""
    if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise invalid_file(f"The tensor {shorten(name)} holds NaN or infinite values; all must be finite.")


def check_variances(variances: AnyArray, name: str) -> None:
    """Raise InvalidInput if a variance is negative."""
    if (variances < 0).any():
        raise invalid_file(f"The tensor {shorten(name)} holds a negative variance; variances are at least 0.")


def check_model_size(architecture: Architecture, max_parameters: int) -> None:
    """Raise TooLarge if a network has too many layers or parameters, before memory is allocated for it."""
    if len(architecture.layers) > MAX_LAYERS:
        raise TooLarge(FIELD, f"The network has {len(architecture.layers)} layers; at most {MAX_LAYERS} are accepted.")
    if architecture.parameters > max_parameters:
        raise TooLarge(
            FIELD, f"The network has {architecture.parameters} parameters; at most {max_parameters} are accepted."
        )
