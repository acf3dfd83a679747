"""Where the rows of a dataset are while a GPU works on them: all on the device, or brought there in chunks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.compiled_layout import Rows
from nabla.engine.nn.training_step import Examples

# About so much is sent at a time where not all of it fits.
CHUNK_BYTES = 256 * 2**20


class Place(NamedTuple):
    """Examples on the device, and of each row of an epoch's order the row in them."""

    examples: Any
    order: Any


class Resident:
    """All rows are on the device; an epoch sends their order alone."""

    def __init__(self, cupy: Any, examples: Examples, rows: Rows, shared: "Resident | None" = None) -> None:
        """`shared` holds the same rows already; their weights may be others."""
        on_device: Any
        if shared is None:
            on_device = Examples(*(_copy(cupy, array) for array in examples))
        else:
            on_device = shared.places[0].examples._replace(weights=_copy(cupy, examples.weights))
        self.host = examples
        self.rows = len(rows)
        self.places: tuple[Place, ...] = (Place(on_device, _copy(cupy, rows)),)

    def begin(self, order: Rows) -> None:
        """The order of the rows from now on."""
        self.places[0].order.set(order)

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Parts of rows first to last of the order: their ends, and the number of the place where they are."""
        yield first, last, 0

    def done(self, place: int) -> None:
        """The steps on a chunk are on their way."""


class Streamed:
    """Chunks of rows go to the device while it works on the chunk before, from memory that is never paged out.

    There are two places. A place is written again when the steps on it are made; its memory on the host when what was
    in it has been copied: that is the only moment at which the host waits.
    """

    def __init__(self, cupy: Any, examples: Examples, rows: Rows, chunk: int) -> None:
        """`chunk`: how many rows are sent at a time, a multiple of those of a step."""
        self._cupy = cupy
        self._chunk = chunk
        self._order = rows
        self.host = examples
        self.rows = len(rows)
        self._copying = cupy.cuda.Stream(non_blocking=True)
        self._pinned = [Examples(*(_pinned(cupy, array, chunk) for array in examples)) for _ in range(2)]
        order = _copy(cupy, np.arange(len(rows)) % chunk)
        self.places: tuple[Place, ...] = tuple(
            Place(Examples(*(_room(cupy, array, chunk) for array in examples)), order) for _ in range(2)
        )
        self._copied, self._used = (
            [cupy.cuda.Event(block=True, disable_timing=True) for _ in range(2)] for _ in range(2)
        )
        self._present: list[int | None] = [None, None]

    def begin(self, order: Rows) -> None:
        """The order of the rows from now on."""
        self._order = order
        self._present = [None, None]

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Parts of rows first to last of the order: their ends, and the number of the place where they are."""
        while first < last:
            number = first // self._chunk
            end = min(last, (number + 1) * self._chunk)
            self._bring(number)
            if (number + 1) * self._chunk < self.rows:
                self._bring(number + 1)  # while the device works on what it has
            self._cupy.cuda.get_current_stream().wait_event(self._copied[number % 2])
            yield first, end, number % 2
            first = end

    def done(self, place: int) -> None:
        """The steps on a chunk are on their way."""
        self._used[place].record(self._cupy.cuda.get_current_stream())

    def _bring(self, number: int) -> None:
        place = number % 2
        if self._present[place] == number:
            return
        self._present[place] = number
        rows = self._order[number * self._chunk : (number + 1) * self._chunk]
        self._copied[place].synchronize()
        for host, pinned in zip(self.host, self._pinned[place], strict=True):
            if host.size:
                np.take(host, rows, axis=0, out=pinned[: len(rows)], mode="clip")  # else it would buffer
        self._copying.wait_event(self._used[place])
        for pinned, device in zip(self._pinned[place], self.places[place].examples, strict=True):
            if device.size:
                device.set(pinned, stream=self._copying)
        self._copied[place].record(self._copying)


Source = Resident | Streamed


def bytes_of(examples: Examples, rows: int) -> int:
    """That all of them would take, and the order of so many rows."""
    return sum(array.nbytes for array in examples) + 8 * rows


def _copy(cupy: Any, array: npt.NDArray[Any]) -> Any:
    on_device = cupy.empty(array.shape, array.dtype)
    if array.size:
        on_device.set(np.ascontiguousarray(array))
    return on_device


def _room(cupy: Any, array: npt.NDArray[Any], rows: int) -> Any:
    return cupy.zeros((rows, *array.shape[1:]) if array.size else (0,), array.dtype)


def _pinned(cupy: Any, array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    shape = (rows, *array.shape[1:]) if array.size else (0,)
    numbers = int(np.prod(shape))
    if not numbers:
        return np.empty(shape, array.dtype)
    memory = cupy.cuda.alloc_pinned_memory(numbers * array.itemsize)
    return np.frombuffer(memory, array.dtype, numbers).reshape(shape)
