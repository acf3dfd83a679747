"""Errors of the CUDA driver, which launches kernels."""

_NAMES = {
    1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
    701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
}
INVALID_VALUE, NOT_FOUND, OUT_OF_RESOURCES = 1, 500, 701
__all__ = ["CUDADriverError"]


class CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_NAMES[status])
        self.status = status
