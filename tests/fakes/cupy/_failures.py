"""What CUDA answers instead of a result, by the numbers of its status codes."""

INVALID_VALUE, INVALID_DEVICE, INVALID_HANDLE, ILLEGAL_ADDRESS, LAUNCH_FAILURE = 1, 101, 400, 700, 719
DRIVER_INVALID_VALUE, DRIVER_NOT_FOUND, DRIVER_OUT_OF_RESOURCES = 1, 500, 701
BLAS_NOT_INITIALIZED, BLAS_INVALID_VALUE, BLAS_NOT_SUPPORTED = 1, 7, 15

_OF_THE_RUNTIME = {
    INVALID_VALUE: "cudaErrorInvalidValue: invalid argument",
    INVALID_DEVICE: "cudaErrorInvalidDevice: invalid device ordinal",
    INVALID_HANDLE: "cudaErrorInvalidResourceHandle: invalid resource handle",
    ILLEGAL_ADDRESS: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    LAUNCH_FAILURE: "cudaErrorLaunchFailure: unspecified launch failure",
}
_OF_THE_DRIVER = {
    DRIVER_INVALID_VALUE: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    DRIVER_NOT_FOUND: "CUDA_ERROR_NOT_FOUND: named symbol not found",
    DRIVER_OUT_OF_RESOURCES: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
}
_OF_CUBLAS = {
    BLAS_NOT_INITIALIZED: "CUBLAS_STATUS_NOT_INITIALIZED",
    BLAS_INVALID_VALUE: "CUBLAS_STATUS_INVALID_VALUE",
    BLAS_NOT_SUPPORTED: "CUBLAS_STATUS_NOT_SUPPORTED",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_OF_THE_RUNTIME[status])
        self.status = status


class CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_OF_THE_DRIVER[status])
        self.status = status


class CUBLASError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(_OF_CUBLAS[status])
        self.status = status


def failure(status: int, reason: str) -> CUDARuntimeError:
    """The runtime's error with a reason, which CUDA would not give."""
    error = CUDARuntimeError(status)
    error.add_note(reason)
    return error
