"""CuPy's array, as far as the service uses it: memory with a shape and a type, and no number that the host can see."""

import math
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from . import _allocations, _queues, accounts
from .cuda import pinned_memory
from .cuda.stream import Stream, get_current_stream, wait_for

Host = npt.NDArray[Any]
Shape = int | tuple[int, ...]

_IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)
_UNSEEN = "The numbers of an array on the device are not the host's to see: use `.get()`."


class MemoryPointer:
    """Where an array begins, and what keeps its memory."""

    def __init__(self, owner: _allocations.Owner, ptr: int) -> None:
        self._owner = owner
        self.ptr = ptr


class ndarray:
    """Contiguous; made by `empty` and `zeros`, and by its own views."""

    __array_priority__ = 100
    # NumPy leaves operators to the array, which has none.
    __array_ufunc__ = None

    def __init__(self, *arguments: object, **named: object) -> None:
        raise TypeError("The stand-in makes arrays by empty and zeros only.")

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

    def __getitem__(self, part: slice) -> "ndarray":
        if not (isinstance(part, slice) and part.step in (None, 1)):
            raise TypeError("The stand-in knows a[i:j] only.")
        start, stop, _ = part.indices(len(self))
        rows = max(0, stop - start)
        row = self.nbytes // len(self) if len(self) else 0
        return _array(self._data._owner, self._data.ptr + start * row, (rows, *self._shape[1:]), self._dtype)

    def reshape(self, *shape: Any) -> "ndarray":
        wanted = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        if wanted.count(-1) == 1:
            rest = -math.prod(wanted)
            wanted = tuple(self.size // rest if rest and n == -1 else n for n in wanted)
        if math.prod(wanted) != self.size or any(n < 0 for n in wanted):
            raise ValueError(f"cannot reshape array of size {self.size} into shape {shape}")
        return _array(self._data._owner, self._data.ptr, wanted, self._dtype)

    def view(self, dtype: npt.DTypeLike) -> "ndarray":
        kind = np.dtype(dtype)
        last = self._shape[-1] * self.itemsize if self._shape else self.itemsize
        if last % kind.itemsize or not (self._shape or kind.itemsize == self.itemsize):
            raise ValueError("the last axis does not hold a whole number of the new type")
        shape = (*self._shape[:-1], last // kind.itemsize) if self._shape else ()
        return _array(self._data._owner, self._data.ptr, shape, kind)

    def fill(self, value: complex) -> None:
        number = self._dtype.type(value)
        self._enqueue(get_current_stream(), lambda numbers: numbers.fill(number))

    def set(self, arr: Host, stream: Stream | None = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self._dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self._dtype} array")
        if arr.shape != self._shape:
            raise ValueError(f"Shape mismatch. Old shape: {self._shape}, new shape: {arr.shape}")
        if not arr.flags.c_contiguous:
            raise TypeError(
                "The stand-in sets from contiguous arrays only: CuPy would copy the others first, in silence."
            )
        stream = stream or get_current_stream()
        if not stream.null and pinned_memory.is_pinned(arr.ctypes.data, arr.nbytes):
            # Read when the copy runs, and as it is then.
            self._enqueue(stream, lambda numbers: np.copyto(numbers, arr))
            return
        accounts.count("host_round_trips", "Memory was copied to the device while the host waited")
        staged = arr.copy()
        self._enqueue(stream, lambda numbers: np.copyto(numbers, staged))

    def get(
        self, stream: Stream | None = None, order: str = "C", out: Host | None = None, blocking: bool = True
    ) -> Host:
        if order != "C":
            raise TypeError("The stand-in gets arrays in the order C only.")
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
        accounts.count("host_round_trips", "The device's memory was copied to the host")
        stream, there = stream or get_current_stream(), out
        self._enqueue(stream, lambda numbers: np.copyto(there, numbers))
        if blocking:
            wait_for(stream._queue.mark(), "The device's memory was waited for")
        return out

    def _enqueue(self, stream: Stream, work: Any) -> None:
        if self.size:
            ptr, shape, kind, size = self._data.ptr, self._shape, self._dtype, self.nbytes
            _queues.enqueue(stream._queue, lambda: work(_allocations.host_view(ptr, size).view(kind).reshape(shape)))

    def __array__(self, dtype: Any = None) -> NoReturn:
        raise TypeError(_IMPLICIT)

    def _unseen(self, *others: object) -> NoReturn:
        raise TypeError(_UNSEEN)

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __iter__ = _unseen
    __eq__ = __ne__ = _unseen
    __hash__ = None  # type: ignore[assignment]  # as in CuPy

    _owner: _allocations.Owner
    _data: MemoryPointer
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]


def _array(owner: _allocations.Owner, ptr: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ndarray:
    made = object.__new__(ndarray)
    made._data, made._shape, made._dtype = MemoryPointer(owner, ptr), shape, dtype
    return made


def empty(shape: Shape, dtype: npt.DTypeLike = float) -> ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {kind}")
    sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ValueError("Negative dimensions are not allowed")
    owner = _allocations.Owner(math.prod(sizes) * kind.itemsize)
    return _array(owner, owner.allocation.ptr, sizes, kind)


def zeros(shape: Shape, dtype: npt.DTypeLike = float) -> ndarray:
    made = empty(shape, dtype)
    made.fill(0)
    return made
