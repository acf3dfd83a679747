"""Tensors of the Open Inference Protocol, in JSON or as binary data after it, and their conversion to arrays."""

import math
import struct
from collections.abc import Iterator
from types import NoneType
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from nabla.engine.errors import InvalidInput

Array = npt.NDArray[Any]
Data = TypeVar("Data")

BYTES = "BYTES"
DATATYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
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
    }.items()
}
_DATATYPE_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_MAX_SIZE = 2**31 - 1


class Tensor(msgspec.Struct, Generic[Data], omit_defaults=True):
    """A tensor in JSON.

    `data` is flat, or nested as in the shape; null is a missing value. With the parameter `binary_data_size` the data
    follow the JSON instead, in row-major order: little-endian numbers, or texts each after its length.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Data | msgspec.UnsetType = msgspec.UNSET


def decode_tensor(tensor: Tensor[Any], binary: memoryview | None, *, is_numeric: bool) -> Array:
    """Return a tensor as an array of its shape; texts as an object array of strings.

    Args:
        tensor: The tensor.
        binary: Its binary data, if it has any.
        is_numeric: Whether the decoder of the JSON has checked that all data are numbers.

    Raises:
        InvalidInput: The tensor is malformed; it names the tensor.
    """
    field = tensor.name
    if tensor.datatype != BYTES and tensor.datatype not in DATATYPES:
        raise InvalidInput(
            field, f"The datatype is {tensor.datatype}; supported are {', '.join(DATATYPES)} and {BYTES}."
        )
    _check_shape(tensor.shape, field)
    count = math.prod(tensor.shape)
    if binary is None:
        flat = _decode_json(tensor, is_numeric)
    elif tensor.datatype == BYTES:
        flat = np.array([*_iter_texts(binary, field)], object)
    else:
        flat = _decode_numbers(binary, DATATYPES[tensor.datatype], count, field)
    if len(flat) != count:
        raise InvalidInput(field, f"The shape {tensor.shape} has {count} elements; the data have {len(flat)}.")
    return flat.reshape(tensor.shape)


def encode_tensor(name: str, array: Array, *, binary: bool) -> tuple[Tensor[Any], bytes]:
    """Return an array as a tensor, and its binary data."""
    is_text = array.dtype == object
    datatype = BYTES if is_text else _DATATYPE_NAMES[array.dtype.newbyteorder("<")]
    if not binary:
        return Tensor(name, [*array.shape], datatype, data=array.reshape(-1).tolist()), b""
    content = b"".join(map(_encode_text, array.reshape(-1))) if is_text else array.tobytes()
    return Tensor(name, [*array.shape], datatype, {"binary_data_size": len(content)}), content


def _check_shape(shape: list[int], field: str) -> None:
    # Checked before the product of the sizes is computed, which would take minutes for very many.
    if len(shape) > 2:
        raise InvalidInput(field, f"The tensor has {len(shape)} dimensions; [rows, columns] or [rows] is expected.")
    if not all(0 <= size <= _MAX_SIZE for size in shape):
        raise InvalidInput(field, f"A size in the shape is below 0 or above {_MAX_SIZE}.")


def _decode_numbers(binary: memoryview, dtype: np.dtype[Any], count: int, field: str) -> Array:
    size = count * dtype.itemsize
    if len(binary) != size:
        raise InvalidInput(
            field, f"There are {len(binary)} bytes of data; {count} elements of {_DATATYPE_NAMES[dtype]} take {size}."
        )
    return np.frombuffer(binary, dtype)


def _iter_texts(binary: memoryview, field: str) -> Iterator[str]:
    offset = 0
    while offset < len(binary):
        if offset + 4 > len(binary):
            raise InvalidInput(field, "The data end within the length of an element.")
        (length,) = struct.unpack_from("<I", binary, offset)
        offset += 4
        if offset + length > len(binary):
            raise InvalidInput(field, f"An element has {length} bytes; only {len(binary) - offset} follow.")
        try:
            yield str(binary[offset : offset + length], "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(field, "An element is not valid UTF-8.") from error
        offset += length


def _encode_text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<I", len(content)) + content


def _decode_json(tensor: Tensor[Any], is_numeric: bool) -> Array:
    if tensor.data is msgspec.UNSET:
        raise InvalidInput(tensor.name, "The tensor has neither data nor the parameter binary_data_size.")
    if tensor.datatype == BYTES:
        texts = _flatten(tensor, (str, NoneType), "strings")
        return np.where(texts == None, "", texts)  # noqa: E711  # element by element
    if tensor.datatype == "BOOL":
        booleans = _flatten(tensor, (bool, NoneType), "true or false")
        return booleans.astype(np.float64 if None in booleans.tolist() else np.bool_)
    numbers = _as_float64(tensor.data) if is_numeric else None
    if numbers is None:
        try:
            numbers = _flatten(tensor, (int, float, NoneType), "numbers").astype(np.float64)
        except OverflowError as error:
            raise InvalidInput(tensor.name, "A number exceeds the range of a float64.") from error
    return _cast(numbers, tensor)


def _as_float64(numbers: Any) -> Array | None:
    """Return numbers as a flat array; None if rows differ in length, or a number exceeds a float64."""
    try:
        return np.array(numbers, np.float64).reshape(-1)
    except (ValueError, OverflowError):
        return None


def _flatten(tensor: Tensor[Any], types: tuple[type, ...], expected: str) -> Array:
    """Return the elements of nested lists of any depth, checking their types one by one."""
    elements: list[Any] = []
    stack = [iter(tensor.data if isinstance(tensor.data, list) else [tensor.data])]
    while stack:
        for item in stack[-1]:
            if isinstance(item, list):
                stack.append(iter(item))
                break
            if type(item) not in types:
                raise InvalidInput(
                    tensor.name,
                    f"Element {len(elements)} has the wrong type; {tensor.datatype} consists of {expected}.",
                )
            elements.append(item)
        else:
            stack.pop()
    flat = np.empty(len(elements), object)
    flat[:] = elements
    return flat


def _cast(numbers: Array, tensor: Tensor[Any]) -> Array:
    """Check that the datatype of a tensor can represent its numbers; return floats in it, integers as float64.

    NaN is a missing value.
    """
    dtype = DATATYPES[tensor.datatype]
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # overflows become infinities, which are rejected below
            cast = numbers.astype(dtype)
        valid = np.isfinite(cast) | np.isnan(numbers)
    else:
        cast, limits = numbers, np.iinfo(dtype)
        valid = (numbers == np.floor(numbers)) & (numbers >= limits.min) & (numbers <= limits.max)
    if not valid.all():
        index = int(np.argmin(valid))
        raise InvalidInput(
            tensor.name, f"Element {index} is {numbers[index]:g}, which {tensor.datatype} cannot represent."
        )
    return cast
