"""Waking those who wait, in the event loop, for a job to change."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from engine.jobs.job import Job

Key = TypeVar("Key")

# A worker does what it is asked between two steps, and may write a file before it is done.
_SECONDS_TO_SETTLE = 10.0


class Waiters(Generic[Key]):
    """Those who wait for the same share one asyncio event, which is replaced each time it has fired.

    Only they keep it alive, so that nothing is left of what nobody waits for.
    """

    def __init__(self) -> None:
        self._next: WeakValueDictionary[Key, asyncio.Event] = WeakValueDictionary()
        self.closed = False

    def next_of(self, key: Key) -> asyncio.Event:
        """Set the next time. Ask for it before you look at what you wait for, so that no change is missed."""
        event = self._next.setdefault(key, asyncio.Event())
        if self.closed:
            event.set()
        return event

    def wake(self, key: Key) -> None:
        event = self._next.pop(key, None)
        if event is not None:
            event.set()

    def close(self) -> None:
        """Wake everybody for the last time: the service ends."""
        self.closed = True
        self.wake_all()

    def wake_all(self) -> None:
        for key in tuple(self._next):
            self.wake(key)


class Changes(Waiters[str]):
    """Of jobs, by their ids."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    async def settled(self, job_id: str, is_wished: Callable[[str], bool]) -> None:
        """Wait until what was asked of a job has happened, or could not any more; for 10 seconds at most, or until the
        service ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_SETTLE):
                while not self.closed:
                    changed = self.next_of(job_id)
                    if not is_wished(job_id):
                        return
                    await changed.wait()

    def announce(self, job: Job) -> None:
        """A job changed. May be called from any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self.wake, job.id)
