"""Fixtures of tests that use the fake CuPy."""

import contextlib
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.fakes.load import load_fake_cupy


@pytest.fixture
def lazy_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run operations as late as possible, whatever the environment says, on queues that are empty at first."""
    cupy = load_fake_cupy()
    monkeypatch.setattr(import_module(f"{cupy.__name__}._queues"), "EAGER", False)
    cupy.cuda.Device().synchronize()


@pytest.fixture(autouse=True)
def drain_queues() -> Iterator[None]:
    """Run what a test leaves queued, which would otherwise keep the memory of all later tests alive."""
    yield
    with contextlib.suppress(Exception):  # errors that a test provokes on purpose
        load_fake_cupy().cuda.Device().synchronize()
