"""A sandboxed process that reads files, and a directory for them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    process = Sandbox()
    yield process
    process.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory in memory if possible: syncing files to a disk would take most of the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="tests-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)
