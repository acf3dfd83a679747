"""Streams as queues of operations of which none runs until somebody waits for it.

On a GPU an operation runs at some time between its call and the next wait. Here it runs as late as that allows, so
that reading a result or overwriting a buffer without having waited goes wrong every time; with NABLA_STANDIN_EARLY=1
it runs at once, so that a buffer filled only after its copy was asked for goes wrong as well.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Work = Callable[[], object]

EARLY = os.environ.get("NABLA_STANDIN_EARLY") == "1"
# As on a GPU, of which the queues are not endless: what is queued beyond waits for the oldest to run.
DEEPEST = 1024

# Held while anything is queued or runs: threads of the host take turns.
lock = threading.RLock()


@dataclass(frozen=True)
class Mark:
    """The first `count` operations of a queue."""

    queue: "Queue"
    count: int

    @property
    def reached(self) -> bool:
        return self.queue.done >= self.count


@dataclass(eq=False)
class Queue:
    ptr: int
    # A blocking stream takes turns with the null stream.
    blocking: bool
    enqueued: int = 0
    done: int = 0
    failures: list[Exception] = field(default_factory=list)
    items: deque[tuple[Work, list[Mark]]] = field(default_factory=deque)

    def mark(self) -> Mark:
        return Mark(self, self.enqueued)


NULL = Queue(0, blocking=True)
queues: dict[int, Queue] = {0: NULL}
_afterwards: list[tuple[list[Mark], Work]] = []


class _Depth:
    """How many operations have begun and not ended: one may have to wait for others."""

    running = 0


def enqueue(queue: Queue, work: Work, after: Mark | None = None) -> None:
    with lock:
        needs = [after] if after else []
        if queue is NULL:
            needs += [other.mark() for other in queues.values() if other.blocking and other is not NULL]
        elif queue.blocking:
            needs.append(NULL.mark())
        queue.items.append((work, [mark for mark in needs if not mark.reached]))
        queue.enqueued += 1
        if EARLY:
            _run_early(queue)
        elif len(queue.items) > DEEPEST:
            run_one(queue)


def run(until: Mark) -> None:
    while not until.reached:
        run_one(until.queue)
    if until.queue.failures:
        raise until.queue.failures.pop(0)


def _run_early(queue: Queue) -> None:
    """As on a GPU, what goes wrong is told where somebody waits."""
    try:
        run_one(queue)
    except Exception as failure:  # noqa: BLE001  # it is raised there
        queue.failures.append(failure)


def run_one(queue: Queue) -> None:
    """The oldest operation of a queue, and first what it must come after."""
    with lock:
        if not queue.items:
            return
        work, needs = queue.items.popleft()
        _Depth.running += 1
        try:
            for mark in needs:
                run(mark)
            work()
        finally:
            queue.done += 1
            _Depth.running -= 1
        if not _Depth.running:
            _settle()


def run_all() -> None:
    with lock:
        for queue in list(queues.values()):
            run(queue.mark())


def when_idle(work: Work) -> None:
    """Runs `work` once all that is queued by now has run."""
    with lock:
        _afterwards.append(([queue.mark() for queue in queues.values()], work))
        if not _Depth.running:
            _settle()


def _settle() -> None:
    while _afterwards and all(mark.reached for mark in _afterwards[0][0]):
        _afterwards.pop(0)[1]()
