"""Requests that wait for the same network at the same time are computed together."""

import asyncio
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from nabla.engine.errors import Busy
from nabla.engine.nn.array_views import Matrix
from nabla.engine.nn.network import Network

# Rows of one batch.
_ROWS_AT_ONCE = 1024
# Multiply-adds of a batch that the event loop works out itself: about as long as a thread takes to begin.
_WORTH_A_THREAD = 4_000_000


@dataclass(eq=False)
class _Wanted:
    """Rows of one request, of which so many are `done`, and their outputs."""

    rows: Matrix
    outputs: Matrix
    ready: asyncio.Future[None]
    done: int = 0


@dataclass(eq=False)
class _Batch:
    """Which rows of whom: (wanted, first, last)."""

    parts: list[tuple[_Wanted, int, int]]

    @property
    def size(self) -> int:
        """Rows."""
        return sum(last - first for _, first, last in self.parts)

    def rows(self) -> Matrix:
        found = [wanted.rows[first:last] for wanted, first, last in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found)


class Batching:
    """Of an event loop, on which alone it is called. Who is alone waits for nobody: what has arrived when the loop has
    seen to all requests that were there is computed at once, and what comes meanwhile is the next batch. Of a batch
    each request gets an equal share, so that a large one does not keep small ones waiting.

    What a request gets does not depend on what it is computed with: see `Network.predict`.
    """

    def __init__(self, most_waiting: int, most_bytes: int) -> None:
        """`most_waiting`: requests, `most_bytes`: of their rows and outputs together."""
        self._most_waiting, self._most_bytes = most_waiting, most_bytes
        self._waiting = self._bytes = 0
        self._queues: dict[Network, deque[_Wanted]] = {}
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "predicting")

    async def outputs(self, network: Network, rows: Matrix) -> Matrix:
        """Those of rows as `Model.prepared` makes them. Raises Busy if too many wait already."""
        size = rows.nbytes + len(rows) * network.architecture.outputs * rows.itemsize
        if self._waiting >= self._most_waiting or (self._waiting and self._bytes + size > self._most_bytes):
            raise Busy(f"{self._waiting} requests wait for predictions already, as many as this service takes.")
        found = np.empty((len(rows), network.architecture.outputs), rows.dtype)
        loop = asyncio.get_running_loop()
        wanted = _Wanted(rows, found, loop.create_future())
        self._waiting += 1
        self._bytes += size
        try:
            self._enqueue(loop, network, wanted)
            await wanted.ready
        finally:
            self._waiting -= 1
            self._bytes -= size
        return found

    def end(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, loop: asyncio.AbstractEventLoop, network: Network, wanted: _Wanted) -> None:
        if network in self._queues:
            self._queues[network].append(wanted)
        else:
            self._queues[network] = deque((wanted,))
            loop.call_soon(self._go_on, loop, network)

    def _go_on(self, loop: asyncio.AbstractEventLoop, network: Network) -> None:
        """Compute the next batch, if anybody waits."""
        batch = _next_batch(self._queues[network])
        if not batch.parts:
            del self._queues[network]
            return
        if batch.size * network.architecture.parameters < _WORTH_A_THREAD:
            computed: asyncio.Future[Matrix] = loop.create_future()
            _settle(computed, network, batch)
            self._deliver(loop, network, batch, computed)
        else:
            computed = loop.run_in_executor(self._threads, _outputs, network, batch)
            computed.add_done_callback(partial(self._deliver, loop, network, batch))

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, network: Network, batch: _Batch, computed: asyncio.Future[Matrix]
    ) -> None:
        if computed.cancelled():  # the service ends
            return
        problem = computed.exception()
        at = 0
        for wanted, first, last in batch.parts:
            if problem is None:
                wanted.outputs[first:last] = computed.result()[at : at + last - first]
                at += last - first
            if wanted.ready.done():  # its client has left
                continue
            if problem is not None:
                wanted.ready.set_exception(problem)
            elif last == len(wanted.rows):
                wanted.ready.set_result(None)
        loop.call_soon(self._go_on, loop, network)


def _outputs(network: Network, batch: _Batch) -> Matrix:
    return network.outputs(batch.rows())


def _settle(future: asyncio.Future[Matrix], network: Network, batch: _Batch) -> None:
    try:
        future.set_result(_outputs(network, batch))
    except Exception as problem:  # noqa: BLE001  # whoever waits gets it, as from a thread
        future.set_exception(problem)


def _next_batch(queue: deque[_Wanted]) -> _Batch:
    """An equal share of every request; those that are not done then go to the end."""
    batch = _Batch([])
    room, left = _ROWS_AT_ONCE, len(queue)
    while room and left:
        wanted = queue.popleft()
        if not wanted.ready.done():
            last = min(len(wanted.rows), wanted.done + max(1, room // left))
            batch.parts.append((wanted, wanted.done, last))
            room -= last - wanted.done
            wanted.done = last
            if last < len(wanted.rows):
                queue.append(wanted)
        left -= 1
    return batch
