"""The bytes of a source: its pieces read as one file, unpacked if they are packed."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from nabla.engine.data.ingest.formats.byte_stream import Readable, exactly
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest_options import Source
from nabla.engine.errors import InvalidInput

_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_AT_ONCE = 2**20


class Pieces(io.RawIOBase):
    """The pieces of a source, one after the other."""

    def __init__(self, source: Source, meter: Meter) -> None:
        super().__init__()
        self._files = [path.open("rb", buffering=0) for path in source.paths]
        self._sizes = [path.stat().st_size for path in source.paths]
        self._meter = meter
        self._position = 0

    @property
    def size(self) -> int:
        return sum(self._sizes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = origin + offset
        return self._position

    def read(self, amount: int = -1, /) -> bytes:
        """So many bytes, or all that are left."""
        left = self.size - self._position if amount < 0 else amount
        parts = []
        while left > 0 and (part := self._part(left)):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, amount: int) -> bytes:
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if start <= self._position < start + size:
                file.seek(self._position - start)
                part = file.read(amount) or b""
                self._position += len(part)
                self._meter.bytes_read += len(part)
                return part
            start += size
        return b""

    def readinto(self, buffer: Any, /) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


class _Counted:
    """What comes out of a packed file."""

    def __init__(self, packed: Pieces, kind: str, meter: Meter, field: str) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(packed, "r"), kind)
        self._kind, self._meter, self._field = kind, meter, field

    def read(self, amount: int, /) -> bytes:
        with refusing(self._field, f"The {self._kind} file is damaged, or its end is missing."):
            part: bytes = self._stream.read(min(amount, _AT_ONCE))
        self._meter.unpacked(len(part), self._field)
        return part


class _Narrowed:
    """UTF-16 as UTF-8."""

    def __init__(self, wide: Readable, encoding: str, field: str) -> None:
        self._wide, self._field = wide, field
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._read = 2

    def read(self, amount: int, /) -> bytes:
        part = self._wide.read(min(amount, _AT_ONCE))
        try:
            text = self._decoder.decode(part, final=not part)
        except UnicodeDecodeError as problem:
            raise InvalidInput(
                self._field, f"The file is not UTF-16 text (near byte {self._read + problem.start})."
            ) from problem
        self._read += len(part)
        return text.encode() if text or not part else self.read(amount)


class _Joined:
    """What was read already, and then the rest."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start, self._rest = start, rest

    def read(self, amount: int, /) -> bytes:
        if self._start:
            part, self._start = self._start[:amount], self._start[amount:]
            return part
        return self._rest.read(amount)


@contextmanager
def opened(source: Source, meter: Meter) -> Iterator[Readable]:
    """The bytes of a source, unpacked."""
    with Pieces(source, meter) as pieces:
        start = pieces.read(4)
        pieces.seek(0)
        meter.bytes_read -= len(start)
        kind = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), None)
        yield pieces if kind is None else _Counted(pieces, kind, meter, source.field)


def as_utf8(stream: Readable, field: str) -> Readable:
    """UTF-16 that says so is turned into UTF-8; all else stays as it is."""
    start = exactly(stream, 2)
    encoding = _WIDE.get(start)
    return _Joined(start, stream) if encoding is None else _Narrowed(stream, encoding, field)


@contextmanager
def refusing(field: str, sentence: str) -> Iterator[None]:
    """What Arrow cannot read is refused in words; what the disk cannot read stays an error of the disk."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as problem:
        if isinstance(problem, MemoryError) or (isinstance(problem, OSError) and problem.errno is not None):
            raise
        raise InvalidInput(field, sentence) from problem
