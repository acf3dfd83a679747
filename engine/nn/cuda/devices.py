"""Which GPUs there are, asked in a process of its own: who looks at a GPU takes some of its memory until it ends.

Run as `python -m engine.nn.cuda.discovery`, this prints what it finds as JSON.
"""

import importlib.util
import os
import subprocess
import sys
from typing import Any

import msgspec

_PATIENCE_SECONDS = 60.0
_NO_CUPY = (
    "CuPy is not installed: pip install 'nabla[cuda12]', or nabla[cuda13] for CUDA 13, brings it and the libraries it "
    "needs"
)


class Gpu(msgspec.Struct, frozen=True):
    """A GPU that this process may use. Memory is in bytes; `clock_hz` is the highest of its multiprocessors."""

    index: int
    name: str
    memory_total: int
    memory_free: int
    compute_capability: tuple[int, int]
    multiprocessors: int
    clock_hz: float


class Found(msgspec.Struct, frozen=True):
    """`missing`: where there is no GPU to use, which of the two is not there, CuPy or a GPU, and why."""

    gpus: tuple[Gpu, ...] = ()
    missing: str | None = None


def find() -> Found:
    """What there is. CUDA itself minds CUDA_VISIBLE_DEVICES."""
    if importlib.util.find_spec("cupy") is None:
        return Found(missing=_NO_CUPY)
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "nabla.engine.nn.cuda.devices"],
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        return msgspec.json.decode(asked.stdout, type=Found)
    except subprocess.TimeoutExpired:
        return Found(missing=f"CUDA has not answered within {_PATIENCE_SECONDS:g} s")
    except (subprocess.CalledProcessError, msgspec.DecodeError):
        return Found(missing="CuPy is installed, but could not be asked for GPUs")


def look() -> Found:
    """What this process sees."""
    try:
        import cupy
    except (ImportError, OSError) as problem:  # it makes a folder for its cache, or cannot
        return Found(missing=f"CuPy is installed, but cannot be imported ({_first_line(problem)})")
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as problem:
        return Found(missing=f"CuPy is installed, but CUDA finds no GPU with a driver ({_first_line(problem)})")
    if not count:
        return Found(missing="CuPy and a driver are there, but no GPU is visible to this process")
    return Found(tuple(_described(cupy, index) for index in range(count)))


def _described(cupy: Any, index: int) -> Gpu:
    device = cupy.cuda.Device(index)
    free, total = device.mem_info
    properties = cupy.cuda.runtime.getDeviceProperties(index)
    return Gpu(
        index=index,
        name=properties["name"].decode(),
        memory_total=total,
        memory_free=free,
        compute_capability=(properties["major"], properties["minor"]),
        multiprocessors=properties["multiProcessorCount"],
        clock_hz=device.attributes["ClockRate"] * 1000.0,
    )


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0]


_OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(problem: BaseException) -> bool:
    """Does the GPU have no room? CuPy's own error is a MemoryError; the libraries below it have others."""
    of_cuda = type(problem).__module__.partition(".")[0] in ("cupy", "cupy_backends")
    return of_cuda and any(name in str(problem) for name in _OUT_OF_MEMORY)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(look()))
