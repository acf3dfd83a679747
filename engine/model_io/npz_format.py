"""NumPy's .npz: arrays under their names; the words are arrays of the bytes of their JSON."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nabla.engine.data.ingest.formats import npz
from nabla.engine.data.ingest.formats.npy import said_of_array
from nabla.engine.model_io.bundle import Portable
from nabla.engine.model_io.tensors import (
    FIELD,
    MOST_TENSORS,
    MOST_WORDS,
    NO_PICKLES,
    Array,
    Found,
    Tensor,
    numbers_in,
    refused,
    shortened,
)

_BYTES_AT_ONCE = 2**22
_WORDS = ("architecture", "rule", "preparation", "classes")


def write(file: BinaryIO, portable: Portable) -> None:
    """Arrays without numbers are left out."""
    arrays = {name: array for name, array in portable.arrays.items() if array.size}
    words = {name: np.frombuffer(text.encode(), np.uint8) for name, text in portable.words.items()}
    np.savez(file, allow_pickle=False, **arrays, **words)


def is_one(start: bytes) -> bool:
    return start.startswith(npz.MAGIC)


@contextmanager
def opened(path: Path) -> Iterator[Found]:
    """Headers are looked at, and words are read. Raises InvalidInput."""
    with npz.refusing_damage():
        archive = zipfile.ZipFile(path)
    with archive:
        members = npz.members(archive)
        if any(member.filename.endswith(".pkl") for member in members.values()):  # PyTorch's own files are archives
            raise refused(NO_PICKLES)
        if len(members) > MOST_TENSORS:
            raise refused(f"The archive has {len(members)} arrays; at most {MOST_TENSORS} are accepted.")
        tensors = {name: _tensor(archive, member, name) for name, member in members.items()}
        words = {name: _text(name, tensors.pop(name)) for name in _WORDS if name in tensors}
        yield Found(tensors, words)


def _tensor(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Tensor:
    with npz.opened_member(archive, member) as stream:
        shape, by_column, dtype = said_of_array(stream, FIELD)
    amount = numbers_in(shape, name)

    def read() -> Array:
        values = np.empty(amount, dtype)
        left = values.view(np.uint8)
        with npz.opened_member(archive, member) as stream:
            said_of_array(stream, FIELD)
            while left.size and (part := stream.read(min(left.size, _BYTES_AT_ONCE))):
                left[: len(part)] = np.frombuffer(part, np.uint8)
                left = left[len(part) :]
        if left.size:
            raise refused(
                f"The array {shortened(name)!r} is said to have {amount} numbers of {dtype}; {left.size} bytes of them "
                "are not there."
            )
        return values.reshape(shape, order="F" if by_column else "C").astype(own, copy=False)

    own = dtype.newbyteorder("=")
    accepted = dtype.kind == "f" and dtype.itemsize in (4, 8)
    return Tensor(shape, own if accepted else None, shortened(str(own)), read)


def _text(name: str, tensor: Tensor) -> str:
    if tensor.kind != "uint8" or len(tensor.shape) != 1 or tensor.shape[0] > MOST_WORDS:
        raise refused(f"The array {name} is {tensor}; expected the bytes of a JSON text, as uint8.")
    try:
        return tensor.read().tobytes().decode()
    except UnicodeDecodeError as problem:
        raise refused(f"The array {name} is no UTF-8 text; expected the bytes of a JSON text.") from problem
