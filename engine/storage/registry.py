"""The in-memory registry: the one truth that every request reads. Each change is journaled, then published."""

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
from nabla.engine.literals import DeviceKind, State
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import FINISHED, EpochsDone, Event, Interrupted, Job, apply
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.upload import Upload
from nabla.engine.storage.journal import Entry, Journal
from nabla.engine.training.state import Epoch

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
        return tuple(id for id in job.depends_on if id in self._by_id)

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


_SECONDS_ANSWERS_ARE_KEPT = 24 * 3600
# What a plot shows of an epoch.
_COSTS = ("cost", "validation_cost")


@dataclass
class Receipt:
    """That a request to create something was carried out. `render` makes its answer of the new record; the answer is
    journaled with the record, under `key`, and stands in `answer` then."""

    key: str
    fingerprint: str
    render: Callable[[Any], bytes]
    answer: bytes | None = None


class Registry:
    """Networks, datasets, jobs and batch predictions. Writers hold `lock`. `changed` hears, after the fact and in
    order, of every job that changed, and of the events that are in the journal now; `reopened` the number of the last
    event, when the journal may have more than was told."""

    def __init__(self, journal: Journal) -> None:
        self.lock = threading.RLock()
        self.networks = Collection("network", NetworkRecord, journal)
        self.datasets = Collection("dataset", Dataset, journal)
        self.uploads = Collection("upload", Upload, journal)
        self.jobs = Jobs(journal, self.lock)
        self.batches = Collection("batch-prediction", BatchPrediction, journal)
        self.changed: Callable[[Job, Sequence[Entry]], None] = lambda job, events: None
        self.reopened: Callable[[int], None] = lambda last_event: None
        self._journal = journal
        self._load()

    def _load(self) -> None:
        for collection in (self.networks, self.datasets, self.uploads, self.jobs, self.batches):
            collection.load()

    @property
    def failed(self) -> bool:
        """Whether the journal has to be opened anew before anything can be recorded."""
        return self._journal.failed

    def recover(self) -> None:
        """Open the journal anew after it failed, and go by what it has. Raises StorageFailed."""
        with self.lock:
            self._journal.reopen()
            with self._journal.transaction():
                pass
            self._load()
            self.reopened(self.last_event())

    def add(self, collection: Collection[Record], record: Record, receipt: Receipt | None = None) -> None:
        """Make a new record known. Raises StorageFailed, and then nothing has changed."""
        happened = []
        with self.lock:
            with self._journal.transaction():
                self._put(collection, record)
                if isinstance(record, Job):
                    happened.append(self._journal.add_event(record.id, msgspec.json.encode(record)))
                self._keep(receipt, record)
            collection.publish(record)
            if isinstance(record, Job):
                self.changed(record, happened)

    def add_all(
        self, collection: Collection[Record], records: Sequence[Record], receipt: Receipt | None, about: Any
    ) -> None:
        """Make new records known, all or none. `about`: what the receipt is rendered from. Raises StorageFailed."""
        with self.lock:
            with self._journal.transaction():
                for record in records:
                    self._put(collection, record)
                self._keep(receipt, about)
            for record in records:
                collection.publish(record)

    def _keep(self, receipt: Receipt | None, record: Any) -> None:
        if receipt is None:
            return
        now = time.time()
        self._journal.forget_answers(now - _SECONDS_ANSWERS_ARE_KEPT)
        receipt.answer = receipt.render(record)
        self._journal.keep_answer(receipt.key, receipt.fingerprint, now, receipt.answer)

    def answer(self, key: str, fingerprint: str) -> bytes | None:
        """What was answered under this key in the last 24 hours. Raises InvalidInput if that was to another request."""
        found = self._journal.answer(key, time.time() - _SECONDS_ANSWERS_ARE_KEPT)
        if found is None:
            return None
        if found[0] != fingerprint:
            raise InvalidInput(
                "Idempotency-Key",
                "In the last 24 hours this key was used for another request; a new request needs a new key.",
            )
        return found[1]

    def change(
        self, collection: Collection[Record], record: Record, receipt: Receipt | None = None, about: Any = None
    ) -> None:
        """Publish a new state of a record. `about`: what the receipt is rendered from. Raises StorageFailed, and then
        nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._put(collection, record)
                self._keep(receipt, about)
            collection.publish(record)

    def become(self, upload: Upload, dataset: Dataset) -> None:
        """An upload is the dataset now. Raises StorageFailed, and then nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._journal.remove(self.uploads.kind, upload.id)
                self._put(self.datasets, dataset)
            self.datasets.publish(dataset)
            self.uploads.withdraw(upload)

    def remove(self, collection: Collection[Record], record: Record) -> None:
        """Forget a record, and the events of a job. Raises StorageFailed, and then nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._journal.remove(collection.kind, record.id)
                self._journal.remove_events(record.id)
            collection.withdraw(record)

    def record(self, job_id: str, *happened: Event, publishes: NetworkRecord | None = None) -> Job:
        """Let events happen to a job, all or none, and with them a network's new version.

        Raises Conflict if an event does not fit the job's state, StorageFailed if it cannot be written.
        """
        events: list[Entry] = []
        with self.lock:
            before = job = self.jobs.get(job_id)
            with self._journal.transaction():
                for event in happened:
                    job = apply(job, event)
                    events += self._write_history(job, event)
                self._put(self.jobs, job)
                if job.state != before.state:
                    events.append(self._journal.add_event(job.id, msgspec.json.encode(job)))
                if publishes is not None:
                    self._put(self.networks, publishes)
            if publishes is not None:
                self.networks.publish(publishes)
            self.jobs.publish(job)
            self.changed(job, events)
        return job

    def _write_history(self, job: Job, event: Event) -> Iterator[Entry]:
        match event:
            case EpochsDone(epochs):
                for epoch in epochs:
                    yield self._journal.add_event(job.id, msgspec.json.encode(epoch), epoch.epoch)
            case Interrupted():
                self._journal.cut_history(job.id, job.epoch)
            case _:
                pass

    def _put(self, collection: Collection[Any], record: Any) -> None:
        state = collection.state_of(record)
        self._journal.put(collection.kind, record.id, record.name, state, msgspec.json.encode(record))

    def history(self, job_id: str, after: int, limit: int) -> list[Epoch]:
        """Finished epochs of a job with numbers above `after`, oldest first."""
        return [_EPOCH.decode(body) for body in self._journal.history(job_id, after, limit)]

    def history_in_brief(self, job_id: str, after: int, points: int) -> list[Epoch]:
        """At most `points` of them, at least 6: the first, the last, and of each of the equal parts in between those
        with the lowest and the highest costs, of training and of validation. It is read part by part, so that others
        who need the journal get their turn."""
        span = self._journal.span(job_id, after)
        if span is None or span[1] - span[0] < points:
            return self.history(job_id, after, points)
        first, count = span[0], span[1] - span[0] + 1
        edges = [epoch for number in span for epoch in self.history(job_id, number - 1, 1)]
        costs = [cost for cost in _COSTS if any(getattr(epoch, cost) is not None for epoch in edges)]
        parts = (points - 2) // (2 * max(1, len(costs)))
        kept = {epoch.epoch: epoch for epoch in edges}
        for number in range(parts):
            begin, stop = (first + count * edge // parts for edge in (number, number + 1))
            part = self.history(job_id, begin - 1, stop - begin)
            for cost, pick in product(costs, (min, max)):
                known = [epoch for epoch in part if getattr(epoch, cost) is not None]
                if known:  # it may have been cut since, by a worker that died
                    extreme = pick(known, key=attrgetter(cost))
                    kept[extreme.epoch] = extreme
        return [kept[epoch] for epoch in sorted(kept)]

    def events(self, job_id: str | None, after: int, limit: int) -> list[Entry]:
        """What happened to a job, or to all, with rising numbers above `after`."""
        return self._journal.events(job_id, after, limit)

    def last_event(self) -> int:
        """The highest number that an event ever had."""
        return self._journal.last_event()


def read(event: Entry) -> Epoch | Job:
    """An epoch, or the job as it was when its state changed."""
    return (_EPOCH if event.is_epoch else _JOB).decode(event.body)


_EPOCH = msgspec.json.Decoder(Epoch)
_JOB = msgspec.json.Decoder(Job)
