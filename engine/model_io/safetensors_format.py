"""Reading and writing of safetensors files: the length of a JSON header in 8 bytes, the header, the data.

The library's own functions are used for trusted files (see `engine.training.checkpoint`), but not for untrusted ones:

- `safe_open` allocates for every entry of a header. Under the memory limit of a task process a header of 87 MB, which
  it accepts, aborts the process instead of raising an error (`test_hostile_models`, "a header of 1.5 million tensors").
- `safe_open` copies a tensor before it is converted (`test_import_needs_little_memory_beyond_the_network`).
- `serialize_file` writes metadata in random order, so the same network has different bytes each time
  (`test_round_trip_is_bitwise`), and it cannot write to a sink that hashes and syncs.

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
from nabla.engine.errors import quote, shorten
from nabla.engine.model_io.bundle import ModelBundle
from nabla.engine.model_io.tensors import (
    MAX_METADATA_BYTES,
    MAX_TENSORS,
    LazyTensor,
    TensorFile,
    count_elements,
    invalid_file,
)
from nabla.engine.typing import AnyArray

_TYPE_NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_METADATA = "__metadata__"
# The reference implementation pads the header to a multiple of this, in bytes.
_ALIGNMENT = 8


class _HeaderEntry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def is_safetensors(start: bytes) -> bool:
    """Return whether a file begins like safetensors.

    An ONNX file begins with the tag 0x08 of its version field, or has no brace where the JSON header begins.
    """
    return start[8:9] == b"{" and (start[7:8] == b"\0" or not start.startswith(b"\x08"))


def write_safetensors(sink: Sink, bundle: ModelBundle) -> None:
    """Write a bundle tensor by tensor, the widest types first so that each begins at a multiple of its item size."""
    tensors = sorted(bundle.tensors.items(), key=lambda item: -item[1].itemsize)
    header: dict[str, Any] = {_METADATA: bundle.metadata}
    offset = 0
    for name, tensor in tensors:
        end = offset + tensor.nbytes
        header[name] = _HeaderEntry(_TYPE_NAMES[tensor.dtype], tensor.shape, (offset, end))
        offset = end
    content = msgspec.json.encode(header)
    content += b" " * (-len(content) % _ALIGNMENT)
    sink.write(len(content).to_bytes(8, "little") + content)
    for _, tensor in tensors:
        sink.write(np.ascontiguousarray(tensor).data)


@contextmanager
def open_safetensors(path: Path) -> Iterator[TensorFile]:
    """Map a file and validate its header. Raises InvalidInput."""
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise invalid_file("This is not a safetensors file: it ends before its header does.")
        if length > MAX_METADATA_BYTES:
            raise invalid_file(f"The header has {length} bytes; at most {MAX_METADATA_BYTES} are accepted.")
        header = _decode_header(file.read(length))
        metadata = _decode_metadata(header.pop(_METADATA, msgspec.Raw(b"{}")))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        entries = {name: _decode_entry(name, raw) for name, raw in header.items()}
        yield TensorFile(
            {name: _map_tensor(name, entry, data, 8 + length) for name, entry in entries.items()}, metadata
        )


def _decode_header(content: bytes) -> dict[str, msgspec.Raw]:
    try:
        header = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid_file("This is not a safetensors file: its header is not a JSON object.") from error
    if len(header) > MAX_TENSORS:
        raise invalid_file(f"The file has {len(header)} tensors; at most {MAX_TENSORS} are accepted.")
    return header


def _decode_metadata(raw: msgspec.Raw) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(raw, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid_file(f"{_METADATA} must be a JSON object whose values are strings.") from error


def _decode_entry(name: str, raw: msgspec.Raw) -> _HeaderEntry:
    try:
        return msgspec.json.decode(raw, type=_HeaderEntry)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid_file(
            f"The header entry of {quote(name)} cannot be read; expected dtype, shape and data_offsets."
        ) from error


def _map_tensor(name: str, entry: _HeaderEntry, data: mmap.mmap, data_start: int) -> LazyTensor:
    dtype = _DTYPES.get(entry.dtype)
    start, end = entry.data_offsets
    elements = count_elements(entry.shape, name)
    if not 0 <= start <= end <= len(data) - data_start:
        raise invalid_file(f"The data_offsets of the tensor {quote(name)} are reversed or beyond the end of the file.")
    if dtype is not None and end - start != elements * dtype.itemsize:
        raise invalid_file(
            f"The tensor {quote(name)} has {elements} elements of {entry.dtype}, but its data_offsets span "
            f"{end - start} bytes."
        )

    def read() -> AnyArray:
        return np.frombuffer(data, dtype or np.uint8, elements, data_start + start).reshape(entry.shape)

    return LazyTensor(entry.shape, dtype, shorten(entry.dtype if dtype is None else dtype.name), read)
