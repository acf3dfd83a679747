"""The in-memory registry: the one truth that every request reads. Each change is journaled, then published."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from operator import attrgetter
from typing import Any

import msgspec

from engine.data.columns import ColumnType
from engine.data.dataset import Dataset
from engine.data.preparation import PreparationRule
from engine.errors import InvalidInput, NotFound
from engine.exchange.portable import FormatName
from engine.jobs.job import EpochsDone, Event, Interrupted, Job, apply
from engine.jobs.journal import Entry, Journal
from engine.jobs.records import Collection, Jobs, Record
from engine.jobs.upload import Upload
from engine.nn.architecture import Architecture
from engine.training.epoch import Epoch

_SECONDS_ANSWERS_ARE_KEPT = 24 * 3600
_UNPREPARED = PreparationRule()
# What a plot shows of an epoch.
_COSTS = ("cost", "validation_cost")


@dataclass(frozen=True)
class Version:
    """Published weights of a network; `file` is in the network's folder. Number 0 is the start.

    `job_id`: who trained them; `epoch`: after which of its epochs, where it was not its end; `classes`: what they were
    trained to tell apart; `columns`: the names and types of those that they were trained on, None for plain numbers;
    `imported`: the format of the file that they came in, where they did."""

    number: int
    file: str
    job_id: str | None
    classes: tuple[str, ...] | None
    created_at: datetime
    epoch: int | None = None
    columns: tuple[tuple[str, ColumnType], ...] | None = None
    imported: FormatName | None = None


@dataclass(frozen=True)
class NetworkRecord:
    """A network as the service knows it. `preparation`: how its data are prepared; `current`: the number of the version
    that predicts, unless another is asked for."""

    id: str
    name: str | None
    architecture: Architecture
    versions: tuple[Version, ...]
    created_at: datetime
    current: int = 0
    preparation: PreparationRule = _UNPREPARED

    def version(self, number: int) -> Version | None:
        return next((version for version in self.versions if version.number == number), None)

    def expect(self, number: int) -> Version:
        """Raises NotFound."""
        version = self.version(number)
        if version is None:
            last = self.versions[-1].number
            raise NotFound("version", f"The network {self.id} has no version {number}; it has 0 to {last}.")
        return version


@dataclass
class Receipt:
    """That a request to create something was carried out. `render` makes its answer of the new record; the answer is
    journaled with the record, under `key`, and stands in `answer` then."""

    key: str
    fingerprint: str
    render: Callable[[Any], bytes]
    answer: bytes | None = None


class Registry:
    """Networks, datasets and jobs. Writers hold `lock`. `changed` hears, after the fact and in order, of every job that
    changed, and of the events that are in the journal now; `reopened` the number of the last event, when the journal
    may have more than was told."""

    def __init__(self, journal: Journal) -> None:
        self.lock = threading.RLock()
        self.networks = Collection("network", NetworkRecord, journal)
        self.datasets = Collection("dataset", Dataset, journal)
        self.uploads = Collection("upload", Upload, journal)
        self.jobs = Jobs(journal, self.lock)
        self.changed: Callable[[Job, Sequence[Entry]], None] = lambda job, events: None
        self.reopened: Callable[[int], None] = lambda last_event: None
        self._journal = journal
        self._load()

    def _load(self) -> None:
        for collection in (self.networks, self.datasets, self.uploads, self.jobs):
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
