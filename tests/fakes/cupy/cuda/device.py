"""The only device."""

from .._errors import INVALID_DEVICE, CUDARuntimeError
from . import runtime

__all__ = ["Device", "get_cublas_handle"]

_CUBLAS_HANDLE = 0xB1A5


class Device:
    def __init__(self, device: int | None = None) -> None:
        self.id = device or 0

    def _check(self) -> None:
        if self.id:
            raise CUDARuntimeError(INVALID_DEVICE)

    def use(self) -> None:
        self._check()

    def synchronize(self) -> None:
        self._check()
        runtime.deviceSynchronize()

    @property
    def compute_capability(self) -> str:
        self._check()
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        self._check()
        return runtime.memGetInfo()

    @property
    def attributes(self) -> dict[str, int]:
        self._check()
        properties = runtime.getDeviceProperties(self.id)
        return {
            "ClockRate": properties["clockRate"],
            "ComputeCapabilityMajor": properties["major"],
            "ComputeCapabilityMinor": properties["minor"],
            "MaxSharedMemoryPerBlock": properties["sharedMemPerBlock"],
            "MaxThreadsPerBlock": properties["maxThreadsPerBlock"],
            "MultiProcessorCount": properties["multiProcessorCount"],
            "WarpSize": properties["warpSize"],
        }


def get_cublas_handle() -> int:
    return _CUBLAS_HANDLE
