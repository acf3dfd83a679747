"""NumPy's .npz: a zip archive of arrays."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from engine.data.reading.formats.pieces import Pieces, Readable
from engine.errors import InvalidInput

MAGIC = b"PK"
FIELDS = ("inputs", "targets", "labels", "weights")
_SENTENCE = "The .npz archive is damaged, or packed in a way that is not accepted."
_ACCEPTED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member:
    """An array in the archive, whose checksum is looked at when its end is reached."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, amount: int, /) -> bytes:
        with _refusing():
            return self._file.read(amount)


@contextmanager
def opened(pieces: Pieces, field: str) -> Iterator[Readable]:
    """The .npy file of a field in an archive. Raises InvalidInput."""
    pieces.seek(0)
    with _refusing():
        archive = zipfile.ZipFile(cast(BinaryIO, pieces))
        member = _members(archive)[field]
        if member.compress_type not in _ACCEPTED:
            raise zipfile.BadZipFile("another compression")
        file = archive.open(member)
    with file:
        yield _Member(cast(BinaryIO, file))


def fields(pieces: Pieces) -> list[str]:
    """Which arrays there are. Raises InvalidInput."""
    pieces.seek(0)
    with _refusing():
        names = _members(zipfile.ZipFile(cast(BinaryIO, pieces)))
    if "inputs" not in names:
        shown = ", ".join(sorted(names)[:20]) or "(none)"
        raise InvalidInput("file", f"The archive has the arrays {shown}; expected inputs, and targets or labels.")
    return [field for field in FIELDS if field in names]


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {Path(member.filename).stem: member for member in archive.infolist()}


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as problem:
        raise InvalidInput("file", _SENTENCE) from problem
