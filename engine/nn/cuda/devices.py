"""Detects GPUs, and recognizes out-of-memory errors of CUDA without importing CuPy.

Detection runs in a child process, `python -m nabla.engine.nn.cuda.devices`, which prints JSON, because a process that
queries a GPU occupies some of the GPU's memory until it exits.
"""

import importlib.util
import os
import subprocess
import sys
from typing import Any

import msgspec

_QUERY_TIMEOUT_SECONDS = 60.0
_NO_CUPY = (
    "CuPy is not installed: pip install 'nabla-train[cuda12]' (or nabla-train[cuda13] for CUDA 13) installs it with "
    "the CUDA libraries it needs"
)


class Gpu(msgspec.Struct, frozen=True):
    """A GPU that this process may use; memory is in bytes, `clock_hz` the highest clock of its multiprocessors."""

    index: int
    name: str
    memory_total: int
    memory_free: int
    compute_capability: tuple[int, int]
    multiprocessors: int
    clock_hz: float


class GpuInventory(msgspec.Struct, frozen=True):
    """The GPUs of this machine, or the reason why none can be used: no CuPy, no driver or no GPU."""

    gpus: tuple[Gpu, ...] = ()
    unavailable_reason: str | None = None


def detect_gpus() -> GpuInventory:
    """Detect GPUs in a child process. CUDA itself respects CUDA_VISIBLE_DEVICES."""
    if importlib.util.find_spec("cupy") is None:
        return GpuInventory(unavailable_reason=_NO_CUPY)
    try:
        process = subprocess.run(
            [sys.executable, "-m", "nabla.engine.nn.cuda.devices"],
            capture_output=True,
            timeout=_QUERY_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        return msgspec.json.decode(process.stdout, type=GpuInventory)
    except subprocess.TimeoutExpired:
        return GpuInventory(unavailable_reason=f"CUDA did not respond within {_QUERY_TIMEOUT_SECONDS:g} s")
    except (subprocess.CalledProcessError, msgspec.DecodeError):
        return GpuInventory(unavailable_reason="CuPy is installed, but querying it for GPUs failed")


def query_gpus() -> GpuInventory:
    """Query CuPy for the GPUs that this process sees."""
    try:
        import cupy
    except (ImportError, OSError) as error:  # OSError: CuPy cannot create its cache directory
        return GpuInventory(unavailable_reason=f"CuPy is installed, but cannot be imported ({_first_line(error)})")
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return GpuInventory(
            unavailable_reason=f"CuPy is installed, but CUDA finds no GPU with a driver ({_first_line(error)})"
        )
    if not count:
        return GpuInventory(unavailable_reason="CuPy and a driver are installed, but no GPU is visible to this process")
    return GpuInventory(tuple(_describe_gpu(cupy, index) for index in range(count)))


def _describe_gpu(cupy: Any, index: int) -> Gpu:
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


_OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a CUDA library's for lack of GPU memory; CuPy's own is a MemoryError."""
    is_cuda_error = type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends")
    return is_cuda_error and any(name in str(error) for name in _OUT_OF_MEMORY)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(query_gpus()))
