"""One stage of reading beside the next."""

import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

# Threads that a stage may have, in which Arrow and NumPy do the work.
THREADS = min(4, len(os.sched_getaffinity(0)))

# How long a stage waits before it looks whether anybody still wants what it made, in seconds.
_PATIENCE = 0.1


class _Ended:
    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, each made in a thread of its own while the caller is busy with the one before."""
    queue: Queue[T | _Ended] = Queue(1)
    given_up = threading.Event()

    def put(item: T | _Ended) -> None:
        while not given_up.is_set():
            with suppress(Full):
                queue.put(item, timeout=_PATIENCE)
                return

    def make() -> None:
        try:
            for item in items:
                put(item)
                if given_up.is_set():
                    return
        except BaseException as problem:  # noqa: BLE001  # it is raised where the items are wanted
            put(_Ended(problem))
        else:
            put(_Ended(None))

    thread = threading.Thread(target=make, name="ahead")
    thread.start()
    try:
        while not isinstance(item := queue.get(), _Ended):
            yield item
        if item.problem is not None:
            raise item.problem
    finally:
        given_up.set()
        thread.join()


def abreast(work: Callable[[T], U], items: Iterator[T], threads: int) -> Generator[U, None, None]:
    """What `work` makes of each item, in their order, while that many threads are busy with those that follow.

    What an item or its making raises comes where it would have come one by one, after all that was made before.
    """
    pool = ThreadPoolExecutor(threads, "abreast")
    try:
        with closing(ahead(pool.submit(work, item) for item in items)) as begun:
            for made in begun:
                yield made.result()
    finally:
        pool.shutdown(cancel_futures=True)
