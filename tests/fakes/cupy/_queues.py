"""Streams as queues of operations that run only when the host waits for them.

On a GPU an operation runs at some time between its call and the next wait. Here it runs as late as possible, so that
reading a result or overwriting a buffer without waiting fails every time. With NABLA_FAKE_CUPY_EAGER=1 it runs as
early as possible, so that filling a buffer after its copy was queued fails every time too.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Operation = Callable[[], object]

EAGER = os.environ.get("NABLA_FAKE_CUPY_EAGER") == "1"
# As on a GPU, queues are finite: an operation beyond this number makes the oldest one run.
MAX_QUEUED = 1024

# Held while an operation is queued or runs: threads of the host take turns.
lock = threading.RLock()


@dataclass(frozen=True)
class Marker:
    """A position in a queue: after its first `count` operations."""

    queue: "Queue"
    count: int

    @property
    def is_reached(self) -> bool:
        return self.queue.done >= self.count


@dataclass(eq=False)
class Queue:
    """The operations of a stream. A blocking stream synchronizes with the null stream."""

    ptr: int
    blocking: bool
    enqueued: int = 0
    done: int = 0
    errors: list[Exception] = field(default_factory=list)
    pending: deque[tuple[Operation, list[Marker]]] = field(default_factory=deque)

    def mark(self) -> Marker:
        return Marker(self, self.enqueued)


NULL = Queue(0, blocking=True)
queues: dict[int, Queue] = {0: NULL}
_deferred: list[tuple[list[Marker], Operation]] = []


class _Nesting:
    """Depth of running operations: one may first run others that it depends on."""

    depth = 0


def enqueue(queue: Queue, operation: Operation, after: Marker | None = None) -> None:
    with lock:
        dependencies = [after] if after else []
        if queue is NULL:
            dependencies += [other.mark() for other in queues.values() if other.blocking and other is not NULL]
        elif queue.blocking:
            dependencies.append(NULL.mark())
        queue.pending.append((operation, [marker for marker in dependencies if not marker.is_reached]))
        queue.enqueued += 1
        if EAGER:
            _run_eagerly(queue)
        elif len(queue.pending) > MAX_QUEUED:
            run_next(queue)


def run(until: Marker) -> None:
    while not until.is_reached:
        run_next(until.queue)
    if until.queue.errors:
        raise until.queue.errors.pop(0)


def _run_eagerly(queue: Queue) -> None:
    """Run the oldest operation; as on a GPU, its error is raised when the host waits."""
    try:
        run_next(queue)
    except Exception as error:  # noqa: BLE001  # raised by `run`
        queue.errors.append(error)


def run_next(queue: Queue) -> None:
    """Run the oldest operation of a queue, after its dependencies."""
    with lock:
        if not queue.pending:
            return
        operation, dependencies = queue.pending.popleft()
        _Nesting.depth += 1
        try:
            for marker in dependencies:
                run(marker)
            operation()
        finally:
            queue.done += 1
            _Nesting.depth -= 1
        if not _Nesting.depth:
            _run_deferred()


def run_all() -> None:
    with lock:
        for queue in list(queues.values()):
            run(queue.mark())


def when_idle(operation: Operation) -> None:
    """Run an operation once everything that is queued by now has run."""
    with lock:
        _deferred.append(([queue.mark() for queue in queues.values()], operation))
        if not _Nesting.depth:
            _run_deferred()


def _run_deferred() -> None:
    while _deferred and all(marker.is_reached for marker in _deferred[0][0]):
        _deferred.pop(0)[1]()
