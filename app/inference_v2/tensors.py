"""Tensors of the protocol, in JSON or behind it in binary form, as arrays; and arrays as tensors."""

import math
import struct
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput

Array = npt.NDArray[Any]
Data = TypeVar("Data")

BYTES = "BYTES"
_TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES: dict[str, np.dtype[Any]] = {name: np.dtype(type_) for name, type_ in _TYPES.items()}
# Rows or columns.
_LARGEST = 2**31 - 1
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


class Tensor(msgspec.Struct, Generic[Data], omit_defaults=True):
    """`data`: flat, or a list of lists as the shape has it. With `binary_data_size` among the parameters it follows the
    JSON instead, row by row, numbers in little-endian order, texts each with its length before it."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Data | msgspec.UnsetType = msgspec.UNSET


def array_of(tensor: Tensor[Any], binary: memoryview | None, *, known: bool) -> Array:
    """In its shape; texts as Python's. `known`: data in JSON are numbers. Raises InvalidInput naming the tensor."""
    field = tensor.name
    if tensor.datatype != BYTES and tensor.datatype not in DATATYPES:
        raise InvalidInput(field, f"The datatype is {tensor.datatype}; known are {', '.join(DATATYPES)} and {BYTES}.")
    _check_shape(tensor.shape, field)
    count = math.prod(tensor.shape)
    if binary is None:
        flat = _from_json(tensor, known)
    elif tensor.datatype == BYTES:
        flat = _texts(binary, field)
    else:
        flat = _numbers(binary, DATATYPES[tensor.datatype], count, field)
    if len(flat) != count:
        raise InvalidInput(field, f"The shape {tensor.shape} means {count} elements; there are {len(flat)}.")
    return flat.reshape(tensor.shape)


def _check_shape(shape: list[int], field: str) -> None:
    """Before anything is reckoned with it: a product of very many sizes takes minutes, uninterrupted."""
    if len(shape) > 2:
        raise InvalidInput(field, f"The tensor has {len(shape)} dimensions; [rows, columns] is expected, or [rows].")
    if not all(0 <= size <= _LARGEST for size in shape):
        raise InvalidInput(field, f"A size of the shape is below 0 or above {_LARGEST}.")


def _numbers(binary: memoryview, dtype: np.dtype[Any], count: int, field: str) -> Array:
    if len(binary) != count * dtype.itemsize:
        raise InvalidInput(
            field,
            f"There are {len(binary)} bytes of data; {count} elements of {_NAMES[dtype]} are {count * dtype.itemsize}.",
        )
    return np.frombuffer(binary, dtype)


def _texts(binary: memoryview, field: str) -> Array:
    return np.array([*_each_text(binary, field)], object)


def _each_text(binary: memoryview, field: str) -> Iterator[str]:
    at = 0
    while at < len(binary):
        if at + 4 > len(binary):
            raise InvalidInput(field, "The data end within the length of an element.")
        (length,) = struct.unpack_from("<I", binary, at)
        at += 4
        if at + length > len(binary):
            raise InvalidInput(field, f"An element is said to have {length} bytes; {len(binary) - at} are left.")
        try:
            yield str(binary[at : at + length], "utf-8")
        except UnicodeDecodeError as problem:
            raise InvalidInput(field, "An element is not text in UTF-8.") from problem
        at += length


def _from_json(tensor: Tensor[Any], known: bool) -> Array:
    if tensor.data is msgspec.UNSET:
        raise InvalidInput(tensor.name, "There is no data: neither `data` nor `binary_data_size` among the parameters.")
    if tensor.datatype == BYTES:
        return _plain(tensor, (str,), "texts")
    if tensor.datatype == "BOOL":
        return _plain(tensor, (bool,), "true or false").astype(np.bool_)
    found = _matrix(tensor.data) if known else None
    if found is None:
        try:
            found = _plain(tensor, (int, float), "numbers").astype(np.float64)
        except OverflowError as problem:
            raise InvalidInput(tensor.name, "A number is beyond what a float64 holds.") from problem
    return _as_said(found, tensor)


def _as_said(numbers: Array, tensor: Tensor[Any]) -> Array:
    """Raises InvalidInput if the datatype of the tensor does not have one of the numbers."""
    dtype = DATATYPES[tensor.datatype]
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            given = numbers.astype(dtype)
        fit = np.isfinite(given)
    else:
        given, limits = numbers, np.iinfo(dtype)
        fit = (numbers == np.floor(numbers)) & (numbers >= limits.min) & (numbers <= limits.max)
    if not fit.all():
        place = int(np.argmin(fit))
        raise InvalidInput(
            tensor.name, f"Element {place} is {numbers[place]:g}, which {tensor.datatype} does not have."
        )
    return given


def _matrix(numbers: Any) -> Array | None:
    """All numbers, flat; None if they are rows of different lengths, or one is not a float64."""
    try:
        return np.array(numbers, np.float64).reshape(-1)
    except (ValueError, OverflowError):
        return None


def _plain(tensor: Tensor[Any], accepted: tuple[type, ...], words: str) -> Array:
    """Element by element, however deep they lie."""
    found: list[Any] = []
    left = [iter(tensor.data if isinstance(tensor.data, list) else [tensor.data])]
    while left:
        for each in left[-1]:
            if isinstance(each, list):
                left.append(iter(each))
                break
            if type(each) not in accepted:
                raise InvalidInput(tensor.name, f"Element {len(found)} is not as {tensor.datatype} has it: {words}.")
            found.append(each)
        else:
            left.pop()
    flat = np.empty(len(found), object)
    flat[:] = found
    return flat


def tensor_of(name: str, array: Array, *, binary: bool) -> tuple[Tensor[Any], bytes]:
    """And what follows the JSON."""
    texts = array.dtype == object
    datatype = BYTES if texts else _NAMES[array.dtype.newbyteorder("<")]
    if not binary:
        return Tensor(name, [*array.shape], datatype, data=array.reshape(-1).tolist()), b""
    content = b"".join(map(_with_length, array.reshape(-1))) if texts else array.tobytes()
    return Tensor(name, [*array.shape], datatype, {"binary_data_size": len(content)}), content


def _with_length(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<I", len(content)) + content
