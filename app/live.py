"""Waking those who wait for a job to change: from the thread where it changed to the event loop."""

import asyncio
from contextlib import suppress
from weakref import WeakValueDictionary

from engine.jobs.job import Job


class Changes:
    """Listeners of a job share one asyncio event, which is replaced each time it has fired.

    Only the listeners keep an event alive, so that nothing is left of a job that nobody listens to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._next: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self.closed = False

    def announce(self, job: Job) -> None:
        """A job changed. May be called from any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._fire, job.id)

    def _fire(self, job_id: str) -> None:
        event = self._next.pop(job_id, None)
        if event is not None:
            event.set()

    def next_of(self, job_id: str) -> asyncio.Event:
        """Set at the next change of a job. Ask for it before you look at the job, so that no change is missed."""
        event = self._next.setdefault(job_id, asyncio.Event())
        if self.closed:
            event.set()
        return event

    def close(self) -> None:
        """Wake everybody for the last time: the service ends."""
        self.closed = True
        for job_id in tuple(self._next):
            self._fire(job_id)
