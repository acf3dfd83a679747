"""What the service uses of CuPy, for one pretended GPU whose memory is that of the host.

Kernels are compiled by the host's C++ compiler and run thread by thread; streams are queues of which nothing runs until
somebody waits for it. `accounts` counts what costs time on a GPU and can refuse it. Whatever is not here is not there.
"""

from . import accounts, cuda
from ._arrays import empty, ndarray, zeros
from ._modules import RawModule
from .cuda.memory import get_default_memory_pool
from .cuda.pinned_memory import get_default_pinned_memory_pool

# The CuPy that this was held against.
__version__ = "14.2.0"

__all__ = [
    "RawModule",
    "accounts",
    "cuda",
    "empty",
    "get_default_memory_pool",
    "get_default_pinned_memory_pool",
    "ndarray",
    "zeros",
]
