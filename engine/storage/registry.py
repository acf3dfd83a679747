"""The registry: all records, in memory. Each change is journaled, then published.

Reading takes no lock: records are immutable, and replaced as a whole.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any

import msgspec

from nabla.engine.data.dataset import Dataset
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import EpochsDone, Event, Interrupted, Job, apply
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.upload import Upload
from nabla.engine.storage.collection import Collection, JobCollection, Record
from nabla.engine.storage.journal import Journal, JournalEntry
from nabla.engine.training.state import Epoch

_IDEMPOTENCY_KEY_SECONDS = 24 * 3600
# The curves whose extremes a downsampled history keeps.
_COSTS = ("cost", "validation_cost")


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


class Registry:
    """Networks, datasets, uploads, jobs and batch predictions.

    Attributes:
        lock: Held by every method that changes something, and by callers for changes that belong together.
        on_change: Called after each change of a job, in order, with the job and its new events.
        on_reopen: Called with the number of the last event after the journal was reopened: it may have more events
            than were reported.
    """

    def __init__(self, journal: Journal, *, unique_names: bool = False) -> None:
        """Load everything from the journal.

        Args:
            journal: The journal.
            unique_names: Reject a network or dataset with a name that another one has.

        Raises:
            StorageFailed: The journal cannot be read.
        """
        self.lock = threading.RLock()
        self.networks = Collection("network", NetworkRecord, journal)
        self.datasets = Collection("dataset", Dataset, journal)
        self.uploads = Collection("upload", Upload, journal)
        self.jobs = JobCollection(journal, self.lock)
        self.batch_predictions = Collection("batch-prediction", BatchPrediction, journal)
        self.on_change: Callable[[Job, Sequence[JournalEntry]], None] = lambda job, entries: None
        self.on_reopen: Callable[[int], None] = lambda last_event: None
        self._journal = journal
        self._unique_names = unique_names
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
            Conflict: Its name is in use, and names are unique.
            StorageFailed: It could not be journaled; nothing has changed.
        """
        entries = []
        with self.lock:
            self.check_name(collection, record.id, record.name)
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
            for record in records:
                self.check_name(collection, record.id, record.name)
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
            if record.name != collection.get(record.id).name:
                self.check_name(collection, record.id, record.name)
            with self._journal.transaction():
                self._put(collection, record)
                self._add_key(idempotency, ids or (record.id,))
            collection.publish(record)

    def check_name(self, collection: Collection[Any], id: str, name: str | None) -> None:
        """Raise Conflict if names are unique, and another network or dataset has the name of this record."""
        if not self._unique_names or name is None:
            return
        kinds: dict[str, tuple[Collection[Any], ...]] = {
            self.networks.kind: (self.networks,),
            self.datasets.kind: (self.datasets, self.uploads),
            self.uploads.kind: (self.datasets, self.uploads),
        }
        for other in kinds.get(collection.kind, ()):
            for other_id in other.ids_named(name):
                if other_id != id:
                    raise Conflict(
                        f"The name {name!r} is in use by {other_id}, and this service accepts each name once. Choose "
                        "another name, or rename or delete that one."
                    )

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
