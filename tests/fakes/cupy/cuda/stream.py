"""CuPy's streams and events over the queues."""

import itertools
import threading
import weakref
from types import TracebackType
from typing import Self

from .. import _allocations, _queues, accounts

__all__ = ["Event", "Stream", "get_current_stream"]

_numbers = itertools.count(0x7F0000000010, 0x10)


def wait_for(mark: _queues.Mark, sentence: str, of_an_event: bool = False) -> None:
    """The host waits."""
    accounts.count("synchronizations", sentence, of_an_event=of_an_event)
    _queues.run(mark)
    _allocations.check()


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.ptr = next(_numbers)
        # One that was never recorded has happened.
        self._mark = _queues.Mark(_queues.NULL, 0)

    @property
    def done(self) -> bool:
        """Whoever asks again and again sees the device get on with its work."""
        if not self._mark.reached:
            _queues.run_one(self._mark.queue)
        return self._mark.reached

    def record(self, stream: "Stream | None" = None) -> None:
        self._mark = (stream or get_current_stream())._queue.mark()

    def synchronize(self) -> None:
        wait_for(self._mark, "An event was waited for", of_an_event=True)


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.null = null
        self._queue = _queues.NULL if null else _queues.Queue(next(_numbers), blocking=not non_blocking)
        self.ptr = self._queue.ptr
        with _queues.lock:
            _queues.queues[self.ptr] = self._queue
        if not null:
            weakref.finalize(self, _forget, self._queue).atexit = False

    def __enter__(self) -> Self:
        _current_stack().append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current_stack().pop()

    @property
    def done(self) -> bool:
        if self._queue.items:
            _queues.run_one(self._queue)
        return not self._queue.items

    def synchronize(self) -> None:
        wait_for(self._queue.mark(), "A stream was waited for")

    def record(self, event: Event | None = None) -> Event:
        if event is None:
            event = Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        _queues.enqueue(self._queue, lambda: None, after=event._mark)


def _forget(queue: _queues.Queue) -> None:
    """As in CUDA, what is queued still runs."""
    with _queues.lock:
        if not queue.items:
            _queues.queues.pop(queue.ptr, None)


_null = Stream(null=True)
_threads = threading.local()


def _current_stack() -> list[Stream]:
    """Each thread of the host has a current stream."""
    if not hasattr(_threads, "streams"):
        _threads.streams = []
    stack: list[Stream] = _threads.streams
    return stack


def get_current_stream() -> Stream:
    stack = _current_stack()
    return stack[-1] if stack else _null
