"""A process that reads, and a place for what it reads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.task_process import ReadingChild


@pytest.fixture(scope="module")
def child() -> Iterator[ReadingChild]:
    started = ReadingChild()
    yield started
    started.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: what is synced to a disk would take most of the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="tests-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)
