"""Parts of flat vectors as vectors and matrices, and matrices as flat vectors.

In compiled code these are pointers and sizes and nothing else: no copy, no check, and no count of references, which
NumPy's own slices and reshapes pay for at every step. Whoever calls keeps the flat vector alive.
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

Matrix = npt.NDArray[np.floating]
Vector = npt.NDArray[np.floating]
Number = TypeVar("Number", bound=np.generic)

# Numba's own have no types.
_unpack: Any = cgutils.unpack_tuple
_make: Any = arrayobj.make_array
_populate: Any = arrayobj.populate_array


def span(flat: npt.NDArray[Number], at: int, size: int) -> npt.NDArray[Number]:
    """`size` numbers from position `at` on."""
    return flat[at : at + size]


def block(flat: npt.NDArray[Number], at: int, rows: int, columns: int) -> npt.NDArray[Number]:
    """The matrix (rows, columns) that begins at position `at`."""
    return flat[at : at + rows * columns].reshape(rows, columns)


def whole(matrix: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """All numbers of a matrix, row by row."""
    return matrix.reshape(-1)


def lasting(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The same array, while something else keeps it alive.

    Arrays from Python count their references, and compiled code counts along wherever it hands one on: a tenth of a
    small network's step.
    """
    return array


def _view(flat: Any, at: Any, shape: Any) -> Any:
    if flat.layout != "C":
        raise TypingError("only of numbers that lie one after the other")
    kind = flat.copy(ndim=len(shape))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _make(signature.args[0])(context, builder, arguments[0])
        view = _make(kind)(context, builder)
        sizes = _unpack(builder, arguments[2])
        bytes_per_number = source.itemsize
        strides = [bytes_per_number]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        first = builder.gep(source.data, [arguments[1]])
        _populate(view, first, sizes, strides, bytes_per_number, meminfo=None)
        return view._getvalue()

    return kind(flat, types.intp, shape), generate


_compiled_view: Any = intrinsic(lambda typing, flat, at, shape: _view(flat, at, shape))


@overload(span)
def _span(flat: Any, at: Any, size: Any) -> Callable[[Any, Any, Any], Any]:
    def compiled(flat: Any, at: Any, size: Any) -> Any:
        return _compiled_view(flat, at, (size,))

    return compiled


@overload(whole)
def _whole(matrix: Any) -> Callable[[Any], Any]:
    def compiled(matrix: Any) -> Any:
        return _compiled_view(matrix, 0, (matrix.size,))

    return compiled


@overload(lasting)
def _lasting(array: Any) -> Callable[[Any], Any]:
    def compiled(array: Any) -> Any:
        return _compiled_view(array, 0, array.shape)

    def unchanged(array: Any) -> Any:
        return array

    # What does not lie in one piece stays what it is.
    return compiled if array.layout == "C" else unchanged


@overload(block)
def _block(flat: Any, at: Any, rows: Any, columns: Any) -> Callable[[Any, Any, Any, Any], Any]:
    def compiled(flat: Any, at: Any, rows: Any, columns: Any) -> Any:
        return _compiled_view(flat, at, (rows, columns))

    return compiled


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
