"""NumPy's .npz: a zip archive of arrays."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from nabla.engine.data.ingest.formats.byte_stream import Readable
from nabla.engine.data.ingest.formats.decompression import Pieces
from nabla.engine.errors import InvalidInput

MAGIC = b"PK"
FIELDS = ("inputs", "targets", "labels", "weights")
_SENTENCE = "The .npz archive is damaged, or packed in a way that is not accepted."
_ACCEPTED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Member:
    """An array in the archive, whose checksum is looked at when its end is reached."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, amount: int, /) -> bytes:
        with refusing_damage():
            return self._file.read(amount)


@contextmanager
def opened(pieces: Pieces, field: str) -> Iterator[Readable]:
    """The .npy file of a field in an archive. Raises InvalidInput."""
    pieces.seek(0)
    with refusing_damage():
        archive = zipfile.ZipFile(cast(BinaryIO, pieces))
        found = members(archive)[field]
    with opened_member(archive, found) as member:
        yield member


@contextmanager
def opened_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[Readable]:
    """Raises InvalidInput."""
    with refusing_damage():
        if member.compress_type not in _ACCEPTED:
            raise zipfile.BadZipFile("another compression")
        file = archive.open(member)
    with file:
        yield Member(cast(BinaryIO, file))


def fields(pieces: Pieces) -> list[str]:
    """Which arrays there are. Raises InvalidInput."""
    pieces.seek(0)
    with refusing_damage():
        names = members(zipfile.ZipFile(cast(BinaryIO, pieces)))
    if "inputs" not in names:
        shown = ", ".join(sorted(names)[:20]) or "(none)"
        raise InvalidInput("file", f"The archive has the arrays {shown}; expected inputs, and targets or labels.")
    return [field for field in FIELDS if field in names]


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """By the names of their arrays."""
    return {Path(member.filename).stem: member for member in archive.infolist()}


@contextmanager
def refusing_damage() -> Iterator[None]:
    """What is wrong with an archive is refused in words."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as problem:
        raise InvalidInput("file", _SENTENCE) from problem
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # a place before the beginning
            raise
        raise InvalidInput("file", _SENTENCE) from problem
