"""Records by id and by name."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Set
from typing import Generic, Protocol, TypeVar, get_args

import msgspec

from engine.errors import NotFound
from engine.jobs.job import FINISHED, Job
from engine.jobs.journal import Journal
from engine.names import DeviceKind, State

_UNFINISHED = tuple(state for state in get_args(State) if state not in FINISHED)
# Finished jobs that stay in memory, for those who look at them next.
_FINISHED_KEPT = 1000


# The smallest comes first.
_Place = tuple[int, str]


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...


Record = TypeVar("Record", bound=_Named)


class Collection(Generic[Record]):
    """Records of one kind by id, and by name: a name stands for the newest record that has it.

    Records are immutable and swapped whole; reading takes no lock.
    """

    def __init__(self, kind: str, type_: type[Record], journal: Journal) -> None:
        self.kind = kind
        self._journal = journal
        self._decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(type_)
        self._by_id: dict[str, Record] = {}
        self._ids_by_name: dict[str, tuple[str, ...]] = {}

    def load(self) -> None:
        """Take over what the journal has, in place of what is here, which others may be reading. Raises StorageFailed,
        and then nothing has changed."""
        found = [self._decoder.decode(body) for body in self._journal.bodies(self.kind, ("",))]
        names: dict[str, tuple[str, ...]] = {}
        for record in found:
            if record.name is not None:
                names[record.name] = (*names.get(record.name, ()), record.id)
        self._by_id, self._ids_by_name = {record.id: record for record in found}, names

    def state_of(self, record: Record) -> str:
        """By which the journal tells records apart."""
        return ""

    def __iter__(self) -> Iterator[Record]:
        """Oldest first."""
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, reference: str) -> Record:
        """By id or name. Raises NotFound."""
        found = self.look(reference)
        if found is None:
            raise NotFound.of(self.kind, reference)
        return found

    def look(self, reference: str) -> Record | None:
        """By id or name; None if there is none."""
        named = self._ids_by_name.get(reference, ())
        return self.peek(named[-1] if named else reference)

    def get(self, id: str) -> Record:
        """By id alone. Raises NotFound."""
        record = self.peek(id)
        if record is None:
            raise NotFound.of(self.kind, id)
        return record

    def peek(self, id: str) -> Record | None:
        """By id alone; None if it is gone."""
        return self._by_id.get(id)

    def page(self, after: str | None, limit: int, states: Set[str] = frozenset()) -> tuple[list[Record], bool]:
        """Up to `limit` records, newest first, that are older than the record `after`; and whether there are more. If
        any `states` are given, of those in them alone."""
        found = [self._decoder.decode(body) for body in self._journal.page(self.kind, after, limit + 1, states)]
        return found[:limit], len(found) > limit

    def publish(self, record: Record) -> None:
        before = self._by_id.get(record.id)
        self._by_id[record.id] = record
        if before is None or before.name != record.name:
            self._name(record.id, record.name, None if before is None else before.name)

    def withdraw(self, record: Record) -> None:
        self._name(record.id, None, self._by_id[record.id].name)
        del self._by_id[record.id]

    def _name(self, id: str, name: str | None, before: str | None) -> None:
        """Let a record be found by its name, and no more by the one it had."""
        if name is not None:
            # Ids sort by time, and the newest one that is renamed may not be the newest of its new name.
            self._ids_by_name[name] = tuple(sorted((*self._ids_by_name.get(name, ()), id)))
        if before is not None:
            self._ids_by_name[before] = tuple(other for other in self._ids_by_name[before] if other != id)


class Jobs(Collection[Job]):
    """Those that are not finished are in memory. Of the others only the journal knows, but for the last ones that were
    asked for, so that memory does not grow with the past. Iterating is over the former, oldest first."""

    def __init__(self, journal: Journal, lock: threading.RLock) -> None:
        """`lock`: held by whoever publishes or withdraws."""
        super().__init__("job", Job, journal)
        self._lock = lock
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._queues: dict[DeviceKind, tuple[_Place, ...]] = {}

    def load(self) -> None:
        found = [self._decoder.decode(body) for body in self._journal.bodies(self.kind, _UNFINISHED)]
        self._by_id, self._queues = {job.id: job for job in found}, {}
        self._finished.clear()

    def state_of(self, record: Job) -> str:
        return record.state

    def at_hand(self, id: str) -> Job | None:
        """By id, where that needs no look into the journal."""
        return self._by_id.get(id) or self._finished.get(id)

    def look(self, reference: str) -> Job | None:
        return self.at_hand(reference) or self.peek(self._journal.newest_named(self.kind, reference) or reference)

    def peek(self, id: str) -> Job | None:
        found = self.at_hand(id)
        if found is not None:
            return found
        with self._lock:  # else a job deleted meanwhile would come back
            body = self._journal.body(self.kind, id)
            found = None if body is None else self._decoder.decode(body)
            if found is not None and found.finished:
                self._keep(found)
            return found

    def publish(self, record: Job) -> None:
        before = self._by_id.get(record.id)
        if record.finished:
            self._keep(record)
            self._by_id.pop(record.id, None)
        else:
            self._by_id[record.id] = record
        if before is None or _waiting(before) != _waiting(record):
            self._queues = {}  # last: a reader that began before keeps what it finds in the old one

    def withdraw(self, record: Job) -> None:
        self._finished.pop(record.id, None)

    def _keep(self, job: Job) -> None:
        self._finished[job.id] = job
        while len(self._finished) > _FINISHED_KEPT:
            self._finished.popitem(last=False)

    def count(self) -> dict[str, int]:
        """How many there are in each state, the finished ones too."""
        return self._journal.count(self.kind)

    def unfinished_before(self, job: Job) -> tuple[str, ...]:
        """Ids of the jobs that `job` still waits for."""
        return tuple(id for id in job.after if id in self._by_id)

    def queue(self, kind: DeviceKind) -> tuple[str, ...]:
        """Ids of the jobs that wait for nothing but a slot of this kind, the next one first: the highest priority, and
        of one priority the oldest. Ids sort by time; a job that was interrupted keeps its place."""
        return tuple(id for _, id in self._queue(kind))

    def position(self, job: Job) -> int | None:
        """How many are before it in its queue, which it may only be about to enter; None if it waits for no slot, or
        for other jobs first."""
        if job.state != "queued" or self.unfinished_before(job):
            return None
        return bisect_left(self._queue(job.device_kind), _place(job))

    def _queue(self, kind: DeviceKind) -> tuple[_Place, ...]:
        queues = self._queues  # another one as soon as what follows may be out of date
        if kind not in queues:
            waiting = [
                _place(job)
                for job in self
                if job.state == "queued" and job.device_kind == kind and not self.unfinished_before(job)
            ]
            queues[kind] = tuple(sorted(waiting))
        return queues[kind]


def _place(job: Job) -> _Place:
    return -job.priority, job.id


def _waiting(job: Job) -> tuple[object, ...]:
    """What decides whether, where and when a job waits."""
    return job.state, job.device_kind, job.priority
