"""Errors of the CUDA runtime, the CUDA driver and cuBLAS, by status code."""

INVALID_VALUE, INVALID_DEVICE, INVALID_HANDLE, ILLEGAL_ADDRESS, LAUNCH_FAILURE = 1, 101, 400, 700, 719
DRIVER_INVALID_VALUE, DRIVER_NOT_FOUND, DRIVER_OUT_OF_RESOURCES = 1, 500, 701
BLAS_NOT_INITIALIZED, BLAS_INVALID_VALUE, BLAS_NOT_SUPPORTED = 1, 7, 15

_RUNTIME_MESSAGES = {
    INVALID_VALUE: "cudaErrorInvalidValue: invalid argument",
    INVALID_DEVICE: "cudaErrorInvalidDevice: invalid device ordinal",
    INVALID_HANDLE: "cudaErrorInvalidResourceHandle: invalid resource handle",
    ILLEGAL_ADDRESS: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    LAUNCH_FAILURE: "cudaErrorLaunchFailure: unspecified launch failure",
}
_DRIVER_MESSAGES = {
    DRIVER_INVALID_VALUE: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    DRIVER_NOT_FOUND: "CUDA_ERROR_NOT_FOUND: named symbol not found",
    DRIVER_OUT_OF_RESOURCES: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
}
_CUBLAS_MESSAGES = {
    BLAS_NOT_INITIALIZED: "CUBLAS_STATUS_NOT_INITIALIZED",
    BLAS_INVALID_VALUE: "CUBLAS_STATUS_INVALID_VALUE",
    BLAS_NOT_SUPPORTED: "CUBLAS_STATUS_NOT_SUPPORTED",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_RUNTIME_MESSAGES[status])
        self.status = status


class CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_DRIVER_MESSAGES[status])
        self.status = status


class CUBLASError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_CUBLAS_MESSAGES[status])
        self.status = status


def runtime_error(status: int, reason: str) -> CUDARuntimeError:
    """Return the runtime's error with a note of the reason, which CUDA itself does not give."""
    error = CUDARuntimeError(status)
    error.add_note(reason)
    return error
