"""Files that survive a loss of power, and that cannot be damaged unnoticed.

They are written under another name, synced, renamed, and their folder is synced. The name that they get ends with the
start of the SHA-256 of what is in them, so that whoever knows the name can tell whether that is still so.
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

# Names with this prefix, then the id of the process that writes, are unfinished; whoever owns a folder removes them
# when it starts, and those of a process when that has died.
UNFINISHED = ".unfinished-"
# Hexadecimal digits of a digest in a name: 128 bits.
_DIGITS = 32
# Bytes: what is worth another thread, what the disk is told of at once, and what of a file is hashed at once.
_LARGE, _TOLD_AT_ONCE, _HASHED_AT_ONCE = 2**17, 2**23, 2**20


Buffer = bytes | bytearray | memoryview


class Sink(Protocol):
    """Where the content of a file goes."""

    def write(self, part: Buffer, /) -> object: ...
    def writelines(self, parts: Sequence[Buffer], /) -> object: ...


class _Plain:
    """Writes to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, part: Buffer, /) -> None:
        left = memoryview(part).cast("B")
        while left:
            left = left[os.write(self._descriptor, left) :]

    def writelines(self, parts: Sequence[Buffer], /) -> None:
        for part in parts:
            self.write(part)


class Unfinished:
    """A new file under another name, which gets its own when all of it is there. Raises StorageFailed.

    Large parts, and many that come together, are hashed in another thread while they are written. The disk is told of
    them as they come, so that it is not idle until the end, when everything is synced.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """`name`: what it is called in errors until then."""
        self._name = name
        self._path = _unfinished_in(folder)
        self._hash = hashlib.sha256()
        self._beside: ThreadPoolExecutor | None = None
        self._told = self.bytes = 0
        with reporting(name):
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._sink = _Plain(self._descriptor)

    def write(self, part: Buffer, /) -> None:
        self.writelines((part,))

    def writelines(self, parts: Sequence[Buffer], /) -> None:
        contents = [memoryview(part).cast("B") for part in parts]
        if sum(map(len, contents)) < _LARGE:
            self._digest(contents)
            self._put(contents)
            return
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, "hashing")
        hashed = self._beside.submit(self._digest, contents)
        try:
            self._put(contents)
        finally:
            hashed.result()  # the parts are their owner's again when this returns

    def _digest(self, contents: Sequence[memoryview]) -> None:
        for content in contents:
            self._hash.update(content)

    def _put(self, contents: Sequence[memoryview]) -> None:
        with reporting(self._name):
            for content in contents:
                self._sink.write(content)
                self.bytes += len(content)
                self._tell()

    def _tell(self) -> None:
        if self.bytes - self._told >= _TOLD_AT_ONCE:
            # Linux begins to write out what it is told is not needed; what is not on the disk yet stays in memory.
            os.posix_fadvise(self._descriptor, self._told, self.bytes - self._told, os.POSIX_FADV_DONTNEED)
            self._told = self.bytes

    @property
    def sha256(self) -> str:
        """Of what has been written, in hexadecimal digits."""
        return self._hash.hexdigest()

    def keep(self, path: Path) -> Path:
        """Whole and for good: where it is, `path` with the digest before the suffix, which begins at the only dot of
        the name."""
        with reporting(path.name):
            os.fsync(self._descriptor)
            final = path.with_name(f"{path.stem}.{self.sha256[:_DIGITS]}{path.suffix}")
            self._path.rename(final)
            sync_folder(path.parent)
        return final

    def close(self) -> None:
        """What was not kept is gone."""
        if self._beside is not None:
            self._beside.shutdown()
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def _unfinished_in(folder: Path) -> Path:
    return folder / f"{UNFINISHED}{os.getpid()}-{uuid.uuid4().hex}"


def sync_folder(folder: Path) -> None:
    """Make the names in it survive a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, write: Callable[[Sink], object]) -> Path:
    """Let `write` fill a new file, whole or not at all; where it is: see `Unfinished.keep`.

    Raises StorageFailed.
    """
    with closing(Unfinished(path.parent, path.name)) as file, reporting(path.name):
        write(file)
        return file.keep(path)


def hand_over(folder: Path, write: Callable[[Sink], object]) -> Path:
    """A new file that `write` fills, for another process to read at once and to remove. It is not synced, and has the
    name of an unfinished one, so that it goes as those do where nobody takes it. Raises StorageFailed."""
    path = _unfinished_in(folder)
    try:
        with reporting("what is handed over"), path.open("xb") as file:
            write(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def map_scratch(folder: Path, write: Callable[[Sink], object]) -> mmap.mmap:
    """What `write` writes, mapped read-only from a file in `folder` that has no name: it is gone when it is used no
    more, however that comes about. Raises StorageFailed."""
    with reporting("what is prepared of the data"):
        descriptor = _without_name(folder)
        try:
            write(_Plain(descriptor))
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)


def _without_name(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600)
    except OSError as problem:
        # Not every file system has such files, and old kernels take the folder for what is to be opened.
        if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            raise
    path = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    return descriptor


def link(path: Path, other: Path) -> None:
    """Another name, `other`, for the file at `path`. Raises StorageFailed."""
    with reporting(path.name):
        other.hardlink_to(path)
        sync_folder(other.parent)


def digest_in(name: str) -> str | None:
    """The digest that the name of a kept file ends with; None if it is no such name."""
    parts = name.split(".")
    return parts[1] if len(parts) == 3 and len(parts[1]) == _DIGITS else None


def adopt(path: Path, other: Path) -> Path:
    """Keep the file at `path`, whose name has its digest, also as `other`, with that digest before the suffix; where
    that is. Raises StorageFailed."""
    final = other.with_name(f"{other.stem}.{digest_in(path.name)}{other.suffix}")
    link(path, final)
    return final


def check(path: Path, going_on: Callable[[], object] = lambda: None) -> None:
    """Raises Damaged if the file is not what was written under this name, or is not there. `going_on` is called every
    now and then."""
    open_checked(path, going_on).close()


def open_checked(path: Path, going_on: Callable[[], object] = lambda: None) -> BinaryIO:
    """To be read from its beginning, as long as it is open also when its name is gone. Raises Damaged as `check`."""
    try:
        file = path.open("rb")
        try:
            found = _digest_of(file, going_on)
            if path.name.split(".")[1] != found:
                raise Damaged(f"The file {path.name} is damaged: what is in it is not what was written.")
            file.seek(0)
        except BaseException:
            file.close()
            raise
    except OSError as problem:
        raise Damaged(f"The file {path.name} cannot be read: {problem.strerror}.") from problem
    return file


def _digest_of(file: BufferedReader, going_on: Callable[[], object]) -> str:
    digest, part = hashlib.sha256(), bytearray(_HASHED_AT_ONCE)
    while read := file.readinto(part):
        digest.update(memoryview(part)[:read])
        going_on()
    return digest.hexdigest()[:_DIGITS]


@contextmanager
def reporting(name: str) -> Iterator[None]:
    """Errors of the disk as StorageFailed, or StorageFull, about what is called `name`."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no space left for {name} on the disk of the data folder.") from problem
        raise StorageFailed(f"Writing {name} failed: {problem.strerror}.") from problem


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill with `write_file`; it appears at `path` when the block ends without an error."""
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    with reporting(path.name):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted write left in `folder`."""
    for leftover in folder.glob(f"**/{UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
