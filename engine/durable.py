"""Writing files so that they survive a loss of power: written under another name, synced, renamed, folder synced."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import StorageFailed

# Names with this prefix are unfinished; whoever owns a folder removes them when it starts.
UNFINISHED = ".unfinished-"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a new file and put it at `path`, whole or not at all. Raises StorageFailed."""
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as problem:
        raise StorageFailed(f"Writing {path.name} failed: {problem.strerror}.") from problem


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill with `write_file`; it appears at `path` when the block ends without an error."""
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        try:
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync_folder(path.parent)
    except OSError as problem:
        raise StorageFailed(f"Writing {path.name} failed: {problem.strerror}.") from problem


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted write left in `folder`."""
    for leftover in folder.glob(f"**/{UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
