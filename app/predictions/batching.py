"""Adaptive batching: pending requests for the same network are computed together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from nabla.engine.errors import Busy
from nabla.engine.machine import available_cores
from nabla.engine.nn.network import Network
from nabla.engine.training.model import Model, Predictions
from nabla.engine.typing import Matrix

_BATCH_ROWS = 1024
# Multiply-adds of a batch up to which the event loop computes it: they take about as long as a thread switch.
_MAX_INLINE_MULTIPLY_ADDS = 4_000_000


@dataclass(eq=False)
class _PendingRequest:
    """Rows of a request, their outputs, and the number of rows that are in a batch or computed."""

    rows: Matrix
    outputs: Matrix
    completed: asyncio.Future[None]
    dispatched: int = 0


@dataclass(eq=False)
class _Batch:
    """Slices of requests: (request, start, stop)."""

    slices: list[tuple[_PendingRequest, int, int]]

    @property
    def row_count(self) -> int:
        return sum(stop - start for _, start, stop in self.slices)

    def rows(self) -> Matrix:
        parts = [request.rows[start:stop] for request, start, stop in self.slices]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class PredictionBatcher:
    """Adaptive batching without a delay window, on one event loop.

    A batch takes every request that is pending: a lone request runs immediately, and those that arrive while a batch is
    computed form the next one. Each request gets an equal share of a batch, so a large one does not delay small ones.
    The outputs of a row do not depend on its batch (see `Network.predict`).

    Args:
        max_pending: Limit on pending requests.
        max_bytes: Limit on the memory of their rows and outputs, in bytes.
    """

    def __init__(self, max_pending: int, max_bytes: int) -> None:
        self._max_pending, self._max_bytes = max_pending, max_bytes
        self._pending = self._pending_bytes = 0
        self._queues: dict[Network, deque[_PendingRequest]] = {}
        self._threads = ThreadPoolExecutor(available_cores(), "predict")

    async def predict(self, network: Network, rows: Matrix) -> Matrix:
        """Return the outputs of a network for preprocessed rows, as `Model.preprocess` returns them.

        Raises:
            Busy: Too many requests are pending.
        """
        outputs = np.empty((len(rows), network.architecture.outputs), rows.dtype)
        size = rows.nbytes + outputs.nbytes
        if self._pending >= self._max_pending or (self._pending and self._pending_bytes + size > self._max_bytes):
            raise Busy(
                f"{self._pending} prediction requests are pending: their number or size is at the limit. Retry later."
            )
        loop = asyncio.get_running_loop()
        request = _PendingRequest(rows, outputs, loop.create_future())
        self._pending += 1
        self._pending_bytes += size
        try:
            self._enqueue(loop, network, request)
            await request.completed
        finally:
            self._pending -= 1
            self._pending_bytes -= size
        return outputs

    async def predict_blocks(
        self, model: Model, blocks: AsyncIterator[Matrix], row_count: int, field: str
    ) -> Predictions:
        """Return the predictions for blocks of preprocessed rows, computing one while the next is read.

        Args:
            model: The model.
            blocks: Blocks with `row_count` rows together.
            row_count: Number of rows, at least 1.
            field: Field of the request that an InvalidInput names.

        Raises:
            InvalidInput: An output is not finite.
            Busy: Too many requests are pending.
        """
        block = await anext(blocks)
        if len(block) == row_count:
            await anext(blocks, None)  # an exhausted generator needs no task to close it
            return model.rescale_outputs(await self.predict(model.network, block), field)
        predictions: Predictions = np.empty(0)
        filled = 0
        computing: asyncio.Task[Matrix] | None = asyncio.create_task(self.predict(model.network, block))
        try:
            while computing is not None:
                next_block = await anext(blocks, None)
                part = model.rescale_outputs(await computing, field)
                computing = None
                if next_block is not None:
                    computing = asyncio.create_task(self.predict(model.network, next_block))
                if not filled:
                    predictions = np.empty((row_count, part.shape[1]), part.dtype)
                predictions[filled : filled + len(part)] = part
                filled += len(part)
        finally:
            if computing is not None:
                computing.cancel()
        return predictions

    def close(self) -> None:
        """Stop computing; pending requests will not complete."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, loop: asyncio.AbstractEventLoop, network: Network, request: _PendingRequest) -> None:
        if network in self._queues:
            self._queues[network].append(request)
        else:
            self._queues[network] = deque((request,))
            loop.call_soon(self._run_next_batch, loop, network)

    def _run_next_batch(self, loop: asyncio.AbstractEventLoop, network: Network) -> None:
        batch = _next_batch(self._queues[network])
        if not batch.slices:
            del self._queues[network]
            return
        multiply_adds = batch.row_count * network.architecture.parameters
        if multiply_adds < _MAX_INLINE_MULTIPLY_ADDS and network.is_compiled:  # compiling takes seconds
            computed: asyncio.Future[Matrix] = loop.create_future()
            try:
                computed.set_result(_compute(network, batch))
            except Exception as error:  # noqa: BLE001  # delivered to the requests, as from a thread
                computed.set_exception(error)
            self._deliver(loop, network, batch, computed)
        else:
            computed = loop.run_in_executor(self._threads, _compute, network, batch)
            computed.add_done_callback(partial(self._deliver, loop, network, batch))

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, network: Network, batch: _Batch, computed: asyncio.Future[Matrix]
    ) -> None:
        if computed.cancelled():  # the service is shutting down
            return
        error = computed.exception()
        offset = 0
        for request, start, stop in batch.slices:
            if error is None:
                request.outputs[start:stop] = computed.result()[offset : offset + stop - start]
                offset += stop - start
            if request.completed.done():  # its client has disconnected
                continue
            if error is not None:
                request.completed.set_exception(error)
            elif stop == len(request.rows):
                request.completed.set_result(None)
        loop.call_soon(self._run_next_batch, loop, network)


def _compute(network: Network, batch: _Batch) -> Matrix:
    return network.outputs(batch.rows())


def _next_batch(queue: deque[_PendingRequest]) -> _Batch:
    """Take an equal share of every request; requests with rows left go to the end of the queue."""
    batch = _Batch([])
    room, remaining = _BATCH_ROWS, len(queue)
    while room and remaining:
        request = queue.popleft()
        if not request.completed.done():
            start = request.dispatched
            stop = min(len(request.rows), start + max(1, room // remaining))
            batch.slices.append((request, start, stop))
            room -= stop - start
            request.dispatched = stop
            if stop < len(request.rows):
                queue.append(request)
        remaining -= 1
    return batch
