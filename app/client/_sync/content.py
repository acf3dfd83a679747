# Generated from content.py in _async by tests/synchronous.py. Change that one.
"""Bodies of requests that are read from disk, or made, as they are sent."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.client.frames import Frame, stream
from app.client.pausing import here

_BYTES_AT_ONCE = 2**18


class Content:
    """A file, as a body that may be sent more than once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        here(self._file.seek, 0)
        while part := here(self._file.read, _BYTES_AT_ONCE):
            yield part

    def length(self) -> int:
        return here(self._file.seek, 0, 2)

    def sha256(self) -> bytes:
        digest = hashlib.sha256()
        for part in self:
            digest.update(part)
        return digest.digest()


@contextmanager
def content_of(rows: Path | str | Frame) -> Iterator[Content]:
    """The file at a path; or a frame, which is on disk for that time: its digest goes before it, and it may be sent
    twice."""
    if isinstance(rows, Path | str):
        with here(Path(rows).open, "rb") as file:
            yield Content(file)
        return
    with tempfile.TemporaryFile() as written:
        here(written.writelines, stream(rows))
        yield Content(written)


def made(parts: Iterator[bytes]) -> Iterator[bytes]:
    """As they are made, each when the one before has been sent. Such a body can be sent once."""
    while (part := here(next, parts, None)) is not None:
        yield part
