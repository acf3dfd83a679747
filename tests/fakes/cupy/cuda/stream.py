"""CuPy's streams and events, implemented by queues."""

import itertools
import threading
import weakref
from types import TracebackType
from typing import Self

from .. import _allocations, _queues, monitor

__all__ = ["Event", "Stream", "get_current_stream"]

_handles = itertools.count(0x7F0000000010, 0x10)


def wait_for(marker: _queues.Marker, description: str, is_event: bool = False) -> None:
    """Run a queue's operations up to a marker, as the host does by waiting."""
    monitor.count("synchronizations", description, is_event=is_event)
    _queues.run(marker)
    _allocations.check_guards()


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.ptr = next(_handles)
        # An event that was never recorded is done.
        self._marker = _queues.Marker(_queues.NULL, 0)

    @property
    def done(self) -> bool:
        """Whether the event has occurred. Every query makes the device run an operation, so that polling ends."""
        if not self._marker.is_reached:
            _queues.run_next(self._marker.queue)
        return self._marker.is_reached

    def record(self, stream: "Stream | None" = None) -> None:
        self._marker = (stream or get_current_stream())._queue.mark()

    def synchronize(self) -> None:
        wait_for(self._marker, "The host waited for an event", is_event=True)


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.null = null
        self._queue = _queues.NULL if null else _queues.Queue(next(_handles), blocking=not non_blocking)
        self.ptr = self._queue.ptr
        with _queues.lock:
            _queues.queues[self.ptr] = self._queue
        if not null:
            weakref.finalize(self, _remove, self._queue).atexit = False

    def __enter__(self) -> Self:
        _current_stack().append(self)
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current_stack().pop()

    @property
    def done(self) -> bool:
        if self._queue.pending:
            _queues.run_next(self._queue)
        return not self._queue.pending

    def synchronize(self) -> None:
        wait_for(self._queue.mark(), "The host waited for a stream")

    def record(self, event: Event | None = None) -> Event:
        if event is None:
            event = Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        _queues.enqueue(self._queue, lambda: None, after=event._marker)


def _remove(queue: _queues.Queue) -> None:
    """Remove the queue of a deleted stream, unless operations are pending: as in CUDA, they still run."""
    with _queues.lock:
        if not queue.pending:
            _queues.queues.pop(queue.ptr, None)


_null = Stream(null=True)
_thread_local = threading.local()


def _current_stack() -> list[Stream]:
    """Return the stack of this host thread's current streams."""
    if not hasattr(_thread_local, "streams"):
        _thread_local.streams = []
    stack: list[Stream] = _thread_local.streams
    return stack


def get_current_stream() -> Stream:
    stack = _current_stack()
    return stack[-1] if stack else _null
