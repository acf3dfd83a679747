"""The CUDA driver, which launches kernels, and its error."""

from .._failures import CUDADriverError

__all__ = ["CUDADriverError"]
