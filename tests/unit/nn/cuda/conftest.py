"""What tests of the stand-in for CuPy share."""

import contextlib
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.fakes.load import standin


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations run as late as they may, whatever the environment says, and no other test left one queued."""
    monkeypatch.setattr(import_module(f"{standin().__name__}._queues"), "EARLY", False)
    standin().cuda.Device().synchronize()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """What a test leaves queued would keep the memory of all tests after it, until the process has no room for more."""
    yield
    with contextlib.suppress(Exception):  # what was meant to fail has been seen by then
        standin().cuda.Device().synchronize()
