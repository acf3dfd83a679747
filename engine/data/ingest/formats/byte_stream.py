"""Byte streams, temporary files with their content, and blocks of whole lines.

This module does not import PyArrow, which takes time and memory that reading arrays does not need.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from nabla.engine.data.ingest_options import SourceFile
from nabla.engine.durable_files import UNFINISHED_PREFIX
from nabla.engine.errors import InvalidInput

LINE_BLOCK_BYTES = 2**22
"""Target size of a block of lines: small enough to stay in the CPU cache while it is parsed (`benchmarks.ingest`)."""
MAX_LINE_BYTES = 2**24

_COPY_BYTES = 2**22
_COUNT_BYTES = 2**16


class ByteStream(Protocol):
    """Bytes that are read once, from the beginning to the end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


def read_exactly(stream: ByteStream, size: int) -> bytes:
    """Return the next `size` bytes, or all that are left."""
    chunks = []
    while size and (chunk := stream.read(size)):
        chunks.append(chunk)
        size -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@contextmanager
def as_single_file(source: SourceFile, directory: Path) -> Iterator[Path]:
    """Provide a source as one file; several chunks are joined into a temporary file in `directory`."""
    if len(source.paths) == 1:
        yield source.paths[0]
        return
    with _temporary_path(directory) as joined:
        with joined.open("wb") as file:
            for path in source.paths:
                with path.open("rb") as chunk:
                    shutil.copyfileobj(chunk, file, _COPY_BYTES)
        yield joined


@contextmanager
def spool_to_file(stream: ByteStream, size: int, directory: Path) -> Iterator[Path]:
    """Provide the next `size` bytes, or all that are left, as a temporary file in `directory`."""
    with _temporary_path(directory) as path:
        with path.open("wb") as file:
            while size and (chunk := stream.read(min(size, _COPY_BYTES))):
                file.write(chunk)
                size -= len(chunk)
        yield path


@contextmanager
def _temporary_path(directory: Path) -> Iterator[Path]:
    path = directory / f"{UNFINISHED_PREFIX}{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class LineBlock:
    """Whole lines of a text.

    Attributes:
        byte: Offset of the block in the text, from 0.
        line: Number of its first line, from 1.
        is_last: Whether no block follows.
    """

    content: bytes
    byte: int
    line: int
    is_last: bool = False


def end_of_last_line(content: bytes) -> int:
    """Return the offset after the last newline; 0 if there is none."""
    return content.rfind(b"\n") + 1


def read_line_blocks(
    stream: ByteStream, field: str, find_end: Callable[[bytes], int] = end_of_last_line
) -> Iterator[LineBlock]:
    """Yield a text in blocks of about 4 MiB.

    Args:
        stream: The text.
        field: Field to name in errors.
        find_end: Returns where the last complete row of a content ends, or 0.

    Raises:
        InvalidInput: A row is longer than 16 MiB.
    """
    content, target_size = b"", LINE_BLOCK_BYTES
    byte, line = 0, 1
    while chunk := read_exactly(stream, target_size - len(content)):
        content += chunk
        if len(content) < target_size:
            break
        if end := find_end(content):
            block = LineBlock(content[:end], byte, line)
            yield block
            byte += end
            line += count_byte(block.content, b"\n")
            content, target_size = content[end:], LINE_BLOCK_BYTES
        elif target_size < MAX_LINE_BYTES:
            target_size = MAX_LINE_BYTES
        else:
            quoted = ", or holds an unclosed quotation mark" if end_of_last_line(content) else ""
            raise InvalidInput(field, f"Line {line} is longer than the accepted {MAX_LINE_BYTES} bytes{quoted}.")
    if content:
        yield LineBlock(content, byte, line, is_last=True)


def count_byte(content: bytes, byte: bytes) -> int:
    """Return how often a byte occurs. Faster than `bytes.count`, and it releases the interpreter lock."""
    values = np.frombuffer(content, np.uint8)
    windows = (values[start : start + _COUNT_BYTES] for start in range(0, len(values), _COUNT_BYTES))
    return sum(int(np.count_nonzero(window == ord(byte))) for window in windows)  # windows stay in the CPU cache
