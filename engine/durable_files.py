"""Files that survive a power failure, and whose damage is detected.

A file is written under a temporary name, synced and renamed, and its directory is synced. Its final name has the start
of the SHA-256 of its content before the suffix, so a file can be verified by its name alone.
"""

import errno
import hashlib
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

from nabla.engine.errors import Damaged, StorageFailed, StorageFull

UNFINISHED_PREFIX = ".unfinished-"
"""Start of temporary names; the id of the writing process follows. The owner of a directory removes such files at its
start, and those of a process when that has died."""

# Hexadecimal digits of a digest in a name: 128 bits.
_DIGEST_DIGITS = 32
# Size from which on a write is hashed in a second thread.
_PARALLEL_HASH_BYTES = 2**17
# Bytes after which write-back is started again.
_WRITEBACK_BYTES = 2**23
_READ_CHUNK_BYTES = 2**20

Buffer = bytes | bytearray | memoryview


class Sink(Protocol):
    """An open file, as the functions that write its content see it."""

    def write(self, data: Buffer, /) -> object:
        """Append bytes."""

    def writelines(self, buffers: Sequence[Buffer], /) -> object:
        """Append several buffers."""


def write_file(path: Path, write: Callable[[Sink], object]) -> Path:
    """Write a durable file, whole or not at all.

    Args:
        path: Its path without the digest.
        write: Called with the sink to fill.

    Returns:
        Its path, with the digest; see `PendingFile.commit`.

    Raises:
        StorageFailed: It could not be written.
    """
    with closing(PendingFile(path.parent, path.name)) as file, storage_errors(path.name):
        write(file)
        return file.commit(path)


def write_temporary(directory: Path, write: Callable[[Sink], object]) -> Path:
    """Write a file that another process reads at once and removes.

    It is not synced, and has an unfinished file's name, so that it is removed like one if it is never read.

    Raises:
        StorageFailed: It could not be written.
    """
    path = _temporary_path(directory)
    try:
        with storage_errors("a temporary file"), path.open("xb") as file:
            write(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def map_scratch(directory: Path, write: Callable[[Sink], object]) -> mmap.mmap:
    """Write a file without a name, and map it read-only. It disappears with the mapping, also after a crash.

    Raises:
        StorageFailed: It could not be written.
    """
    with storage_errors("preprocessed data"):
        descriptor = _open_unnamed(directory)
        try:
            write(_DescriptorSink(descriptor))
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)


class PendingFile:
    """A new durable file under a temporary name, until `commit`. All methods raise StorageFailed.

    Large writes are hashed in a second thread. The kernel writes data back while more arrives, so that the disk is not
    idle until the final sync.
    """

    def __init__(self, directory: Path, description: str) -> None:
        """Create the file.

        Args:
            directory: Where it is created.
            description: Name of the file in error messages.
        """
        self._description = description
        self._path = _temporary_path(directory)
        self._hash = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self.bytes = 0
        self._written_back = 0
        with storage_errors(description):
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._sink = _DescriptorSink(self._descriptor)

    @property
    def sha256(self) -> str:
        """The digest of what has been written, in hexadecimal digits."""
        return self._hash.hexdigest()

    def write(self, data: Buffer, /) -> None:
        """Append bytes."""
        self.writelines((data,))

    def writelines(self, buffers: Sequence[Buffer], /) -> None:
        """Append several buffers. The caller may reuse their memory afterwards."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        if sum(map(len, views)) < _PARALLEL_HASH_BYTES:
            self._update_hash(views)
            self._append(views)
            return
        if self._hasher is None:
            self._hasher = ThreadPoolExecutor(1, "hashing")
        hashing = self._hasher.submit(self._update_hash, views)
        try:
            self._append(views)
        finally:
            hashing.result()

    def commit(self, path: Path) -> Path:
        """Sync the file and give it its final name.

        Args:
            path: Its path without the digest; the name has at most one dot.

        Returns:
            Its path: `path` with the digest before the suffix.
        """
        with storage_errors(path.name):
            os.fsync(self._descriptor)
            final = path.with_name(f"{path.stem}.{self.sha256[:_DIGEST_DIGITS]}{path.suffix}")
            self._path.rename(final)
            sync_dir(path.parent)
        return final

    def close(self) -> None:
        """Close the file, and remove it unless it was committed."""
        if self._hasher is not None:
            self._hasher.shutdown()
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)

    def _update_hash(self, views: Sequence[memoryview]) -> None:
        for view in views:
            self._hash.update(view)

    def _append(self, views: Sequence[memoryview]) -> None:
        with storage_errors(self._description):
            for view in views:
                self._sink.write(view)
                self.bytes += len(view)
                self._start_writeback()

    def _start_writeback(self) -> None:
        if self.bytes - self._written_back >= _WRITEBACK_BYTES:
            # Linux starts to write pages that are declared unneeded; those not on the disk yet stay in memory.
            length = self.bytes - self._written_back
            os.posix_fadvise(self._descriptor, self._written_back, length, os.POSIX_FADV_DONTNEED)
            self._written_back = self.bytes


def verify(path: Path, on_progress: Callable[[], object] = lambda: None) -> None:
    """Check a file against the digest in its name. Arguments and errors are those of `open_verified`."""
    open_verified(path, on_progress).close()


def open_verified(path: Path, on_progress: Callable[[], object] = lambda: None) -> BinaryIO:
    """Verify a file, and return it open at its start. It can be read even if its name is removed meanwhile.

    Args:
        path: The file; its name has its digest.
        on_progress: Called after every chunk.

    Raises:
        Damaged: The content does not have the digest in the name, or cannot be read.
    """
    try:
        file = path.open("rb")
        try:
            if digest_in_name(path.name) != _digest(file, on_progress):
                raise Damaged(f"The file {path.name} is damaged: its content does not match the digest in its name.")
            file.seek(0)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise Damaged(f"The file {path.name} cannot be read: {error.strerror}.") from error
    return file


def digest_in_name(name: str) -> str | None:
    """Return the digest in the name of a durable file; None if it has none."""
    parts = name.split(".")
    return parts[1] if len(parts) in (2, 3) and len(parts[1]) == _DIGEST_DIGITS else None


def link_file(path: Path, other: Path) -> None:
    """Give the file at `path` the name `other` as well. Raises StorageFailed."""
    with storage_errors(path.name):
        other.hardlink_to(path)
        sync_dir(other.parent)


def link_with_digest(path: Path, other: Path) -> Path:
    """Give the durable file at `path` another name as well: `other`, with the same digest before the suffix.

    Returns:
        The other path, with the digest.

    Raises:
        StorageFailed: The link could not be created.
    """
    final = other.with_name(f"{other.stem}.{digest_in_name(path.name)}{other.suffix}")
    link_file(path, final)
    return final


@contextmanager
def create_dir(path: Path) -> Iterator[Path]:
    """Create a directory whole or not at all: it appears at `path` when the block ends without an error.

    Yields:
        Its temporary path, for the block to fill with `write_file`.

    Raises:
        StorageFailed: It could not be created.
    """
    temporary = path.with_name(f"{UNFINISHED_PREFIX}{uuid.uuid4().hex}")
    with storage_errors(path.name):
        try:
            temporary.mkdir()
            yield temporary
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_dir(path.parent)


def remove_unfinished(directory: Path) -> None:
    """Remove unfinished files and directories of interrupted writes in a directory and below it."""
    for leftover in directory.glob(f"**/{UNFINISHED_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sync_dir(directory: Path) -> None:
    """Sync a directory, so that the names in it survive a power failure. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(description: str) -> Iterator[None]:
    """Turn OSError into StorageFull or StorageFailed. `description`: name of the file in the message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no space left for {description} on the disk of the data directory.") from error
        raise StorageFailed(f"Writing {description} failed: {error.strerror}.") from error


class _DescriptorSink:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: Buffer, /) -> None:
        remaining = memoryview(data).cast("B")
        while remaining:
            remaining = remaining[os.write(self._descriptor, remaining) :]

    def writelines(self, buffers: Sequence[Buffer], /) -> None:
        for buffer in buffers:
            self.write(buffer)


def _temporary_path(directory: Path) -> Path:
    return directory / f"{UNFINISHED_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"


def _open_unnamed(directory: Path) -> int:
    try:
        return os.open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)
    except OSError as error:
        # Not every file system has O_TMPFILE, and old kernels try to open the directory.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            raise
    path = directory / f"{UNFINISHED_PREFIX}{uuid.uuid4().hex}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    return descriptor


def _digest(file: BufferedReader, on_progress: Callable[[], object]) -> str:
    digest, chunk = hashlib.sha256(), bytearray(_READ_CHUNK_BYTES)
    while length := file.readinto(chunk):
        digest.update(memoryview(chunk)[:length])
        on_progress()
    return digest.hexdigest()[:_DIGEST_DIGITS]
