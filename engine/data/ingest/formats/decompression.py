"""The bytes of a source: its chunks read as one file, decompressed and transcoded to UTF-8."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast

from nabla.engine.data.ingest.formats.byte_stream import ByteStream, read_exactly
from nabla.engine.data.ingest_options import ProgressTracker, SourceFile
from nabla.engine.data.schema import format_names
from nabla.engine.errors import InvalidInput
from nabla.engine.extras import requires_extra

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
_ZIP_MAGIC = b"PK\x03\x04"
_MAGIC_BYTES = 6
# Added to archives by macOS.
_MACOS_DIRECTORY, _MACOS_FILE = "__MACOSX/", ".DS_Store"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_READ_BYTES = 2**20
_DAMAGED: tuple[type[Exception], ...] = (ValueError, OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


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

    def __init__(self, stream: ByteStream, compression: str, tracker: ProgressTracker, field: str) -> None:
        self._stream = stream
        self._compression, self._tracker, self._field = compression, tracker, field

    def read(self, size: int, /) -> bytes:
        with reject_unreadable(self._field, f"The {self._compression} file is damaged, or its end is missing."):
            content: bytes = self._stream.read(min(size, _READ_BYTES))
        self._tracker.add_decompressed(len(content), self._field)
        return content


class _TranscodedStream:
    """Text in another encoding as UTF-8."""

    def __init__(self, stream: ByteStream, bytes_read: int, encoding: str, field: str) -> None:
        self._stream, self._bytes_read = stream, bytes_read
        self._encoding, self._field = encoding, field
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        while not self._pending:
            content = self._stream.read(_READ_BYTES)
            self._bytes_read += len(content)
            self._pending = self._transcode(content)
            if not content:
                break
        content, self._pending = self._pending[:size], self._pending[size:]
        return content

    def _transcode(self, content: bytes) -> bytes:
        try:
            return self._decoder.decode(content, final=not content).encode()
        except UnicodeDecodeError as error:
            byte = self._bytes_read - len(error.object) + error.start
            name = self._encoding.upper().removesuffix("-LE").removesuffix("-BE")
            raise InvalidInput(self._field, f"The file is not {name} text (byte {byte}).") from error
        except UnicodeError as error:  # such as UTF-16 without a byte order mark
            raise InvalidInput(self._field, f"The file is not {self._encoding} text: {error}.") from error


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
    """Open a source, decompressed if it is compressed with gzip, zstd, bz2 or xz, or a zip archive of one file.

    Raises:
        InvalidInput: An archive has several files, or cannot be read. Archives of arrays (.npz) are left as they are.
    """
    with ChunkedFile(source, tracker) as file, ExitStack() as stack:
        start = file.read(_MAGIC_BYTES)
        file.seek(0)
        tracker.bytes_read -= len(start)
        compression = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
        stream: ByteStream | None = None
        if compression is not None:
            stream = _open_compressed(file, compression, source.field, stack)
        elif start.startswith(_ZIP_MAGIC):
            compression, stream = "zip", _open_zip_member(file, source.field, stack)
        yield (
            file
            if stream is None or compression is None
            else _DecompressedStream(stream, compression, tracker, source.field)
        )


def _open_compressed(file: ChunkedFile, compression: str, field: str, stack: ExitStack) -> ByteStream:
    if compression == "zstd":
        with requires_extra(field, "Files compressed with zstd"):
            import pyarrow as pa

        decompressed: ByteStream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
        return decompressed
    raw = cast("IO[bytes]", io.BufferedReader(file, _READ_BYTES))
    match compression:
        case "gzip":
            return stack.enter_context(gzip.GzipFile(fileobj=raw))
        case "bz2":
            return stack.enter_context(bz2.BZ2File(raw))
        case _:
            return stack.enter_context(lzma.LZMAFile(raw))


def _open_zip_member(file: ChunkedFile, field: str, stack: ExitStack) -> ByteStream | None:
    """Return the only file of an archive; None for an archive of arrays and a spreadsheet, which is one too."""
    with reject_unreadable(field, "The zip archive is damaged, or its end is missing."):
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except zipfile.BadZipFile as error:
            raise ValueError from error
    names = [name for name in names if not name.startswith(_MACOS_DIRECTORY) and not name.endswith(_MACOS_FILE)]
    is_spreadsheet = any(name in ("[Content_Types].xml", "mimetype") or name.startswith("xl/") for name in names)
    if is_spreadsheet or all(name.endswith(".npy") for name in names):
        file.seek(0)
        return None
    if len(names) != 1:
        raise InvalidInput(
            field, f"The zip archive has {len(names)} files: {format_names(names, 5)}. Send one with a single file."
        )
    try:
        return stack.enter_context(archive.open(names[0]))
    except (RuntimeError, NotImplementedError) as error:
        raise InvalidInput(field, f"The zip archive cannot be read: {error}.") from error


def transcode_to_utf8(stream: ByteStream, field: str, encoding: str | None = None) -> ByteStream:
    """Return a text as UTF-8, from an encoding or from UTF-16 if it begins with its byte order mark."""
    start = read_exactly(stream, 2)
    if start in _UTF16:
        return _TranscodedStream(stream, len(start), _UTF16[start], field)
    prefixed = _PrefixedStream(start, stream)
    if encoding is None or codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig"):
        return prefixed
    return _TranscodedStream(prefixed, 0, encoding, field)


@contextmanager
def reject_unreadable(field: str, message: str, *others: type[Exception]) -> Iterator[None]:
    """Raise InvalidInput for content that cannot be read; disk I/O errors and memory errors pass unchanged.

    `others`: errors for such content besides those of Python's own modules.
    """
    try:
        yield
    except _DAMAGED + others as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise InvalidInput(field, message) from error
