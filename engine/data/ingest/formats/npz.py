"""NumPy's .npz: a zip archive of .npy files."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from nabla.engine.data.ingest.formats.byte_stream import ByteStream
from nabla.engine.data.ingest.formats.decompression import ChunkedFile
from nabla.engine.data.schema import format_names
from nabla.engine.errors import InvalidInput, shorten

MAGIC = b"PK"
_FIELDS = ("inputs", "targets", "labels", "weights")
_DAMAGED = "The .npz archive is damaged, or compressed with an unsupported method."
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member:
    """The content of a member, whose checksum is verified when its end is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int, /) -> bytes:
        with reject_damaged():
            return self._file.read(size)


def list_fields(file: ChunkedFile) -> list[str]:
    """Return which fields of a dataset an archive has. Raises InvalidInput if there are no inputs."""
    file.seek(0)
    with reject_damaged():
        names = members_by_name(zipfile.ZipFile(cast(BinaryIO, file)))
    if "inputs" not in names:
        listed = format_names([shorten(name) for name in sorted(names)]) or "(none)"
        raise InvalidInput("file", f"The archive has the arrays {listed}; expected inputs, and targets or labels.")
    return [field for field in _FIELDS if field in names]


@contextmanager
def open_field(file: ChunkedFile, field: str) -> Iterator[ByteStream]:
    """Open the .npy file of a field. Raises InvalidInput."""
    file.seek(0)
    with reject_damaged():
        archive = zipfile.ZipFile(cast(BinaryIO, file))
        member = members_by_name(archive)[field]
    with open_member(archive, member) as stream:
        yield stream


@contextmanager
def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[ByteStream]:
    """Open a member of an archive. Raises InvalidInput."""
    with reject_damaged():
        if member.compress_type not in _COMPRESSIONS:
            raise zipfile.BadZipFile("unsupported compression")
        file = archive.open(member)
    with file:
        yield _Member(cast(BinaryIO, file))


def members_by_name(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by the names of their arrays."""
    return {Path(member.filename).stem: member for member in archive.infolist()}


@contextmanager
def reject_damaged() -> Iterator[None]:
    """Raise InvalidInput for errors that a damaged archive causes in `zipfile`; disk I/O errors pass unchanged."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InvalidInput("file", _DAMAGED) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a seek before the beginning
            raise
        raise InvalidInput("file", _DAMAGED) from error
