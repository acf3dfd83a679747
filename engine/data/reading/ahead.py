"""One stage of reading beside the next."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")

# How long a stage waits before it looks whether anybody still wants what it made, in seconds.
_PATIENCE = 0.1


class _Ended:
    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


def ahead(items: Iterator[T]) -> Iterator[T]:
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
