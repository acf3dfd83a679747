"""Server-Sent Events: what happens to jobs, for any number of readers.

An event is made into bytes once, for all readers together. They are woken together too, the more seldom the more there
are, so that a thousand of them take a few hundredths of a core. What a reader has not taken yet is never kept for it:
it asks for what comes after the last event that it had, which is in memory if it is recent, and else in the journal.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from starlette.concurrency import run_in_threadpool

from nabla.app.schemas.jobs import OF_THE_MOMENT, JobView
from nabla.engine.records.job import Job
from nabla.engine.storage.journal import Entry
from nabla.engine.storage.registry import Registry, read

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


HEARTBEAT_SECONDS = 15.0
# At once, so that a reader knows that it is heard; and when nothing happens for long.
_GREETING, _HEARTBEAT = b": following\n\n", b": nothing new\n\n"
_EVENTS_AT_ONCE = 500
_RECENT = 4096
_BATCHES_KEPT = 64
# Readers are woken this long after the time before, and so much later for each of them.
_SECONDS_BETWEEN_WAKES = 0.02
_SECONDS_PER_READER = 0.001
# Displays are told at the same moments, so that what they are told is made for all of them together.
_SECONDS_BETWEEN_DISPLAYS = 0.25

# One stream's events as bytes, and the number of the last.
_Batch = tuple[bytes, int]


class Streams:
    """`announce` and `start_anew` may be called from any thread; everything else from the event loop's."""

    def __init__(self, registry: Registry, loop: asyncio.AbstractEventLoop, last: int) -> None:
        """`last`: the number of the last event that there has been."""
        self._registry = registry
        self._loop = loop
        self._recent: deque[Entry] = deque(maxlen=_RECENT)
        # The events with higher numbers are all in `_recent`.
        self._floor = self._last = last
        self._batches: OrderedDict[tuple[str | None, int], _Batch] = OrderedDict()
        # For the next event of a job, or (None) of any.
        self._waiters: Waiters[str | None] = Waiters()
        self._changed: set[str | None] = set()
        self._readers = 0
        self._woken_at = 0.0
        # What displays are told at this moment, by the event that they had before.
        self._moment = 0
        self._shown: dict[int, _Batch] = {}

    def announce(self, entries: Sequence[Entry]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._note, entries)

    def _note(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        dropped = len(self._recent) + len(entries) - _RECENT
        if dropped > 0:
            of_both = chain(self._recent, entries)
            self._floor = next(islice(of_both, dropped - 1, None)).number
        self._recent.extend(entries)
        self._last = entries[-1].number
        self._batches = OrderedDict()
        if not self._readers:  # who comes next looks at what there is first
            return
        if not self._changed:
            due = self._woken_at + self._pace() - time.monotonic()
            self._loop.call_later(max(0.0, due), self._wake)
        self._changed |= {entry.job_id for entry in entries} | {None}

    def _pace(self) -> float:
        return _SECONDS_BETWEEN_WAKES + self._readers * _SECONDS_PER_READER

    def _wake(self) -> None:
        self._woken_at = time.monotonic()
        for job_id in self._changed:
            self._waiters.wake(job_id)
        self._changed = set()

    def start_anew(self, last: int) -> None:
        """The journal was opened anew, and `last` is the last event that it has: some may not have been announced."""
        with suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._begin_after, last)

    def _begin_after(self, last: int) -> None:
        self._recent.clear()
        self._batches = OrderedDict()
        self._floor = self._last = last
        self._waiters.wake_all()

    def forget(self, job_id: str) -> None:
        """A job was deleted."""
        self._recent = deque((entry for entry in self._recent if entry.job_id != job_id), maxlen=_RECENT)
        self._batches = OrderedDict()

    def close(self) -> None:
        """End all streams: the service ends."""
        self._waiters.close()

    async def follow(self, job_id: str | None, after: int | None) -> AsyncIterator[bytes]:
        """Events of a job until it has ended, or of all for ever: those above the number `after`, or from now on. A
        number that no event has had yet is one of another data folder: then a job's are all of them."""
        if after is not None and after > self._last and after > await run_in_threadpool(self._registry.last_event):
            after = None if job_id is None else 0
        last = self._last if after is None else after
        self._readers += 1
        try:
            yield _GREETING
            while not self._waiters.closed:
                woken = self._waiters.next_of(job_id)
                content, last = await self._batch(job_id, last)
                if not content and job_id is not None and await self._has_ended(job_id):
                    # Its end is known before it is announced; the journal has what is still missing.
                    content, last = await self._journaled(job_id, last)
                    if not content:
                        return
                if content:
                    yield content
                    await asyncio.sleep(self._pace() - _SECONDS_BETWEEN_WAKES)
                elif not await _set_within(woken, HEARTBEAT_SECONDS):
                    yield _HEARTBEAT
        finally:
            self._readers -= 1

    async def follow_latest(self) -> AsyncIterator[bytes]:
        """For displays: events of all jobs from now on, four times a second at most; and of the epochs that a job has
        finished since the time before, only the last. So it costs the same however fast jobs train."""
        last = self._last
        self._readers += 1
        try:
            yield _GREETING
            while not self._waiters.closed:
                woken = self._waiters.next_of(None)
                if last >= self._last:
                    if not await _set_within(woken, HEARTBEAT_SECONDS):
                        yield _HEARTBEAT
                    continue
                await asyncio.sleep(_SECONDS_BETWEEN_DISPLAYS - self._loop.time() % _SECONDS_BETWEEN_DISPLAYS)
                content, last = await self._latest(last)
                yield content
        finally:
            self._readers -= 1

    async def _latest(self, last: int) -> _Batch:
        """What displays are told that have had the event `last`."""
        moment = int(self._loop.time() / _SECONDS_BETWEEN_DISPLAYS)
        if moment != self._moment:
            self._moment, self._shown = moment, {}
        shown = self._shown
        if last not in shown:
            if last >= self._floor:
                entries: Sequence[Entry] = [entry for entry in self._recent if entry.number > last]
            else:
                entries = await run_in_threadpool(self._registry.events, None, last, _RECENT)
            shown[last] = _batch_of(_without_earlier_epochs(entries), last)
        return shown[last]

    async def _has_ended(self, job_id: str) -> bool:
        jobs = self._registry.jobs
        job = jobs.at_hand(job_id) or await run_in_threadpool(jobs.peek, job_id)
        return job is None or job.finished

    async def _batch(self, job_id: str | None, last: int) -> _Batch:
        """What comes after the event `last`."""
        batches = self._batches  # others as soon as there are new events: what is read meanwhile may lack them
        known = batches.get((job_id, last))
        if known is not None:
            return known
        if last >= self._floor:
            wanted = (entry for entry in self._recent if entry.number > last and job_id in (None, entry.job_id))
            batch = _batch_of(list(islice(wanted, _EVENTS_AT_ONCE)), last)
        else:
            batch = await self._journaled(job_id, last)
        batches[job_id, last] = batch
        while len(batches) > _BATCHES_KEPT:
            batches.popitem(last=False)
        return batch

    async def _journaled(self, job_id: str | None, last: int) -> _Batch:
        return _batch_of(await run_in_threadpool(self._registry.events, job_id, last, _EVENTS_AT_ONCE), last)


def _batch_of(entries: Sequence[Entry], last: int) -> _Batch:
    return b"".join(map(_as_bytes, entries)), entries[-1].number if entries else last


def _without_earlier_epochs(entries: Sequence[Entry]) -> list[Entry]:
    last = {entry.job_id: entry.number for entry in entries if entry.is_epoch}
    return [entry for entry in entries if not entry.is_epoch or entry.number == last[entry.job_id]]


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _as_bytes(entry: Entry) -> bytes:
    """One event. The journal's record of an epoch has the fields of `EpochView`; the job's id is put before them."""
    if entry.is_epoch:
        return b'event: epoch\nid: %d\ndata: {"job_id":"%s",%s\n\n' % (
            entry.number,
            entry.job_id.encode(),
            entry.body[1:],
        )
    job = read(entry)
    assert isinstance(job, Job)
    content = JobView.of(job).model_dump_json(exclude=OF_THE_MOMENT).encode()
    return b"event: state\nid: %d\ndata: %s\n\n" % (entry.number, content)
