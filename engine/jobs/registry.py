"""The in-memory registry: the one truth that every request reads. Each change is journaled, then published."""

import bisect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, get_args

import msgspec

from engine.data.dataset import Dataset
from engine.errors import NotFound
from engine.jobs.job import EpochsDone, Event, Interrupted, Job, apply
from engine.jobs.journal import Journal
from engine.nn.architecture import Architecture
from engine.training.choice import DeviceKind
from engine.training.spec import Epoch


@dataclass(frozen=True)
class Version:
    """Published weights of a network; `file` is in the network's folder. Number 0 is the start.

    `job_id`: who trained them; `classes`: what they were trained to tell apart."""

    number: int
    file: str
    job_id: str | None
    classes: tuple[str, ...] | None
    created_at: datetime


@dataclass(frozen=True)
class NetworkRecord:
    """A network as the service knows it. The last of `versions` is the current one."""

    id: str
    name: str | None
    architecture: Architecture
    versions: tuple[Version, ...]
    created_at: datetime


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

    def __init__(self, kind: str, type_: type[Record]) -> None:
        self.kind = kind
        self.type = type_
        self._by_id: dict[str, Record] = {}
        self._ids_by_name: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[Record]:
        """Oldest first."""
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, reference: str) -> Record:
        """By id or name. Raises NotFound."""
        named = self._ids_by_name.get(reference, ())
        return self.get(named[-1] if named else reference)

    def get(self, id: str) -> Record:
        """By id alone. Raises NotFound."""
        record = self._by_id.get(id)
        if record is None:
            raise NotFound(self.kind, id)
        return record

    def peek(self, id: str) -> Record | None:
        """By id alone; None if it is gone."""
        return self._by_id.get(id)

    def page(self, after: str | None, limit: int) -> tuple[list[Record], bool]:
        """Up to `limit` records, newest first, that are older than the record `after`; and whether there are more."""
        newest_first = sorted((id for id in tuple(self._by_id) if after is None or id < after), reverse=True)
        return [self._by_id[id] for id in newest_first[:limit]], len(newest_first) > limit

    def publish(self, record: Record) -> None:
        if record.id not in self._by_id and record.name is not None:
            self._ids_by_name[record.name] = (*self._ids_by_name.get(record.name, ()), record.id)
        self._by_id[record.id] = record

    def withdraw(self, record: Record) -> None:
        del self._by_id[record.id]
        if record.name is not None:
            left = tuple(id for id in self._ids_by_name[record.name] if id != record.id)
            self._ids_by_name[record.name] = left


class Registry:
    """Networks, datasets and jobs. Writers hold `lock`; `changed` hears of every job that changed, after the fact."""

    def __init__(self, journal: Journal) -> None:
        self.lock = threading.RLock()
        self.networks = Collection("network", NetworkRecord)
        self.datasets = Collection("dataset", Dataset)
        self.jobs = Collection("job", Job)
        self.changed: Callable[[Job], None] = lambda job: None
        self._journal = journal
        self._queues: dict[DeviceKind, tuple[str, ...]] = dict.fromkeys(get_args(DeviceKind), ())
        for collection in (self.networks, self.datasets, self.jobs):
            self._load(collection)

    def _load(self, collection: Collection[Any]) -> None:
        decoder = msgspec.json.Decoder(collection.type)
        for body in self._journal.records(collection.kind):
            self._publish(collection, decoder.decode(body))

    def add(self, collection: Collection[Record], record: Record) -> None:
        """Make a new record known. Raises StorageFailed, and then nothing has changed."""
        with self.lock:
            with self._journal.transaction():
                self._put(collection, record)
                if isinstance(record, Job):
                    self._journal.add_event(record.id, msgspec.json.encode(record))
            self._publish(collection, record)

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
        with self.lock:
            before = job = self.jobs.get(job_id)
            with self._journal.transaction():
                for event in happened:
                    job = apply(job, event)
                    self._write_history(job, event)
                self._put(self.jobs, job)
                if job.state != before.state:
                    self._journal.add_event(job.id, msgspec.json.encode(job))
                if publishes is not None:
                    self._put(self.networks, publishes)
            if publishes is not None:
                self._publish(self.networks, publishes)
            self._publish(self.jobs, job)
        self.changed(job)
        return job

    def _write_history(self, job: Job, event: Event) -> None:
        match event:
            case EpochsDone(epochs):
                for epoch in epochs:
                    self._journal.add_event(job.id, msgspec.json.encode(epoch), epoch.epoch)
            case Interrupted():
                self._journal.cut_history(job.id, job.epoch)
            case _:
                pass

    def _put(self, collection: Collection[Any], record: Any) -> None:
        self._journal.put(collection.kind, record.id, msgspec.json.encode(record))

    def _publish(self, collection: Collection[Any], record: Any) -> None:
        collection.publish(record)
        if isinstance(record, Job):
            for kind, queue in self._queues.items():
                waiting = [id for id in queue if id != record.id]
                if record.state == "queued" and record.device_kind == kind:
                    bisect.insort(waiting, record.id)
                self._queues[kind] = tuple(waiting)

    def queue(self, kind: DeviceKind) -> tuple[str, ...]:
        """Ids of the jobs that wait for a slot of this kind, the next one first. Ids sort by time: first come, first
        served, and a job that was interrupted keeps its place."""
        return self._queues[kind]

    def history(self, job_id: str, after: int, limit: int) -> list[Epoch]:
        """Finished epochs of a job with numbers above `after`, oldest first."""
        return [_EPOCH.decode(body) for body in self._journal.history(job_id, after, limit)]

    def events(self, job_id: str, after: int, limit: int) -> list[tuple[int, Epoch | Job]]:
        """What happened to a job, with rising numbers above `after`: its epochs, and itself at each change of state."""
        found = self._journal.events(job_id, after, limit)
        return [(number, (_EPOCH if is_epoch else _JOB).decode(body)) for number, is_epoch, body in found]


_EPOCH = msgspec.json.Decoder(Epoch)
_JOB = msgspec.json.Decoder(Job)
