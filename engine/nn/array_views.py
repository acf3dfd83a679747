"""Views into flat vectors, and allocation of vectors staggered against 4-KByte aliasing.

An optimizer reads and writes several vectors at the same positions. If these begin at the same offset in a page, as
large arrays do by default, the processor compares page offsets first, mistakes a load from one vector for a load of
what has just been stored to another, and stalls: adam then takes three times as long. Source: Intel 64 and IA-32
Architectures Optimization Reference Manual, "4-KByte aliasing"; measured on AMD too.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from nabla.engine.typing import Matrix, Vector

Number = TypeVar("Number", bound=np.generic)

# Numba ships no type annotations for these.
_make_array: Any = arrayobj.make_array
_populate_array: Any = arrayobj.populate_array


def vector_view(flat: npt.NDArray[Number], offset: int, size: int) -> npt.NDArray[Number]:
    """Return the `size` elements from `offset` on."""
    return flat[offset : offset + size]


def matrix_view(flat: npt.NDArray[Number], offset: int, rows: int, columns: int) -> npt.NDArray[Number]:
    """Return the elements from `offset` on as a matrix (rows, columns)."""
    return flat[offset : offset + rows * columns].reshape(rows, columns)


def flatten(matrix: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the elements of a matrix in row-major order."""
    return matrix.reshape(-1)


def _flatten_in_compiled_code(typing_context: Any, matrix: Any) -> Any:
    """Return the type of the flat array and the generator of its code: no copy, no reference counting."""
    if matrix.layout != "C":
        raise TypingError("flatten needs a contiguous matrix")
    vector_type = matrix.copy(ndim=1)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _make_array(matrix)(context, builder, arguments[0])
        vector = _make_array(vector_type)(context, builder)
        _populate_array(vector, source.data, [source.nitems], [source.itemsize], source.itemsize, meminfo=None)
        return vector._getvalue()

    return vector_type(matrix), generate


_compiled_flatten: Any = intrinsic(_flatten_in_compiled_code)


@overload(flatten)
def _compile_flatten(matrix: Any) -> Callable[[Any], Any]:
    def compiled(matrix: Any) -> Any:
        return _compiled_flatten(matrix)

    return compiled


_PAGE_BYTES = 4096
# A page has four slots, for parameters, gradient and two moments, as far apart as possible.
_STAGGER_BYTES = 1024


def staggered_zeros(size: int, dtype: npt.DTypeLike, slot: int) -> Vector:
    """Allocate a vector of zeros whose address modulo the page size is that of `slot` (0 to 3)."""
    return staggered_matrix(1, size, dtype, slot)[0, :size]


def staggered_matrix(rows: int, size: int, dtype: npt.DTypeLike, slot: int) -> Matrix:
    """Allocate a matrix of zeros whose row k lies in slot `slot + k`.

    A row has at least `size` elements: padding staggers the rows.
    """
    itemsize = np.dtype(dtype).itemsize
    columns = -(-(size * itemsize - _STAGGER_BYTES) // _PAGE_BYTES) * _PAGE_BYTES + _STAGGER_BYTES
    raw = np.zeros(rows * columns + _PAGE_BYTES, np.uint8)
    first = (slot * _STAGGER_BYTES - raw.ctypes.data) % _PAGE_BYTES
    return raw[first : first + rows * columns].view(dtype).reshape(rows, columns // itemsize)
