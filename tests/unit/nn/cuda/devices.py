"""Devices that the tests of the GPU path run on: a real GPU where there is one, and the stand-in everywhere.

What stands here has one meaning on both. A real GPU is asked for by `pytest -m gpu`.
"""

import functools
from types import ModuleType
from typing import Any

import pytest

from nabla.engine.nn.backend import MakeStepper
from nabla.engine.nn.cuda.backend import CudaStepper
from tests.fakes.load import standin


def why_no_gpu() -> str | None:
    """Which of the two is missing, or None."""
    try:
        import cupy
    except ImportError as problem:
        return f"CuPy cannot be imported: {problem}"
    if not cupy.cuda.is_available():
        return "CuPy is there, but no GPU."
    return None


NO_GPU = why_no_gpu()
ON_GPU = (pytest.mark.gpu, pytest.mark.skipif(NO_GPU is not None, reason=f"needs a GPU: {NO_GPU}"))
DEVICES = [pytest.param("stand-in"), pytest.param("gpu", marks=ON_GPU)]


def cupy_of(device: str) -> ModuleType:
    if device == "stand-in":
        return standin()
    import cupy

    module: ModuleType = cupy
    return module


def stepper_on(device: str, **settings: Any) -> MakeStepper:
    """For a Trainer."""
    return functools.partial(CudaStepper, cupy=cupy_of(device), **settings)


def watched_stepper(*, waits_for_chunks: bool, **settings: Any) -> MakeStepper:
    """On the stand-in. While steps are made and measured, nothing is allocated, waited for or read: it refuses."""
    accounts = standin().accounts

    class Watched(CudaStepper):
        def train(self, first: int, last: int) -> None:
            with accounts.inside_an_epoch(events=waits_for_chunks):
                super().train(first, last)

        def evaluate(self, first: int, last: int) -> None:
            with accounts.inside_an_epoch(events=waits_for_chunks):
                super().evaluate(first, last)

    return functools.partial(Watched, cupy=standin(), **settings)
