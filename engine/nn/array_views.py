"""Views into flat vectors, and allocation of vectors staggered against 4-KByte aliasing.

In compiled code a view is a pointer and sizes: no copy, no bounds check and no reference counting, which NumPy's own
slices and reshapes cost in every step. The caller keeps the flat vector alive.

An optimizer reads and writes several vectors at the same positions. If these begin at the same offset in a page, as
large arrays do by default, the processor compares page offsets first, mistakes a load from one vector for a load of
what has just been stored to another, and stalls: adam then takes three times as long. Source: Intel 64 and IA-32
Architectures Optimization Reference Manual, "4-KByte aliasing"; measured on AMD too.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from nabla.engine.typing import Matrix, Vector

Number = TypeVar("Number", bound=np.generic)

# Numba ships no type annotations for these.
_unpack_tuple: Any = cgutils.unpack_tuple
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


def borrow(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the array without reference counting; the caller keeps it alive.

    Reference counts of arrays passed in from Python take a tenth of a small network's step.
    """
    return array


def _type_view(flat: Any, offset: Any, shape: Any) -> Any:
    """Return the type of a view and the generator of its code."""
    if flat.layout != "C":
        raise TypingError("views need a contiguous array")
    view_type = flat.copy(ndim=len(shape))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _make_array(signature.args[0])(context, builder, arguments[0])
        view = _make_array(view_type)(context, builder)
        sizes = _unpack_tuple(builder, arguments[2])
        strides = [source.itemsize]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.gep(source.data, [arguments[1]])
        _populate_array(view, data, sizes, strides, source.itemsize, meminfo=None)
        return view._getvalue()

    return view_type(flat, types.intp, shape), generate


_compiled_view: Any = intrinsic(lambda typing, flat, offset, shape: _type_view(flat, offset, shape))


@overload(vector_view)
def _compile_vector_view(flat: Any, offset: Any, size: Any) -> Callable[[Any, Any, Any], Any]:
    def compiled(flat: Any, offset: Any, size: Any) -> Any:
        return _compiled_view(flat, offset, (size,))

    return compiled


@overload(flatten)
def _compile_flatten(matrix: Any) -> Callable[[Any], Any]:
    def compiled(matrix: Any) -> Any:
        return _compiled_view(matrix, 0, (matrix.size,))

    return compiled


@overload(borrow)
def _compile_borrow(array: Any) -> Callable[[Any], Any]:
    def compiled(array: Any) -> Any:
        return _compiled_view(array, 0, array.shape)

    def unchanged(array: Any) -> Any:
        return array

    # An array that is not contiguous is returned as it is, with reference counting.
    return compiled if array.layout == "C" else unchanged


@overload(matrix_view)
def _compile_matrix_view(flat: Any, offset: Any, rows: Any, columns: Any) -> Callable[[Any, Any, Any, Any], Any]:
    def compiled(flat: Any, offset: Any, rows: Any, columns: Any) -> Any:
        return _compiled_view(flat, offset, (rows, columns))

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
