"""Transfer of a dataset's rows to a GPU: all at once into device memory, or streamed in chunks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.nn.training_step import Examples
from nabla.engine.typing import RowIndices

# Approximate size of a chunk, if the data does not fit into device memory.
CHUNK_BYTES = 256 * 2**20


class DeviceBuffers(NamedTuple):
    """Examples on the device, and for each position of the epoch's order the index of its row among them."""

    examples: Any
    order: Any


class DeviceDataset:
    """Rows that are all in device memory; an epoch uploads only their order."""

    def __init__(self, cupy: Any, examples: Examples, rows: RowIndices, shared: "DeviceDataset | None" = None) -> None:
        """Upload the examples, or reuse those of `shared` with the sample weights of `examples`."""
        device_examples: Any
        if shared is None:
            device_examples = Examples(*(_copy(cupy, array) for array in examples))
        else:
            device_examples = shared.slots[0].examples._replace(weights=_copy(cupy, examples.weights))
        self.host = examples
        self.rows = len(rows)
        self.slots: tuple[DeviceBuffers, ...] = (DeviceBuffers(device_examples, _copy(cupy, rows)),)

    def begin(self, order: RowIndices) -> None:
        """Set the order of the rows of the next epoch."""
        self.slots[0].order.set(order)

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield (first, last, slot) for each chunk of order[first:last]."""
        yield first, last, 0

    def release(self, slot: int) -> None:
        """Allow a slot to be overwritten once the steps launched so far are done."""


class StreamedDataset:
    """Rows that are streamed in chunks, each uploaded while the device works on the previous one.

    Uploads start from pinned host memory. There are two slots. A slot is overwritten when the steps on its rows are
    done, its pinned memory when the upload is done, which is all that the host waits for.
    """

    def __init__(self, cupy: Any, examples: Examples, rows: RowIndices, chunk_rows: int) -> None:
        """Allocate two slots of `chunk_rows` rows, a multiple of the batch size."""
        self._cupy = cupy
        self._chunk_rows = chunk_rows
        self._order = rows
        self.host = examples
        self.rows = len(rows)
        self._copy_stream = cupy.cuda.Stream(non_blocking=True)
        self._pinned = [Examples(*(_pinned(cupy, array, chunk_rows) for array in examples)) for _ in range(2)]
        order = _copy(cupy, np.arange(len(rows)) % chunk_rows)
        self.slots: tuple[DeviceBuffers, ...] = tuple(
            DeviceBuffers(Examples(*(_empty(cupy, array, chunk_rows) for array in examples)), order) for _ in range(2)
        )
        self._upload_done, self._steps_done = (
            [cupy.cuda.Event(block=True, disable_timing=True) for _ in range(2)] for _ in range(2)
        )
        self._loaded_chunks: list[int | None] = [None, None]

    def begin(self, order: RowIndices) -> None:
        """Set the order of the rows of the next epoch."""
        self._order = order
        self._loaded_chunks = [None, None]

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield (first, last, slot) for each chunk of order[first:last], and upload the next chunk ahead."""
        while first < last:
            chunk = first // self._chunk_rows
            end = min(last, (chunk + 1) * self._chunk_rows)
            self._upload(chunk)
            if (chunk + 1) * self._chunk_rows < self.rows:
                self._upload(chunk + 1)  # while the device works on the current chunk
            self._cupy.cuda.get_current_stream().wait_event(self._upload_done[chunk % 2])
            yield first, end, chunk % 2
            first = end

    def release(self, slot: int) -> None:
        """Allow a slot to be overwritten once the steps launched so far are done."""
        self._steps_done[slot].record(self._cupy.cuda.get_current_stream())

    def _upload(self, chunk: int) -> None:
        slot = chunk % 2
        if self._loaded_chunks[slot] == chunk:
            return
        self._loaded_chunks[slot] = chunk
        rows = self._order[chunk * self._chunk_rows : (chunk + 1) * self._chunk_rows]
        self._upload_done[slot].synchronize()
        for host, pinned in zip(self.host, self._pinned[slot], strict=True):
            if host.size:
                np.take(host, rows, axis=0, out=pinned[: len(rows)], mode="clip")  # the default mode would use a buffer
        self._copy_stream.wait_event(self._steps_done[slot])
        for pinned, device in zip(self._pinned[slot], self.slots[slot].examples, strict=True):
            if device.size:
                device.set(pinned, stream=self._copy_stream)
        self._upload_done[slot].record(self._copy_stream)


DataSource = DeviceDataset | StreamedDataset


def device_bytes(examples: Examples, rows: int) -> int:
    """Return the device memory of all examples and of the order of `rows` rows."""
    return sum(array.nbytes for array in examples) + 8 * rows


def _copy(cupy: Any, array: npt.NDArray[Any]) -> Any:
    device_array = cupy.empty(array.shape, array.dtype)
    if array.size:
        device_array.set(np.ascontiguousarray(array))
    return device_array


def _empty(cupy: Any, array: npt.NDArray[Any], rows: int) -> Any:
    return cupy.zeros((rows, *array.shape[1:]) if array.size else (0,), array.dtype)


def _pinned(cupy: Any, array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    shape = (rows, *array.shape[1:]) if array.size else (0,)
    size = int(np.prod(shape))
    if not size:
        return np.empty(shape, array.dtype)
    memory = cupy.cuda.alloc_pinned_memory(size * array.itemsize)
    return np.frombuffer(memory, array.dtype, size).reshape(shape)
