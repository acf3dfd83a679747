"""The error of the CUDA driver, which launches kernels."""

from .._errors import CUDADriverError

__all__ = ["CUDADriverError"]
