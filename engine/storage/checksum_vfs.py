"""Pages of the journal with checksums, so that no damaged one is ever read: a virtual file system under SQLite.

SQLite itself guards what it recovers from its write-ahead log, and nothing else. Here the last 8 bytes of each page of
the database are a digest of its number and of its content, written and compared with the page; of each page in the log
this process knows the digest from when it wrote it, or saw it pass SQLite's own check at recovery. (SQLite's extension
cksumvfs does the same for databases without a log; see https://sqlite.org/cksumvfs.html.)
"""

import ctypes
import hashlib
import logging
import os
import struct
from pathlib import Path

import apsw

from nabla.engine.errors import StorageFailed

PAGE = 4096
_DIGEST = 8
# Of the database, before its first page is known; of the log; of a page in the log.
_HEADER, _LOG_HEADER, _FRAME_HEADER = 100, 32, 24


def _page_digest(place: int, content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST, salt=place.to_bytes(8, "little")).digest()


class CheckedFiles(apsw.VFS):
    """Give its `name` to a connection, call `reserve` on it before anything else, and use a log and pages of `PAGE`."""

    name = "nabla-checked"

    def __init__(self) -> None:
        super().__init__(self.name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _Database("", name, flags)
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return _Log("", name, flags)
        return apsw.VFSFile("", name, flags)


def reserve(connection: apsw.Connection) -> None:
    """Keep the room for digests free at the end of every page."""
    room = ctypes.c_int(_DIGEST)
    connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(room))


def _damaged(what: str) -> apsw.CorruptError:
    return apsw.CorruptError(f"{what} is not what was written")


class _File(apsw.VFSFile):
    """Synced without the interpreter's lock. SQLite's own sync keeps it: nobody would be answered while the disk works,
    nor until the thread that waits for it gets a core again."""

    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        assert path is not None
        # Open as long as SQLite's: to close any descriptor of a file gives up all locks that the process has on it.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._is_new = True

    def xSync(self, flags: int) -> None:
        if self._is_new:
            super().xSync(flags)  # which syncs its name too, where it was created
            self._is_new = False
            return
        try:
            os.fdatasync(self._descriptor)
        except OSError as problem:
            failure = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
            failure.args = (problem.strerror,)
            raise failure from problem

    def xClose(self) -> None:
        try:
            super().xClose()
        finally:
            os.close(self._descriptor)


class _Database(_File):
    def xRead(self, amount: int, offset: int) -> bytes:
        if offset + amount <= _HEADER:
            return super().xRead(amount, offset)
        # SQLite also reads parts of pages.
        page = offset // PAGE * PAGE
        found = super().xRead(PAGE, page)
        if (found or page) and (len(found) != PAGE or found[-_DIGEST:] != _page_digest(page, found[:-_DIGEST])):
            raise _damaged(f"page {page // PAGE + 1}")
        return found[offset - page : offset - page + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        assert len(data) == PAGE
        content = memoryview(data)[:-_DIGEST]
        super().xWrite(bytes(content) + _page_digest(offset, content), offset)


class _Log(_File):
    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        self._digests: dict[int, bytes] = {}

    def xRead(self, amount: int, offset: int) -> bytes:
        found = super().xRead(amount, offset)
        if amount == PAGE and self._digests.get(offset) != _page_digest(offset, found):
            raise _damaged(f"the log at {offset}")
        if amount == PAGE + _FRAME_HEADER:  # recovery, where SQLite compares its own checksum
            self._digests[offset + _FRAME_HEADER] = _page_digest(offset + _FRAME_HEADER, found[_FRAME_HEADER:])
        return found

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        for page in _pages_of_log(offset, offset + len(data)):
            # SQLite writes the page that a sync falls into in two parts.
            content = data if (page, PAGE) == (offset, len(data)) else super().xRead(PAGE, page)
            self._digests[page] = _page_digest(page, content)


def _pages_of_log(first: int, last: int) -> range:
    """Where the pages begin that the bytes from `first` to `last` are of, in whole or in part."""
    frame = _FRAME_HEADER + PAGE
    begin = _LOG_HEADER + _FRAME_HEADER
    before = max(0, (first - begin) // frame) if first >= begin else 0
    pages = range(begin + before * frame, max(last, begin), frame)
    return pages if pages and pages[0] + PAGE > first else pages[1:]


log = logging.getLogger(__name__)

_NUMBER = struct.Struct("<Q")
_PLACE = _NUMBER.size + _DIGEST


class Witness:
    """A file with two places, written in turn: a write that was torn leaves the other one. Raises StorageFailed if it
    cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise StorageFailed(f"The file {path.name} cannot be opened: {problem.strerror}.") from problem

    def read(self) -> int | None:
        """The number of commits; None if it is not known."""
        content = os.pread(self._descriptor, 2 * _PLACE, 0)
        places = [content[start : start + _PLACE] for start in range(0, len(content), _PLACE)]
        places = [place for place in places if place != bytes(_PLACE)]  # not written yet
        numbers = [number for place in places if (number := _number(place)) is not None]
        if len(numbers) < len(places):
            log.warning("%s is damaged in part; the journal is taken as it is", self.path.name)
        return max(numbers, default=None)

    def write(self, number: int) -> None:
        content = _NUMBER.pack(number)
        try:
            os.pwrite(self._descriptor, content + _count_digest(content), number % 2 * _PLACE)
        except OSError as problem:
            log.warning("%s cannot be written: %s", self.path.name, problem.strerror)

    def close(self) -> None:
        os.close(self._descriptor)


def _count_digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _number(place: bytes) -> int | None:
    content, digest = place[: _NUMBER.size], place[_NUMBER.size :]
    if len(place) != _PLACE or digest != _count_digest(content):
        return None
    return int(_NUMBER.unpack(content)[0])
