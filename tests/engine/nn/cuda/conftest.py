"""What tests of the stand-in for CuPy share."""

from importlib import import_module

import pytest

from tests.standin.load import standin


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations run as late as they may, whatever the environment says, and no other test left one queued."""
    monkeypatch.setattr(import_module(f"{standin().__name__}._queues"), "EARLY", False)
    standin().cuda.Device().synchronize()
