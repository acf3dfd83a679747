"""Bodies of requests that are read from disk, or made, as they are sent."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from app.client.frames import Frame, stream
from app.client.pausing import aside

_BYTES_AT_ONCE = 2**18


class AsyncContent:
    """A file, as a body that may be sent more than once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await aside(self._file.seek, 0)
        while part := await aside(self._file.read, _BYTES_AT_ONCE):
            yield part

    async def length(self) -> int:
        return await aside(self._file.seek, 0, 2)

    async def sha256(self) -> bytes:
        digest = hashlib.sha256()
        async for part in self:
            digest.update(part)
        return digest.digest()


@asynccontextmanager
async def content_of(rows: Path | str | Frame) -> AsyncIterator[AsyncContent]:
    """The file at a path; or a frame, which is on disk for that time: its digest goes before it, and it may be sent
    twice."""
    if isinstance(rows, Path | str):
        with await aside(Path(rows).open, "rb") as file:
            yield AsyncContent(file)
        return
    with tempfile.TemporaryFile() as written:
        await aside(written.writelines, stream(rows))
        yield AsyncContent(written)


async def made(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """As they are made, each when the one before has been sent. Such a body can be sent once."""
    while (part := await aside(next, parts, None)) is not None:
        yield part
