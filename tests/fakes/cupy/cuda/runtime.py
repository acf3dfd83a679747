"""Functions of the CUDA runtime, which work on addresses."""

import ctypes
from typing import Any

from .. import _allocations, _queues, monitor
from .._errors import INVALID_DEVICE, INVALID_HANDLE, INVALID_VALUE, CUDARuntimeError, runtime_error
from . import memory, pinned_memory

memcpyHostToHost, memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice, memcpyDefault = range(5)
CUDA_R_32F, CUDA_R_64F, CUDA_R_16F = range(3)

__all__ = [
    "CUDA_R_16F",
    "CUDA_R_32F",
    "CUDA_R_64F",
    "CUDARuntimeError",
    "deviceSynchronize",
    "driverGetVersion",
    "getDeviceCount",
    "getDeviceProperties",
    "memGetInfo",
    "memcpyAsync",
    "memcpyDefault",
    "memcpyDeviceToDevice",
    "memcpyDeviceToHost",
    "memcpyHostToDevice",
    "memcpyHostToHost",
    "memsetAsync",
    "runtimeGetVersion",
]


def getDeviceCount() -> int:
    return 1


def getDeviceProperties(device: int) -> dict[str, Any]:
    if device:
        raise CUDARuntimeError(INVALID_DEVICE)
    return {
        "name": b"Fake GPU",
        "uuid": bytes(range(16)),
        "totalGlobalMem": memory.CAPACITY,
        "multiProcessorCount": 4,
        "clockRate": 1_000_000,
        "major": 9,
        "minor": 0,
        "warpSize": 32,
        "sharedMemPerBlock": 48 << 10,
        "regsPerBlock": 65536,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiProcessor": 2048,
        "maxThreadsDim": (1024, 1024, 64),
        "maxGridSize": (2**31 - 1, 65535, 65535),
        "pciBusID": 0,
    }


def memGetInfo() -> tuple[int, int]:
    free = memory.CAPACITY - memory.USED_BY_OTHERS - memory.get_default_memory_pool().total_bytes()
    return free, memory.CAPACITY


def driverGetVersion() -> int:
    return 12090


def runtimeGetVersion() -> int:
    return 12090


def deviceSynchronize() -> None:
    monitor.count("synchronizations", "The host waited for the device")
    _queues.run_all()
    _allocations.check_guards()


def _find_queue(stream: int) -> _queues.Queue:
    if stream not in _queues.queues:
        raise CUDARuntimeError(INVALID_HANDLE)
    return _queues.queues[stream]


def memsetAsync(ptr: int, value: int, size: int, stream: int) -> None:
    if not _allocations.is_allocated(ptr, size):
        raise runtime_error(INVALID_VALUE, f"The {size} bytes at {ptr:#x} are not within one allocation.")
    _queues.enqueue(_find_queue(stream), lambda: ctypes.memset(ptr, value, size))


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    queue = _find_queue(stream)
    if kind not in (memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice):
        raise runtime_error(INVALID_VALUE, "The fake supports only kinds of copies that name a device.")
    for ptr, on_device in ((dst, kind != memcpyDeviceToHost), (src, kind != memcpyHostToDevice)):
        if _allocations.is_allocated(ptr, size) != on_device:
            raise runtime_error(
                INVALID_VALUE, f"The {size} bytes at {ptr:#x} are not where this kind of copy expects them."
            )
    if kind == memcpyDeviceToHost:
        monitor.count("host_round_trips", "Device memory was copied to the host")
    if kind == memcpyHostToDevice and not pinned_memory.is_pinned(src, size):
        # CUDA has read pageable memory when the call returns.
        monitor.count("host_round_trips", "Pageable host memory was copied to the device")
        staged = ctypes.string_at(src, size)
        _queues.enqueue(queue, lambda: ctypes.memmove(dst, staged, size))
    else:
        _queues.enqueue(queue, lambda: ctypes.memmove(dst, src, size))
