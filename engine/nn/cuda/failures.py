"""Errors of CUDA, told apart by their names: CuPy need not be there to ask."""

_OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(problem: BaseException) -> bool:
    """Does the GPU have no room? CuPy's own error is a MemoryError; the libraries below it have others."""
    of_cuda = type(problem).__module__.partition(".")[0] in ("cupy", "cupy_backends")
    return of_cuda and any(name in str(problem) for name in _OUT_OF_MEMORY)
