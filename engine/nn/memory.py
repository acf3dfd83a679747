"""Where long vectors begin.

An optimizer reads and writes several vectors at the same positions. If they begin at the same place of a page of
memory, as large arrays do by default, the processor takes a load from one for a load of what has just been stored to
another, since it compares the place in the page first, and waits: adam then takes three times as long. Source: Intel 64
and IA-32 Architectures Optimization Reference Manual, "4-KByte aliasing"; measured on AMD too.
"""

import numpy as np
import numpy.typing as npt

from engine.nn.views import Matrix, Vector

_PAGE = 4096
# Places for parameters, gradient and two moments, as far from each other as can be.
_APART = 1024


def zeros(size: int, dtype: npt.DTypeLike, number: int) -> Vector:
    """A vector of zeros that stands apart from those of other numbers (0 to 3)."""
    return matrix(1, size, dtype, number)[0, :size]


def matrix(rows: int, size: int, dtype: npt.DTypeLike, number: int) -> Matrix:
    """Zeros, of which row k stands apart as `zeros(…, number + k)` would. A row has at least `size` numbers, and as
    many more as that takes."""
    bytes_each = np.dtype(dtype).itemsize
    columns = -(-(size * bytes_each - _APART) // _PAGE) * _PAGE + _APART
    raw = np.zeros(rows * columns + _PAGE, np.uint8)
    first = (number * _APART - raw.ctypes.data) % _PAGE
    return raw[first : first + rows * columns].view(dtype).reshape(rows, columns // bytes_each)
