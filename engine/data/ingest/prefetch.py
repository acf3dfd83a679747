"""Pipelining of ingest stages: prefetching in one thread, and ordered parallel mapping in several."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from queue import Full, Queue
from typing import TypeVar

from nabla.engine.machine import available_cores

T = TypeVar("T")
U = TypeVar("U")

# Threads of a parallel stage. They run in Arrow and NumPy, without the interpreter lock.
MAX_THREADS = min(4, available_cores())

# How often a blocked producer checks whether its consumer is gone.
_POLL_SECONDS = 0.1


class _End:
    """The end of the items. `error`: the exception that the producer raised, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield the items, each produced in another thread while the consumer works on the one before."""
    queue: Queue[T | _End] = Queue(1)
    cancelled = threading.Event()

    def put(item: T | _End) -> None:
        while not cancelled.is_set():
            with suppress(Full):
                queue.put(item, timeout=_POLL_SECONDS)
                return

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if cancelled.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # raised again in the consumer
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=produce, name="prefetch")
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        cancelled.set()
        thread.join()


def map_ordered(function: Callable[[T], U], items: Iterator[T], threads: int) -> Generator[U, None, None]:
    """Yield `function(item)` for each item in order, computed in several threads.

    An error of the function or of the iterator is raised in order, after all results before it.
    """
    pool = ThreadPoolExecutor(threads, "map_ordered")
    try:
        with closing(prefetch(pool.submit(function, item) for item in items)) as futures:
            for future in futures:
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
