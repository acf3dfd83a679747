"""Collections of records in memory, by id and by name, and the queues of jobs."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Set
from typing import Generic, Protocol, TypeVar, get_args

import msgspec

from nabla.engine.errors import Conflict, NotFound
from nabla.engine.literals import DeviceKind, JobState
from nabla.engine.records.job import FINISHED, Job
from nabla.engine.storage.journal import Journal

_UNFINISHED = tuple(state for state in get_args(JobState) if state not in FINISHED)
# Finished jobs that stay in memory: the last ones that finished or were read.
_MAX_CACHED_JOBS = 1000
_MAX_IDS_SHOWN, _MAX_SHADOWS = 5, 20

# The smallest key is first in the queue.
_QueueKey = tuple[int, str]


class _NamedRecord(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...


Record = TypeVar("Record", bound=_NamedRecord)


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

    def resolve_single(self, reference: str) -> Record:
        """Return a record by id, or by a name that no other record has. Raises NotFound, and Conflict with the ids."""
        record = self.resolve(reference)
        check_single(self.kind, reference, self.ids_named(reference))
        return record

    def ids_named(self, name: str | None) -> tuple[str, ...]:
        """Return the ids of all records with a name, oldest first; none for None."""
        return self._ids_by_name.get(name or "", ())

    def shadowed_by(self, record: Record) -> tuple[str, ...]:
        """Return the ids of the older records with the name of a record: at most 20, the newest last."""
        return tuple(id for id in self.ids_named(record.name) if id < record.id)[-_MAX_SHADOWS:]

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
        cached = self.get_cached(reference)
        return self.get_or_none((self.ids_named(reference) or (reference,))[-1]) if cached is None else cached

    def ids_named(self, name: str | None) -> tuple[str, ...]:
        """Return the ids of all jobs with a name, oldest first; none for None."""
        return () if name is None else self._journal.ids_named(self.kind, name)

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


def check_single(kind: str, name: str, ids: tuple[str, ...]) -> None:
    """Raise Conflict if several records have a name. `ids`: their ids, oldest first."""
    if len(ids) > 1:
        shown = ", ".join(reversed(ids[-_MAX_IDS_SHOWN:]))
        raise Conflict(
            f"{len(ids)} {kind.replace('-', ' ')}s have the name {name!r}: {shown}. Give the id of one of them."
        )
