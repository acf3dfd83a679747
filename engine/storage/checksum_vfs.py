"""Page checksums for SQLite, so that no damaged page of the journal is ever read: a virtual file system (VFS).

SQLite itself verifies only what it recovers from its write-ahead log. Here the last 8 bytes of each page of the
database are a digest of its offset and content, compared at each read. The digests of pages in the log are kept in
memory, from when this process wrote a page, or saw it pass SQLite's own check at recovery.

SQLite's extension cksumvfs (https://sqlite.org/cksumvfs.html, shipped with apsw) covers less. Its checksum leaves out
where a page belongs, and is 0 for a page of zeros: of pages replaced by another one it returned 35 of 80 as sound, of
zeroed ones 6 of 80. A checkpoint copies pages of the log unchecked. And a page that SQLite reads in part is not checked
at all. tests/unit/storage/test_checksum_vfs.py shows that it misses misplaced pages; tests/chaos/test_damage.py needs
the rest.
"""

import ctypes
import hashlib
import os

import apsw

PAGE_BYTES = 4096
VFS_NAME = "nabla-checksums"

_DIGEST_BYTES = 8
# Bytes that SQLite reads before it knows the page size.
_DATABASE_HEADER_BYTES = 100
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES


class ChecksumVfs(apsw.VFS):
    """The VFS, for connections with a write-ahead log and pages of `PAGE_BYTES`. It is registered while it exists.

    Call `reserve_checksum_bytes` on a connection before anything else.
    """

    def __init__(self) -> None:
        super().__init__(VFS_NAME, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open the database or its log with checksums, and any other file as it is."""
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _DatabaseFile("", name, flags)
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return _WalFile("", name, flags)
        return apsw.VFSFile("", name, flags)


def reserve_checksum_bytes(connection: apsw.Connection) -> None:
    """Reserve the end of every page for its digest."""
    count = ctypes.c_int(_DIGEST_BYTES)
    connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(count))


class _SyncedFile(apsw.VFSFile):
    """A file that is synced without the interpreter lock, which SQLite's own sync through apsw would hold.

    Otherwise no request could be served while the disk works, nor until the syncing thread gets a core again.
    """

    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        assert path is not None
        # Open as long as SQLite's own: closing any descriptor of a file releases all locks of the process on it.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._is_new = True

    def xSync(self, flags: int) -> None:
        """Sync the file, and the first time its directory as well, as SQLite does."""
        if self._is_new:
            super().xSync(flags)
            self._is_new = False
            return
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            failure = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
            failure.args = (error.strerror,)
            raise failure from error

    def xClose(self) -> None:
        """Close both descriptors."""
        try:
            super().xClose()
        finally:
            os.close(self._descriptor)


class _DatabaseFile(_SyncedFile):
    def xRead(self, amount: int, offset: int) -> bytes:
        """Read, and verify the page that is read in whole or in part."""
        if offset + amount <= _DATABASE_HEADER_BYTES:
            return super().xRead(amount, offset)
        start = offset // PAGE_BYTES * PAGE_BYTES
        page = super().xRead(PAGE_BYTES, start)
        is_new_database = not page and not start
        if not is_new_database and not _has_digest(page, start):
            raise _corrupt(f"page {start // PAGE_BYTES + 1}")
        return page[offset - start : offset - start + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write a page with its digest."""
        assert len(data) == PAGE_BYTES
        content = memoryview(data)[:-_DIGEST_BYTES]
        super().xWrite(bytes(content) + _digest(content, offset), offset)


class _WalFile(_SyncedFile):
    """The write-ahead log: a header, then frames of a header and a page."""

    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        self._digests: dict[int, bytes] = {}

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read; verify a page, and note the digest of one that SQLite verifies: at recovery it reads whole frames."""
        data = super().xRead(amount, offset)
        if amount == PAGE_BYTES and self._digests.get(offset) != _digest(data, offset):
            raise _corrupt(f"the page at {offset} of the log")
        if amount == _FRAME_BYTES:
            page_offset = offset + _FRAME_HEADER_BYTES
            self._digests[page_offset] = _digest(data[_FRAME_HEADER_BYTES:], page_offset)
        return data

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, and note the digests of the pages that this changes."""
        super().xWrite(data, offset)
        for page in _wal_pages(offset, offset + len(data)):
            # SQLite writes a page in two parts where a sync falls into it.
            content = data if (page, PAGE_BYTES) == (offset, len(data)) else super().xRead(PAGE_BYTES, page)
            self._digests[page] = _digest(content, page)


def _wal_pages(start: int, stop: int) -> range:
    """Return the offsets of the pages that the bytes from `start` to `stop` of a log belong to."""
    first_page = _WAL_HEADER_BYTES + _FRAME_HEADER_BYTES
    frame = max(0, (start - first_page) // _FRAME_BYTES)
    pages = range(first_page + frame * _FRAME_BYTES, max(stop, first_page), _FRAME_BYTES)
    return pages if pages and pages[0] + PAGE_BYTES > start else pages[1:]


def _digest(content: bytes | memoryview, offset: int) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, salt=offset.to_bytes(8, "little")).digest()


def _has_digest(page: bytes, offset: int) -> bool:
    return len(page) == PAGE_BYTES and page[-_DIGEST_BYTES:] == _digest(page[:-_DIGEST_BYTES], offset)


def _corrupt(page: str) -> apsw.CorruptError:
    return apsw.CorruptError(f"{page} has a wrong checksum")
