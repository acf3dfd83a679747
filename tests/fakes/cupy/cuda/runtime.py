"""Calls of the CUDA runtime by address."""

import ctypes
from typing import Any

from .. import _allocations, _queues, accounts
from .._failures import INVALID_DEVICE, INVALID_HANDLE, INVALID_VALUE, CUDARuntimeError, failure
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
        "name": b"Stand-in for a GPU",
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
    free = memory.CAPACITY - memory.TAKEN - memory.get_default_memory_pool().total_bytes()
    return free, memory.CAPACITY


def driverGetVersion() -> int:
    return 12090


def runtimeGetVersion() -> int:
    return 12090


def deviceSynchronize() -> None:
    accounts.count("synchronizations", "The device was waited for")
    _queues.run_all()
    _allocations.check()


def _queue(stream: int) -> _queues.Queue:
    if stream not in _queues.queues:
        raise CUDARuntimeError(INVALID_HANDLE)
    return _queues.queues[stream]


def memsetAsync(ptr: int, value: int, size: int, stream: int) -> None:
    if not _allocations.lies_in_one(ptr, size):
        raise failure(INVALID_VALUE, f"{size} bytes from {ptr:#x} on are not of one allocation.")
    _queues.enqueue(_queue(stream), lambda: ctypes.memset(ptr, value, size))


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    queue = _queue(stream)
    if kind not in (memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice):
        raise failure(INVALID_VALUE, "Of memcpy's kinds only those are known that name a device.")
    for ptr, of_the_device in ((dst, kind != memcpyDeviceToHost), (src, kind != memcpyHostToDevice)):
        if _allocations.lies_in_one(ptr, size) != of_the_device:
            raise failure(INVALID_VALUE, f"{size} bytes from {ptr:#x} on are not where the kind of copy says.")
    if kind == memcpyDeviceToHost:
        accounts.count("host_round_trips", "The device's memory was copied to the host")
    if kind == memcpyHostToDevice and not pinned_memory.is_pinned(src, size):
        # CUDA has read memory that is not pinned when the call returns.
        accounts.count("host_round_trips", "Memory that is not pinned was copied to the device")
        staged = ctypes.string_at(src, size)
        _queues.enqueue(queue, lambda: ctypes.memmove(dst, staged, size))
    else:
        _queues.enqueue(queue, lambda: ctypes.memmove(dst, src, size))
