"""The bytes of a source: its chunks read as one file, decompressed and transcoded to UTF-8."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from nabla.engine.data.ingest.formats.byte_stream import ByteStream, read_exactly
from nabla.engine.data.ingest_options import ProgressTracker, SourceFile
from nabla.engine.errors import InvalidInput

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_READ_BYTES = 2**20


class ChunkedFile(io.RawIOBase):
    """The chunks of a source as one seekable file."""

    def __init__(self, source: SourceFile, tracker: ProgressTracker) -> None:
        super().__init__()
        self._files = [path.open("rb", buffering=0) for path in source.paths]
        self._sizes = [path.stat().st_size for path in source.paths]
        self._tracker = tracker
        self._position = 0

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(self._sizes)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the file."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position and return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise ValueError("negative seek position")
        self._position = origin + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next `size` bytes, or all that are left."""
        remaining = self.size - self._position if size < 0 else size
        contents = []
        while remaining > 0 and (content := self._read_from_chunk(remaining)):
            contents.append(content)
            remaining -= len(content)
        return contents[0] if len(contents) == 1 else b"".join(contents)

    def _read_from_chunk(self, size: int) -> bytes:
        start = 0
        for file, chunk_size in zip(self._files, self._sizes, strict=True):
            if start <= self._position < start + chunk_size:
                file.seek(self._position - start)
                content = file.read(size) or b""
                self._position += len(content)
                self._tracker.bytes_read += len(content)
                return content
            start += chunk_size
        return b""

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer and return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close all chunks."""
        for file in self._files:
            file.close()
        super().close()


class _DecompressedStream:
    """The content of a compressed file, counted against the size limit."""

    def __init__(self, file: ChunkedFile, compression: str, tracker: ProgressTracker, field: str) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
        self._compression, self._tracker, self._field = compression, tracker, field

    def read(self, size: int, /) -> bytes:
        with reject_unreadable(self._field, f"The {self._compression} file is damaged, or its end is missing."):
            content: bytes = self._stream.read(min(size, _READ_BYTES))
        self._tracker.add_decompressed(len(content), self._field)
        return content


class _Utf16Stream:
    """UTF-16 text as UTF-8."""

    def __init__(self, source: "_CountedStream", encoding: str, field: str) -> None:
        self._source, self._field = source, field
        self._stream = pa.transcoding_input_stream(pa.PythonFile(source, "r"), encoding, "utf-8")

    def read(self, size: int, /) -> bytes:
        try:
            content: bytes = self._stream.read(min(size, _READ_BYTES))
        except UnicodeDecodeError as error:
            byte = self._source.bytes_read - len(error.object) + error.start
            raise InvalidInput(self._field, f"The file is not UTF-16 text (byte {byte}).") from error
        return content


class _CountedStream(io.RawIOBase):
    """A stream as a file object, with the number of bytes that were read."""

    def __init__(self, stream: ByteStream, bytes_read: int) -> None:
        super().__init__()
        self._stream, self.bytes_read = stream, bytes_read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._stream.read(size)
        self.bytes_read += len(content)
        return content


class _PrefixedStream:
    """A stream from which a prefix was read already."""

    def __init__(self, prefix: bytes, stream: ByteStream) -> None:
        self._prefix, self._stream = prefix, stream

    def read(self, size: int, /) -> bytes:
        if self._prefix:
            content, self._prefix = self._prefix[:size], self._prefix[size:]
            return content
        return self._stream.read(size)


@contextmanager
def open_source(source: SourceFile, tracker: ProgressTracker) -> Iterator[ByteStream]:
    """Open a source, decompressed if it is compressed with gzip or zstd."""
    with ChunkedFile(source, tracker) as file:
        start = file.read(4)
        file.seek(0)
        tracker.bytes_read -= len(start)
        compression = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
        yield file if compression is None else _DecompressedStream(file, compression, tracker, source.field)


def transcode_to_utf8(stream: ByteStream, field: str) -> ByteStream:
    """Return a text as UTF-8 if it begins with the byte order mark of UTF-16, otherwise unchanged."""
    start = read_exactly(stream, 2)
    encoding = _UTF16.get(start)
    if encoding is None:
        return _PrefixedStream(start, stream)
    return _Utf16Stream(_CountedStream(stream, len(start)), encoding, field)


@contextmanager
def reject_unreadable(field: str, message: str) -> Iterator[None]:
    """Raise InvalidInput for content that Arrow cannot read; disk I/O errors and memory errors pass unchanged."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise InvalidInput(field, message) from error
