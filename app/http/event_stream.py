"""Server-Sent Events about jobs, for any number of subscribers.

Each event is encoded once for all subscribers. They are woken together, at an interval that grows with their number, so
that a thousand of them take a few hundredths of a core. No subscriber has its own queue: it asks for the events after
the last one that it has sent, which are in memory if they are recent, and otherwise in the journal.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from nabla.app.schemas.jobs import TRANSIENT_FIELDS, JobView
from nabla.engine.records.job import Job
from nabla.engine.storage.journal import JournalEntry
from nabla.engine.storage.registry import Registry, decode_event

Key = TypeVar("Key")
# Encoded events of one stream, and the number of the last event they cover.
_Batch = tuple[bytes, int]

# A worker handles a request between two steps, and may have to write a checkpoint for it.
_SETTLE_TIMEOUT = 10.0
_HEARTBEAT_INTERVAL = 15.0
_BATCH_EVENTS = 500
_RECENT_EVENTS = 4096
_MAX_CACHED_BATCHES = 64
# Subscribers are woken at this interval, plus the second value for each subscriber.
_WAKE_INTERVAL = 0.02
_WAKE_INTERVAL_PER_SUBSCRIBER = 0.001
# Sampled streams share their sampling times, so that all of them share an encoded batch.
_SAMPLE_INTERVAL = 0.25


class Signals(Generic[Key]):
    """One asyncio event for each key, replaced whenever it fires.

    Only the coroutines that wait for an event keep it alive, so keys without waiters take no memory.
    """

    def __init__(self) -> None:
        self._events: WeakValueDictionary[Key, asyncio.Event] = WeakValueDictionary()
        self.closed = False

    def next_event(self, key: Key) -> asyncio.Event:
        """Return the event that the next `notify` sets. Call it before checking the state, to miss no change."""
        event = self._events.setdefault(key, asyncio.Event())
        if self.closed:
            event.set()
        return event

    def notify(self, key: Key) -> None:
        """Set the event of a key."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()

    def notify_all(self) -> None:
        """Set the events of all keys."""
        for key in tuple(self._events):
            self.notify(key)

    def close(self) -> None:
        """Set all events, and from now on every new one."""
        self.closed = True
        self.notify_all()


class JobChanges(Signals[str]):
    """Signals changes of jobs, by their ids."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def publish(self, job: Job) -> None:
        """Signal that a job changed. Thread-safe."""
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self.notify, job.id)

    async def wait_until_settled(self, job_id: str, is_pending: Callable[[str], bool]) -> None:
        """Wait until nothing is pending for a job, at most 10 seconds, or until the service shuts down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_TIMEOUT):
                while not self.closed:
                    changed = self.next_event(job_id)
                    if not is_pending(job_id):
                        return
                    await changed.wait()


class EventBroadcaster:
    """Broadcasts job events to any number of streams.

    `publish` and `reset` are thread-safe; everything else runs on the event loop.

    Args:
        registry: Registry with the journal of events.
        loop: Event loop of the streams.
        last: Number of the last event so far.
        job_changes: Signals each published change to waiting requests.
    """

    def __init__(self, registry: Registry, loop: asyncio.AbstractEventLoop, last: int, job_changes: JobChanges) -> None:
        self._registry = registry
        self._loop = loop
        self._job_changes = job_changes
        self._recent: deque[JournalEntry] = deque(maxlen=_RECENT_EVENTS)
        # All events with numbers above `_floor` are in `_recent`.
        self._floor = self._last = last
        self._batches: OrderedDict[tuple[str | None, int], _Batch] = OrderedDict()
        # Keys are ids of jobs, and None for any job.
        self._signals: Signals[str | None] = Signals()
        self._changed: set[str | None] = set()
        self._subscribers = 0
        self._woken_at = 0.0
        # Batches of the current sampling time, by the last event that a sampled stream has sent.
        self._sample_number = 0
        self._samples: dict[int, _Batch] = {}

    def publish(self, job: Job, entries: Sequence[JournalEntry]) -> None:
        """Signal that a job changed, and add its new events, in the order of the journal. Thread-safe."""
        self._job_changes.publish(job)
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._add, entries)

    def _add(self, entries: Sequence[JournalEntry]) -> None:
        if not entries:
            return
        dropped = len(self._recent) + len(entries) - _RECENT_EVENTS
        if dropped > 0:
            self._floor = next(islice(chain(self._recent, entries), dropped - 1, None)).number
        self._recent.extend(entries)
        self._last = entries[-1].number
        self._batches = OrderedDict()
        if not self._subscribers:
            return
        if not self._changed:
            due = self._woken_at + self._wake_interval() - time.monotonic()
            self._loop.call_later(max(0.0, due), self._wake)
        self._changed |= {entry.job_id for entry in entries} | {None}

    def _wake_interval(self) -> float:
        return _WAKE_INTERVAL + self._subscribers * _WAKE_INTERVAL_PER_SUBSCRIBER

    def _wake(self) -> None:
        self._woken_at = time.monotonic()
        for job_id in self._changed:
            self._signals.notify(job_id)
        self._changed = set()

    def reset(self, last: int) -> None:
        """Continue after the event `last` of a reopened journal, which may have unpublished events. Thread-safe."""
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._reset, last)

    def _reset(self, last: int) -> None:
        self._recent.clear()
        self._batches = OrderedDict()
        self._floor = self._last = last
        self._signals.notify_all()

    def discard_job(self, job_id: str) -> None:
        """Drop the recent events of a deleted job."""
        self._recent = deque((entry for entry in self._recent if entry.job_id != job_id), maxlen=_RECENT_EVENTS)
        self._batches = OrderedDict()

    def close(self) -> None:
        """End all streams."""
        self._signals.close()

    async def follow(self, job_id: str | None, after: int | None) -> AsyncIterator[bytes]:
        """Stream the events of a job until it finishes, or of all jobs until the service shuts down.

        Args:
            job_id: The job, or None for all jobs.
            after: Start after the event with this number; None starts with the next event. A number that does not
                exist yet stems from another data directory: then the stream starts with the job's first event, or with
                the next event of all jobs.
        """
        if after is not None and after > self._last and after > await run_in_threadpool(self._registry.last_event):
            after = None if job_id is None else 0
        last = self._last if after is None else after
        self._subscribers += 1
        try:
            yield KEEPALIVE_COMMENT  # tells the client that the stream is open
            while not self._signals.closed:
                signal = self._signals.next_event(job_id)
                content, last = await self._batch(job_id, last)
                if not content and job_id is not None and await self._is_finished(job_id):
                    # The registry has a job's last state before its event is published; the journal has the event.
                    content, last = await self._read_journal(job_id, last)
                    if not content:
                        return
                if content:
                    yield content
                    await asyncio.sleep(self._wake_interval() - _WAKE_INTERVAL)
                elif not await _is_set_within(signal, _HEARTBEAT_INTERVAL):
                    yield KEEPALIVE_COMMENT
        finally:
            self._subscribers -= 1

    async def follow_sampled(self) -> AsyncIterator[bytes]:
        """Stream future events of all jobs, at most four times a second and with only the last epoch of each job.

        The cost does not depend on how fast jobs train, as suits a dashboard.
        """
        last = self._last
        self._subscribers += 1
        try:
            yield KEEPALIVE_COMMENT
            while not self._signals.closed:
                signal = self._signals.next_event(None)
                if last >= self._last:
                    if not await _is_set_within(signal, _HEARTBEAT_INTERVAL):
                        yield KEEPALIVE_COMMENT
                    continue
                await asyncio.sleep(_SAMPLE_INTERVAL - self._loop.time() % _SAMPLE_INTERVAL)
                content, last = await self._sample(last)
                yield content
        finally:
            self._subscribers -= 1

    async def _sample(self, last: int) -> _Batch:
        """Return the batch of the current sampling time after the event `last`."""
        number = int(self._loop.time() / _SAMPLE_INTERVAL)
        if number != self._sample_number:
            self._sample_number, self._samples = number, {}
        samples = self._samples
        if last not in samples:
            if last >= self._floor:
                entries: Sequence[JournalEntry] = [entry for entry in self._recent if entry.number > last]
            else:
                entries = await run_in_threadpool(self._registry.events, None, last, _RECENT_EVENTS)
            samples[last] = _encode_batch(_drop_earlier_epochs(entries), last)
        return samples[last]

    async def _is_finished(self, job_id: str) -> bool:
        jobs = self._registry.jobs
        job = jobs.get_cached(job_id) or await run_in_threadpool(jobs.get_or_none, job_id)
        return job is None or job.finished

    async def _batch(self, job_id: str | None, last: int) -> _Batch:
        """Return the next batch after the event `last`."""
        batches = self._batches  # `_add` replaces it, so a batch read before new events is not cached for later
        cached = batches.get((job_id, last))
        if cached is not None:
            return cached
        if last >= self._floor:
            entries = (entry for entry in self._recent if entry.number > last and job_id in (None, entry.job_id))
            batch = _encode_batch(list(islice(entries, _BATCH_EVENTS)), last)
        else:
            batch = await self._read_journal(job_id, last)
        batches[job_id, last] = batch
        while len(batches) > _MAX_CACHED_BATCHES:
            batches.popitem(last=False)
        return batch

    async def _read_journal(self, job_id: str | None, last: int) -> _Batch:
        return _encode_batch(await run_in_threadpool(self._registry.events, job_id, last, _BATCH_EVENTS), last)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _drop_earlier_epochs(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    last = {entry.job_id: entry.number for entry in entries if entry.is_epoch}
    return [entry for entry in entries if not entry.is_epoch or entry.number == last[entry.job_id]]


def _encode_batch(entries: Sequence[JournalEntry], last: int) -> _Batch:
    return b"".join(map(_encode_event, entries)), entries[-1].number if entries else last


def _encode_event(entry: JournalEntry) -> bytes:
    if entry.is_epoch:
        # The record has the fields of EpochView in JSON; parsing it only to add the id of the job would be slow.
        data = f'{{"job_id":"{entry.job_id}",{entry.body[1:].decode()}'
        return format_sse_event(event="epoch", id=str(entry.number), data_str=data)
    job = decode_event(entry)
    assert isinstance(job, Job)
    data = JobView.of(job).model_dump_json(exclude=TRANSIENT_FIELDS)
    return format_sse_event(event="state", id=str(entry.number), data_str=data)
