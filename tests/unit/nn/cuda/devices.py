"""Devices for tests of the GPU path: the fake CuPy everywhere, and a real GPU if there is one (`pytest -m gpu`)."""

import functools
from types import ModuleType
from typing import Any

import pytest

from nabla.engine.nn.backend import BackendFactory
from nabla.engine.nn.cuda.backend import CudaBackend
from tests.fakes.load import load_fake_cupy


def find_gpu_unavailable_reason() -> str | None:
    """Return why no real GPU can be used, or None if one can."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported: {error}"
    if not cupy.cuda.is_available():
        return "CuPy is installed, but there is no GPU."
    return None


GPU_UNAVAILABLE_REASON = find_gpu_unavailable_reason()
GPU_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(GPU_UNAVAILABLE_REASON is not None, reason=f"needs a GPU: {GPU_UNAVAILABLE_REASON}"),
)
DEVICES = [pytest.param("fake"), pytest.param("gpu", marks=GPU_MARKS)]


def import_cupy(device: str) -> ModuleType:
    """Return the CuPy module of a device."""
    if device == "fake":
        return load_fake_cupy()
    import cupy

    module: ModuleType = cupy
    return module


def cuda_backend(device: str, **settings: Any) -> BackendFactory:
    """Return the factory of the backend under test, for a Trainer."""
    return functools.partial(CudaBackend, cupy=import_cupy(device), **settings)


def non_blocking_cuda_backend(*, allow_events: bool, **settings: Any) -> BackendFactory:
    """Return a factory on the fake that raises if training or evaluation allocates memory or makes the host wait."""
    monitor = load_fake_cupy().monitor

    class NonBlockingBackend(CudaBackend):
        def train(self, first: int, last: int) -> None:
            with monitor.forbid_blocking(allow_events=allow_events):
                super().train(first, last)

        def evaluate(self, first: int, last: int) -> None:
            with monitor.forbid_blocking(allow_events=allow_events):
                super().evaluate(first, last)

    return functools.partial(NonBlockingBackend, cupy=load_fake_cupy(), **settings)
