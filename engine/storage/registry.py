"""The registry: all records, in memory. Each change is journaled, then published.

Reading takes no lock: records are immutable, and replaced as a whole.
"""

import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar, get_args

import msgspec

from nabla.engine.data.dataset import Dataset
from nabla.engine.errors import InvalidInput, NotFound
from nabla.engine.literals import DeviceKind, JobState
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import FINISHED, EpochsDone, Event, Interrupted, Job, apply
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.upload import Upload
from nabla.engine.storage.journal import Journal, JournalEntry
from nabla.engine.training.state import Epoch

_UNFINISHED = tuple(state for state in get_args(JobState) if state not in FINISHED)
# Finished jobs that stay in memory: the last ones that finished or were read.
_MAX_CACHED_JOBS = 1000
_IDEMPOTENCY_KEY_SECONDS = 24 * 3600
# The curves whose extremes a downsampled history keeps.
_COSTS = ("cost", "validation_cost")

# The smallest key is first in the queue.
_QueueKey = tuple[int, str]


class _NamedRecord(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...


Record = TypeVar("Record", bound=_NamedRecord)


@dataclass(frozen=True)
class IdempotencyKey:
    """The Idempotency-Key of a request that creates something.

    Attributes:
        key: The key.
        fingerprint: Digest of the request, to detect another request with the same key.
        status: HTTP status of the first response.
    """

    key: str
    fingerprint: str
    status: int


@dataclass(frozen=True)
class IdempotencyRecord:
    """A completed request, as the journal has it. `ids`: ids of what it created."""

    fingerprint: str
    status: int
    ids: tuple[str, ...]


class Collection(Generic[Record]):
    """All records of one kind, by id and by name. A name refers to the newest record that has it."""

    def __init__(self, kind: str, type_: type[Record], journal: Journal) -> None:
        self.kind = kind
        self._journal = journal
        self._decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(type_)
        self._by_id: dict[str, Record] = {}
        self._ids_by_name: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records, oldest first."""
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        """Return how many records are in memory."""
        return len(self._by_id)

    def get(self, id: str) -> Record:
        """Return a record by id. Raises NotFound."""
        record = self.get_or_none(id)
        if record is None:
            raise NotFound.of(self.kind, id)
        return record

    def get_or_none(self, id: str) -> Record | None:
        """Return a record by id, or None."""
        return self._by_id.get(id)

    def resolve(self, reference: str) -> Record:
        """Return a record by id or name. Raises NotFound."""
        record = self.resolve_or_none(reference)
        if record is None:
            raise NotFound.of(self.kind, reference)
        return record

    def resolve_or_none(self, reference: str) -> Record | None:
        """Return a record by id or name, or None."""
        ids = self._ids_by_name.get(reference, ())
        return self.get_or_none(ids[-1] if ids else reference)

    def page(self, after: str | None, limit: int, states: Set[str] = frozenset()) -> tuple[list[Record], bool]:
        """Return one page of a list, newest first.

        Args:
            after: Id of the last record of the previous page; None for the first page.
            limit: Maximum number of records.
            states: States of the records; empty for all.

        Returns:
            The records, and whether there are more.
        """
        records = [self._decoder.decode(body) for body in self._journal.page(self.kind, after, limit + 1, states)]
        return records[:limit], len(records) > limit

    def load(self) -> None:
        """Replace the content with that of the journal. Raises StorageFailed; then nothing has changed."""
        records = [self._decoder.decode(body) for body in self._journal.get_all(self.kind, ("",))]
        names: dict[str, tuple[str, ...]] = {}
        for record in records:
            if record.name is not None:
                names[record.name] = (*names.get(record.name, ()), record.id)
        self._by_id, self._ids_by_name = {record.id: record for record in records}, names

    def state_of(self, record: Record) -> str:
        """Return the state under which the journal lists a record."""
        return ""

    def publish(self, record: Record) -> None:
        """Insert or replace a record. The caller holds the registry's lock."""
        before = self._by_id.get(record.id)
        self._by_id[record.id] = record
        if before is None or before.name != record.name:
            self._rename(record.id, None if before is None else before.name, record.name)

    def withdraw(self, record: Record) -> None:
        """Delete a record. The caller holds the registry's lock."""
        self._rename(record.id, self._by_id[record.id].name, None)
        del self._by_id[record.id]

    def _rename(self, id: str, old: str | None, new: str | None) -> None:
        if new is not None:
            # Sorted: a renamed record may be older than others with its new name. Ids sort by time.
            self._ids_by_name[new] = tuple(sorted((*self._ids_by_name.get(new, ()), id)))
        if old is not None:
            self._ids_by_name[old] = tuple(other for other in self._ids_by_name[old] if other != id)


class JobCollection(Collection[Job]):
    """All jobs. Those that are not finished are in memory, and iteration is over these.

    Finished ones are read from the journal, and only the last of them cached, so that memory does not grow with time.
    """

    def __init__(self, journal: Journal, lock: threading.RLock) -> None:
        """Create the collection. `lock`: the registry's."""
        super().__init__("job", Job, journal)
        self._lock = lock
        self._cache: OrderedDict[str, Job] = OrderedDict()
        self._queues: dict[DeviceKind, tuple[_QueueKey, ...]] = {}

    def get_cached(self, id: str) -> Job | None:
        """Return a job by id if it is in memory, else None."""
        return self._by_id.get(id) or self._cache.get(id)

    def get_or_none(self, id: str) -> Job | None:
        """Return a job by id, or None."""
        cached = self.get_cached(id)
        if cached is not None:
            return cached
        with self._lock:  # otherwise a job that is deleted meanwhile would enter the cache
            body = self._journal.get(self.kind, id)
            job = None if body is None else self._decoder.decode(body)
            if job is not None and job.finished:
                self._add_to_cache(job)
            return job

    def resolve_or_none(self, reference: str) -> Job | None:
        """Return a job by id or name, or None."""
        return self.get_cached(reference) or self.get_or_none(
            self._journal.newest_id(self.kind, reference) or reference
        )

    def load(self) -> None:
        """Replace the content with that of the journal. Raises StorageFailed; then nothing has changed."""
        jobs = [self._decoder.decode(body) for body in self._journal.get_all(self.kind, _UNFINISHED)]
        self._by_id, self._queues = {job.id: job for job in jobs}, {}
        self._cache.clear()

    def state_of(self, record: Job) -> str:
        """Return the state of a job."""
        return record.state

    def publish(self, record: Job) -> None:
        """Insert or replace a job. The caller holds the registry's lock."""
        before = self._by_id.get(record.id)
        if record.finished:
            self._add_to_cache(record)
            self._by_id.pop(record.id, None)
        else:
            self._by_id[record.id] = record
        if before is None or _queue_state(before) != _queue_state(record):
            self._queues = {}  # last: a reader that computes one from older jobs adds it to the old dict

    def withdraw(self, record: Job) -> None:
        """Delete a finished job. The caller holds the registry's lock."""
        self._cache.pop(record.id, None)

    def count(self) -> dict[str, int]:
        """Return how many jobs there are in each state, finished ones too."""
        return self._journal.count_by_state(self.kind)

    def unfinished_dependencies(self, job: Job) -> tuple[str, ...]:
        """Return the ids of the jobs that a job still depends on."""
        return tuple(id for id in job.depends_on if id in self._by_id)

    def queue(self, kind: DeviceKind) -> tuple[str, ...]:
        """Return the ids of the jobs that need only a slot of this kind, the next one first.

        The order is by priority, then by age. A job that was interrupted keeps its place, since ids sort by time.
        """
        return tuple(id for _, id in self._queue(kind))

    def position(self, job: Job) -> int | None:
        """Return how many jobs are ahead of a job in its queue; None if it is not queued or depends on other jobs."""
        if job.state != "queued" or self.unfinished_dependencies(job):
            return None
        return bisect_left(self._queue(job.device_kind), _queue_key(job))

    def _add_to_cache(self, job: Job) -> None:
        self._cache[job.id] = job
        while len(self._cache) > _MAX_CACHED_JOBS:
            self._cache.popitem(last=False)

    def _queue(self, kind: DeviceKind) -> tuple[_QueueKey, ...]:
        queues = self._queues  # `publish` replaces the dict as soon as this queue may be out of date
        if kind not in queues:
            keys = [
                _queue_key(job)
                for job in self
                if job.state == "queued" and job.device_kind == kind and not self.unfinished_dependencies(job)
            ]
            queues[kind] = tuple(sorted(keys))
        return queues[kind]


def _queue_key(job: Job) -> _QueueKey:
    return -job.priority, job.id


def _queue_state(job: Job) -> tuple[object, ...]:
    """Return the fields that determine whether a job is queued, in which queue, and at which position."""
    return job.state, job.device_kind, job.priority


class Registry:
    """Networks, datasets, uploads, jobs and batch predictions.

    Attributes:
        lock: Held by every method that changes something, and by callers for changes that belong together.
        on_change: Called after each change of a job, in order, with the job and its new events.
        on_reopen: Called with the number of the last event after the journal was reopened: it may have more events
            than were reported.
    """

    def __init__(self, journal: Journal) -> None:
        """Load everything from the journal. Raises StorageFailed."""
        self.lock = threading.RLock()
        self.networks = Collection("network", NetworkRecord, journal)
        self.datasets = Collection("dataset", Dataset, journal)
        self.uploads = Collection("upload", Upload, journal)
        self.jobs = JobCollection(journal, self.lock)
        self.batch_predictions = Collection("batch-prediction", BatchPrediction, journal)
        self.on_change: Callable[[Job, Sequence[JournalEntry]], None] = lambda job, entries: None
        self.on_reopen: Callable[[int], None] = lambda last_event: None
        self._journal = journal
        self._load()

    def _load(self) -> None:
        for collection in (self.networks, self.datasets, self.uploads, self.jobs, self.batch_predictions):
            collection.load()

    @property
    def failed(self) -> bool:
        """Whether `recover` is needed before anything can be changed."""
        return self._journal.failed

    def recover(self) -> None:
        """Reopen the journal after it failed, and load its content. Raises StorageFailed."""
        with self.lock:
            self._journal.reopen()
            with self._journal.transaction():
                pass
            self._load()
            self.on_reopen(self.last_event())

    def add(
        self,
        collection: Collection[Record],
        record: Record,
        idempotency: IdempotencyKey | None = None,
        ids: tuple[str, ...] | None = None,
    ) -> None:
        """Add a new record.

        Args:
            collection: The collection of its kind.
            record: The record.
            idempotency: Key of the request, if it has one.
            ids: Ids to record with the key; by default that of the record.

        Raises:
            StorageFailed: It could not be journaled; nothing has changed.
        """
        entries = []
        with self.lock:
            with self._journal.transaction():
                self._put(collection, record)
                if isinstance(record, Job):
                    entries.append(self._journal.add_event(record.id, msgspec.json.encode(record)))
                self._add_key(idempotency, ids or (record.id,))
            collection.publish(record)
            if isinstance(record, Job):
                self.on_change(record, entries)

    def add_all(
        self, collection: Collection[Record], records: Sequence[Record], idempotency: IdempotencyKey | None = None
    ) -> None:
        """Add new records, all or none. Arguments and errors are those of `add`; the key is recorded with all ids."""
        with self.lock:
            with self._journal.transaction():
                for record in records:
                    self._put(collection, record)
                self._add_key(idempotency, tuple(record.id for record in records))
            for record in records:
                collection.publish(record)

    def change(
        self,
        collection: Collection[Record],
        record: Record,
        idempotency: IdempotencyKey | None = None,
        ids: tuple[str, ...] | None = None,
    ) -> None:
        """Replace a record. Arguments and errors are those of `add`."""
        with self.lock:
            with self._journal.transaction():
                self._put(collection, record)
                self._add_key(idempotency, ids or (record.id,))
            collection.publish(record)

    def promote_to_dataset(self, upload: Upload, dataset: Dataset) -> None:
        """Replace an upload with the dataset that it has become. Raises StorageFailed; then nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._journal.remove(self.uploads.kind, upload.id)
                self._put(self.datasets, dataset)
            self.datasets.publish(dataset)
            self.uploads.withdraw(upload)

    def remove(self, collection: Collection[Record], record: Record) -> None:
        """Delete a record, and the events of a job. Raises StorageFailed; then nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._journal.remove(collection.kind, record.id)
                self._journal.remove_events(record.id)
            collection.withdraw(record)

    def record(self, job_id: str, *events: Event, publishes: NetworkRecord | None = None) -> Job:
        """Apply events to a job, all or none.

        Args:
            job_id: The job.
            *events: The events, in order.
            publishes: Its network with a new version, to be published together with the events.

        Returns:
            The job after the events.

        Raises:
            Conflict: An event does not fit the state of the job.
            StorageFailed: They could not be journaled.
        """
        entries: list[JournalEntry] = []
        with self.lock:
            before = job = self.jobs.get(job_id)
            with self._journal.transaction():
                for event in events:
                    job = apply(job, event)
                    entries += self._write_history(job, event)
                self._put(self.jobs, job)
                if job.state != before.state:
                    entries.append(self._journal.add_event(job.id, msgspec.json.encode(job)))
                if publishes is not None:
                    self._put(self.networks, publishes)
            if publishes is not None:
                self.networks.publish(publishes)
            self.jobs.publish(job)
            self.on_change(job, entries)
        return job

    def idempotency_record(self, key: str, fingerprint: str) -> IdempotencyRecord | None:
        """Return the request that a key was used for in the last 24 hours, or None.

        Raises:
            InvalidInput: It was used for another request.
        """
        row = self._journal.idempotency_key(key, time.time() - _IDEMPOTENCY_KEY_SECONDS)
        if row is None:
            return None
        if row.fingerprint != fingerprint:
            raise InvalidInput(
                "Idempotency-Key",
                "This key was used for another request in the last 24 hours; use a new key for a new request.",
            )
        return IdempotencyRecord(row.fingerprint, row.status, msgspec.json.decode(row.ids, type=tuple[str, ...]))

    def history(self, job_id: str, after: int, limit: int) -> list[Epoch]:
        """Return epochs of a job after epoch `after`, oldest first."""
        return [_EPOCH_DECODER.decode(body) for body in self._journal.history(job_id, after, limit)]

    def downsampled_history(self, job_id: str, after: int, points: int) -> list[Epoch]:
        """Return at most `points` epochs, at least 6, that show the shape of the cost curves.

        These are the first, the last, and of equal parts in between those with the lowest and the highest cost, in
        training and in validation. The parts are read one by one, so that others can use the journal in between.
        """
        span = self._journal.history_range(job_id, after)
        if span is None or span[1] - span[0] < points:
            return self.history(job_id, after, points)
        first, count = span[0], span[1] - span[0] + 1
        edges = [epoch for number in span for epoch in self.history(job_id, number - 1, 1)]
        costs = [cost for cost in _COSTS if any(getattr(epoch, cost) is not None for epoch in edges)]
        parts = (points - 2) // (2 * max(1, len(costs)))
        selected = {epoch.epoch: epoch for epoch in edges}
        for number in range(parts):
            start, stop = (first + count * edge // parts for edge in (number, number + 1))
            part = self.history(job_id, start - 1, stop - start)
            for cost, extreme in product(costs, (min, max)):
                known = [epoch for epoch in part if getattr(epoch, cost) is not None]
                if known:  # the history may have been truncated meanwhile
                    epoch = extreme(known, key=attrgetter(cost))
                    selected[epoch.epoch] = epoch
        return [selected[number] for number in sorted(selected)]

    def events(self, job_id: str | None, after: int, limit: int) -> list[JournalEntry]:
        """Return events of a job, or for None of all jobs, with numbers above `after`, oldest first."""
        return self._journal.events(job_id, after, limit)

    def last_event(self) -> int:
        """Return the highest number that an event ever had."""
        return self._journal.last_event_number()

    def _put(self, collection: Collection[Any], record: Any) -> None:
        state = collection.state_of(record)
        self._journal.put(collection.kind, record.id, record.name, state, msgspec.json.encode(record))

    def _add_key(self, idempotency: IdempotencyKey | None, ids: tuple[str, ...]) -> None:
        if idempotency is None:
            return
        now = time.time()
        self._journal.remove_idempotency_keys(now - _IDEMPOTENCY_KEY_SECONDS)
        ids_json = msgspec.json.encode(ids).decode()
        self._journal.add_idempotency_key(idempotency.key, idempotency.fingerprint, now, idempotency.status, ids_json)

    def _write_history(self, job: Job, event: Event) -> Iterator[JournalEntry]:
        match event:
            case EpochsDone(epochs):
                for epoch in epochs:
                    yield self._journal.add_event(job.id, msgspec.json.encode(epoch), epoch.epoch)
            case Interrupted():
                self._journal.truncate_history(job.id, job.epoch)
            case _:
                pass


def decode_event(entry: JournalEntry) -> Epoch | Job:
    """Return the epoch of an event, or the job as it was after a change of its state."""
    return (_EPOCH_DECODER if entry.is_epoch else _JOB_DECODER).decode(entry.body)


_EPOCH_DECODER = msgspec.json.Decoder(Epoch)
_JOB_DECODER = msgspec.json.Decoder(Job)
