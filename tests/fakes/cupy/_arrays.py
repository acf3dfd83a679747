"""The part of CuPy's array that the service uses: device memory with a shape and a dtype, unreadable to the host."""

import math
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from . import _allocations, _queues, monitor
from .cuda import pinned_memory
from .cuda.stream import Stream, get_current_stream, wait_for

HostArray = npt.NDArray[Any]
Shape = int | tuple[int, ...]

_IMPLICIT_CONVERSION = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)
_NO_HOST_ACCESS = "The host cannot read the elements of a device array: use `.get()`."


class MemoryPointer:
    """The address of an array, and the owner of its memory."""

    def __init__(self, owner: _allocations.Owner, ptr: int) -> None:
        self._owner = owner
        self.ptr = ptr


class ndarray:
    """A contiguous array, created by `empty`, `zeros` and the views of other arrays."""

    __array_priority__ = 100
    # Makes NumPy leave operators to this class, which has none.
    __array_ufunc__ = None

    def __init__(self, *arguments: object, **keywords: object) -> None:
        raise TypeError("The fake creates arrays only by `empty` and `zeros`.")

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def data(self) -> MemoryPointer:
        return self._data

    @property
    def size(self) -> int:
        return math.prod(self._shape)

    @property
    def itemsize(self) -> int:
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("len() of unsized object")
        return self._shape[0]

    def __getitem__(self, index: slice) -> "ndarray":
        if not (isinstance(index, slice) and index.step in (None, 1)):
            raise TypeError("The fake supports only a[i:j].")
        start, stop, _ = index.indices(len(self))
        rows = max(0, stop - start)
        row_bytes = self.nbytes // len(self) if len(self) else 0
        return _create_view(
            self._data._owner, self._data.ptr + start * row_bytes, (rows, *self._shape[1:]), self._dtype
        )

    def reshape(self, *shape: Any) -> "ndarray":
        sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        if sizes.count(-1) == 1:
            known_size = -math.prod(sizes)
            sizes = tuple(self.size // known_size if known_size and n == -1 else n for n in sizes)
        if math.prod(sizes) != self.size or any(n < 0 for n in sizes):
            raise ValueError(f"cannot reshape array of size {self.size} into shape {shape}")
        return _create_view(self._data._owner, self._data.ptr, sizes, self._dtype)

    def view(self, dtype: npt.DTypeLike) -> "ndarray":
        new_dtype = np.dtype(dtype)
        last_axis_bytes = self._shape[-1] * self.itemsize if self._shape else self.itemsize
        if last_axis_bytes % new_dtype.itemsize or not (self._shape or new_dtype.itemsize == self.itemsize):
            raise ValueError("the last axis does not hold a whole number of the new type")
        shape = (*self._shape[:-1], last_axis_bytes // new_dtype.itemsize) if self._shape else ()
        return _create_view(self._data._owner, self._data.ptr, shape, new_dtype)

    def fill(self, value: complex) -> None:
        scalar = self._dtype.type(value)
        self._enqueue(get_current_stream(), lambda elements: elements.fill(scalar))

    def set(self, arr: HostArray, stream: Stream | None = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self._dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self._dtype} array")
        if arr.shape != self._shape:
            raise ValueError(f"Shape mismatch. Old shape: {self._shape}, new shape: {arr.shape}")
        if not arr.flags.c_contiguous:
            raise TypeError("The fake sets only from contiguous arrays: CuPy would silently copy others first.")
        stream = stream or get_current_stream()
        if not stream.null and pinned_memory.is_pinned(arr.ctypes.data, arr.nbytes):
            # The array is read when the copy runs.
            self._enqueue(stream, lambda elements: np.copyto(elements, arr))
            return
        monitor.count("host_round_trips", "Host memory was copied to the device with the host waiting")
        staged = arr.copy()
        self._enqueue(stream, lambda elements: np.copyto(elements, staged))

    def get(
        self, stream: Stream | None = None, order: str = "C", out: HostArray | None = None, blocking: bool = True
    ) -> HostArray:
        if order != "C":
            raise TypeError("The fake gets arrays only in C order.")
        if out is None:
            out = np.empty(self._shape, self._dtype)
        elif not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        elif out.dtype != self._dtype:
            raise TypeError(f"{self._dtype} array cannot be obtained from {out.dtype} array")
        elif out.shape != self._shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self._shape}, actual shape: {out.shape}")
        elif not out.flags.c_contiguous:
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        monitor.count("host_round_trips", "Device memory was copied to the host")
        stream, destination = stream or get_current_stream(), out
        self._enqueue(stream, lambda elements: np.copyto(destination, elements))
        if blocking:
            wait_for(stream._queue.mark(), "The host waited for a copy")
        return out

    def _enqueue(self, stream: Stream, operation: Any) -> None:
        if self.size:
            ptr, shape, dtype, size = self._data.ptr, self._shape, self._dtype, self.nbytes
            _queues.enqueue(
                stream._queue, lambda: operation(_allocations.host_view(ptr, size).view(dtype).reshape(shape))
            )

    def __array__(self, dtype: Any = None) -> NoReturn:
        raise TypeError(_IMPLICIT_CONVERSION)

    def _reject_host_access(self, *operands: object) -> NoReturn:
        raise TypeError(_NO_HOST_ACCESS)

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __iter__ = _reject_host_access
    __eq__ = __ne__ = _reject_host_access
    __hash__ = None  # type: ignore[assignment]  # as in CuPy

    _owner: _allocations.Owner
    _data: MemoryPointer
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]


def _create_view(owner: _allocations.Owner, ptr: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ndarray:
    array = object.__new__(ndarray)
    array._data, array._shape, array._dtype = MemoryPointer(owner, ptr), shape, dtype
    return array


def empty(shape: Shape, dtype: npt.DTypeLike = float) -> ndarray:
    element_type = np.dtype(dtype)
    if element_type.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {element_type}")
    sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ValueError("Negative dimensions are not allowed")
    owner = _allocations.Owner(math.prod(sizes) * element_type.itemsize)
    return _create_view(owner, owner.allocation.ptr, sizes, element_type)


def zeros(shape: Shape, dtype: npt.DTypeLike = float) -> ndarray:
    array = empty(shape, dtype)
    array.fill(0)
    return array
