"""ONNX models that anybody may have made: those of our own by their arrays and words, others by their graph."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.protobuf.message
import msgspec
import numpy as np
import onnx

from engine.exchange.tensors import MOST_TENSORS, MOST_WORDS, Array, Found, Tensor, numbers_in, refused, shortened
from engine.training.stored_preparation import PREFIX

_MOST_BYTES = 2**31 - 1
_NOT_KNOWN = "The file is neither safetensors nor npz, and cannot be read as ONNX; or it is damaged."
_FILLS = f"{PREFIX}fills"
_OWN = ("layers.", PREFIX)
_TYPES: dict[int, np.dtype[Any]] = {onnx.TensorProto.FLOAT: np.dtype("<f4"), onnx.TensorProto.DOUBLE: np.dtype("<f8")}


def model_in(path: Path) -> onnx.ModelProto:
    """Raises InvalidInput."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise refused(f"The file has {size} bytes; an ONNX file has less than 2 GiB.")
    try:
        model = onnx.ModelProto()
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as content,
        ):
            model.ParseFromString(content)
    except google.protobuf.message.DecodeError as problem:
        if "alloc" in str(problem):  # all that tells it from what is damaged
            raise MemoryError from problem
        raise refused(_NOT_KNOWN) from problem
    if not model.HasField("graph") or not model.graph.node:
        raise refused(_NOT_KNOWN)
    if not all(isinstance(text, str) for text in _texts(model)):
        raise refused(_NOT_KNOWN)
    if len(model.graph.initializer) > MOST_TENSORS:
        raise refused(f"The model has {len(model.graph.initializer)} arrays; at most {MOST_TENSORS} are accepted.")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """All that is looked at. What is not UTF-8 comes as bytes."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for named in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        yield named.name
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.t.name)


def found_in(model: onnx.ModelProto) -> Found:
    """The words of a model, and those of its arrays that have names of ours. Raises InvalidInput."""
    words = {entry.key: entry.value for entry in model.metadata_props}
    if sum(map(len, words.values())) > MOST_WORDS:
        raise refused(f"The metadata of the model have more than the {MOST_WORDS} characters that are accepted.")
    prefix = words.get("prefix", "")
    tensors = {}
    for proto in model.graph.initializer:
        name = proto.name.removeprefix(prefix)
        if name.startswith(_OWN):
            tensors[name] = tensor_of(proto)
    if "preparation" in words:
        fills = _fills(words.get("fills", ""))
        tensors[_FILLS] = Tensor(fills.shape, fills.dtype, "float64", lambda: fills)
    return Found(tensors, words)


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """Raises InvalidInput if its numbers are in another file, or not as many as it says."""
    name, shape = proto.name, tuple(proto.dims)
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise refused(f"The array {shortened(name)!r} lies in another file; save the model with all data in one file.")
    amount = numbers_in(shape, name)
    dtype = _TYPES.get(proto.data_type)
    if dtype is None:
        known = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
        kind = known[proto.data_type].name if proto.data_type in known else f"of type {proto.data_type}"
        return Tensor(shape, None, kind, lambda: np.zeros(0))
    values = proto.float_data if dtype.itemsize == 4 else proto.double_data
    length = len(proto.raw_data) or len(values) * dtype.itemsize
    if length != amount * dtype.itemsize:
        raise refused(
            f"The array {shortened(name)!r} is said to have {amount} numbers of {dtype.name}; it has {length} bytes."
        )

    def read() -> Array:
        numbers = np.frombuffer(proto.raw_data, dtype) if proto.raw_data else np.array(values, dtype)
        return numbers.reshape(shape)

    return Tensor(shape, dtype, dtype.name, read)


def _fills(text: str) -> Array:
    """Raises InvalidInput."""
    try:
        fills = msgspec.json.decode(text, type=list[float | None])
    except (msgspec.DecodeError, UnicodeError) as problem:
        raise refused(
            "What the file says under fills cannot be read; a list of numbers and nulls is expected."
        ) from problem
    return np.array([np.nan if fill is None else fill for fill in fills], np.float64)
