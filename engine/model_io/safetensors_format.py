"""Safetensors: eight bytes with the length of a header in JSON, the header, the numbers.

Written and read here part by part, so that a large network is not in memory besides itself.
Source: the README of safetensors, "Format".
"""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nabla.engine.durable_files import Sink
from nabla.engine.model_io.bundle import Portable
from nabla.engine.model_io.tensors import MOST_TENSORS, MOST_WORDS, Array, Found, Tensor, numbers_in, refused, shortened

_NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_METADATA = "__metadata__"
# The numbers begin at a multiple of so many bytes, as those do who write this format elsewhere.
_ALIGNED = 8


class _Announced(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def write(sink: Sink, portable: Portable) -> None:
    """Those of the widest type first, so that all of them begin at a multiple of their size."""
    arrays = sorted(portable.arrays.items(), key=lambda item: -item[1].itemsize)
    header: dict[str, Any] = {_METADATA: portable.words}
    at = 0
    for name, array in arrays:
        header[name] = _Announced(_NAMES[array.dtype], array.shape, (at, at + array.nbytes))
        at += array.nbytes
    content = msgspec.json.encode(header)
    content += b" " * (-len(content) % _ALIGNED)
    sink.write(len(content).to_bytes(8, "little") + content)
    for _, array in arrays:
        sink.write(np.ascontiguousarray(array).data)


def is_one(start: bytes) -> bool:
    """By the first bytes of a file. Those of an ONNX file begin with its version, or have no brace behind the
    length of a header."""
    return start[8:9] == b"{" and (start[7:8] == b"\0" or not start.startswith(b"\x08"))


@contextmanager
def opened(path: Path) -> Iterator[Found]:
    """Mapped, and looked at. Raises InvalidInput."""
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise refused("This is not a safetensors file: it ends before its header does.")
        if length > MOST_WORDS:
            raise refused(f"The header has {length} bytes; at most {MOST_WORDS} are accepted.")
        header = _header(file.read(length))
        words = _words(header.pop(_METADATA, msgspec.Raw(b"{}")))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        begin = 8 + length
        announced = {name: _announced(name, raw) for name, raw in header.items()}
        yield Found({name: _tensor(name, one, mapped, begin) for name, one in announced.items()}, words)


def _header(content: bytes) -> dict[str, msgspec.Raw]:
    try:
        header = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise refused("This is not a safetensors file: its header is no JSON object.") from problem
    if len(header) > MOST_TENSORS:
        raise refused(f"The file has {len(header)} arrays; at most {MOST_TENSORS} are accepted.")
    return header


def _words(raw: msgspec.Raw) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(raw, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise refused(f"The {_METADATA} of a safetensors file are texts by their names; these are not.") from problem


def _announced(name: str, raw: msgspec.Raw) -> _Announced:
    try:
        return msgspec.json.decode(raw, type=_Announced)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise refused(
            f"What the header says of {shortened(name)!r} cannot be read; dtype, shape and data_offsets are expected."
        ) from problem


def _tensor(name: str, announced: _Announced, mapped: mmap.mmap, begin: int) -> Tensor:
    dtype = _TYPES.get(announced.dtype)
    first, end = announced.data_offsets
    amount = numbers_in(announced.shape, name)
    if not 0 <= first <= end <= len(mapped) - begin:
        raise refused(f"The array {shortened(name)!r} is said to lie where the file has nothing.")
    if dtype is not None and end - first != amount * dtype.itemsize:
        raise refused(
            f"The array {shortened(name)!r} is said to have {amount} numbers of {announced.dtype} in {end - first} "
            "bytes; that is not so."
        )

    def read() -> Array:
        return np.frombuffer(mapped, dtype or np.uint8, amount, begin + first).reshape(announced.shape)

    kind = announced.dtype if dtype is None else dtype.name
    return Tensor(announced.shape, dtype, shortened(kind), read)
