"""Bytes that are read from the beginning to the end. Whoever reads arrays alone needs no Arrow, which takes time and
memory to load."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from nabla.engine.data.ingest_options import Source
from nabla.engine.durable_files import UNFINISHED


class Readable(Protocol):
    """Bytes, read from the beginning to the end."""

    def read(self, amount: int, /) -> bytes: ...


def exactly(stream: Readable, amount: int) -> bytes:
    """So many bytes, or all that are left."""
    parts = []
    while amount and (part := stream.read(amount)):
        parts.append(part)
        amount -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


_AT_ONCE = 2**22


@contextmanager
def whole(source: Source, folder: Path) -> Iterator[Path]:
    """One file of all pieces; where there are several they are joined in `folder`."""
    if len(source.paths) == 1:
        yield source.paths[0]
        return
    with _unfinished(folder) as joined:
        with joined.open("wb") as file:
            for path in source.paths:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, file, _AT_ONCE)
        yield joined


@contextmanager
def set_down(stream: Readable, length: int, folder: Path) -> Iterator[Path]:
    """The next `length` bytes of a stream, or all that are left, as a file in `folder`."""
    with _unfinished(folder) as path:
        with path.open("wb") as file:
            while length and (part := stream.read(min(length, _AT_ONCE))):
                file.write(part)
                length -= len(part)
        yield path


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    path = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
