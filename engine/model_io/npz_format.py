"""Reading and writing of NumPy's .npz: a zip archive whose members are tensors, and metadata as UTF-8 bytes."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nabla.engine.data.ingest.formats import npy, npz
from nabla.engine.errors import quote, shorten
from nabla.engine.model_io.bundle import METADATA_KEYS, ModelBundle
from nabla.engine.model_io.tensors import (
    FIELD,
    MAX_METADATA_BYTES,
    MAX_TENSORS,
    PICKLE_REJECTED,
    LazyTensor,
    TensorFile,
    count_elements,
    invalid_file,
)
from nabla.engine.typing import AnyArray

_READ_BYTES = 2**22


def is_npz(start: bytes) -> bool:
    """Return whether a file begins like a zip archive."""
    return start.startswith(npz.MAGIC)


def write_npz(file: BinaryIO, bundle: ModelBundle) -> None:
    """Write a bundle without its empty tensors."""
    tensors = {name: tensor for name, tensor in bundle.tensors.items() if tensor.size}
    metadata = {key: np.frombuffer(text.encode(), np.uint8) for key, text in bundle.metadata.items()}
    np.savez(file, allow_pickle=False, **tensors, **metadata)


@contextmanager
def open_npz(path: Path) -> Iterator[TensorFile]:
    """Validate the headers of an archive and read its metadata. Raises InvalidInput."""
    with npz.reject_damaged():
        archive = zipfile.ZipFile(path)
    with archive:
        members = npz.members_by_name(archive)
        if any(member.filename.endswith(".pkl") for member in members.values()):  # torch.save writes zip archives
            raise invalid_file(PICKLE_REJECTED)
        if len(members) > MAX_TENSORS:
            raise invalid_file(f"The archive has {len(members)} tensors; at most {MAX_TENSORS} are accepted.")
        tensors = {name: _read_header(archive, member, name) for name, member in members.items()}
        metadata = {key: _read_text(key, tensors.pop(key)) for key in METADATA_KEYS & tensors.keys()}
        yield TensorFile(tensors, metadata)


def _read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> LazyTensor:
    with npz.open_member(archive, member) as stream:
        shape, fortran_order, dtype = npy.parse_npy_header(stream, FIELD)
    elements = count_elements(shape, name)
    native = dtype.newbyteorder("=")

    def read() -> AnyArray:
        values = np.empty(elements, dtype)
        remaining = values.view(np.uint8)
        with npz.open_member(archive, member) as stream:
            npy.parse_npy_header(stream, FIELD)
            while remaining.size and (chunk := stream.read(min(remaining.size, _READ_BYTES))):
                remaining[: len(chunk)] = np.frombuffer(chunk, np.uint8)
                remaining = remaining[len(chunk) :]
        if remaining.size:
            raise invalid_file(
                f"The tensor {quote(name)} has {elements} elements of {dtype}, but {remaining.size} bytes of them are "
                "missing."
            )
        return values.reshape(shape, order="F" if fortran_order else "C").astype(native, copy=False)

    is_float = dtype.kind == "f" and dtype.itemsize in (4, 8)
    return LazyTensor(shape, native if is_float else None, shorten(str(native)), read)


def _read_text(key: str, tensor: LazyTensor) -> str:
    if tensor.type_name != "uint8" or len(tensor.shape) != 1 or tensor.shape[0] > MAX_METADATA_BYTES:
        raise invalid_file(f"The array {key} is {tensor}; expected UTF-8 text as uint8.")
    try:
        return tensor.read().tobytes().decode()
    except UnicodeDecodeError as error:
        raise invalid_file(f"The array {key} is not UTF-8 text.") from error
