"""The part of CuPy that the service uses, for one fake GPU whose memory is host memory.

Kernels are compiled by the host's C++ compiler and run thread by thread; streams are queues whose operations run when
the host waits for them. `monitor` counts operations that cost time on a GPU, and can forbid them. The rest of CuPy is
missing.
"""

from . import cuda, monitor
from ._arrays import empty, ndarray, zeros
from ._modules import RawModule
from .cuda.memory import get_default_memory_pool
from .cuda.pinned_memory import get_default_pinned_memory_pool

# The version of CuPy whose behaviour and signatures are imitated.
__version__ = "14.2.0"

__all__ = [
    "RawModule",
    "cuda",
    "empty",
    "get_default_memory_pool",
    "get_default_pinned_memory_pool",
    "monitor",
    "ndarray",
    "zeros",
]
