"""Records by id, name and page; queues, histories, idempotency keys; files and directories that are refused."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nabla.engine.errors import Damaged, InvalidInput, NotFound, StorageFailed
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import Cancelled, EpochsDone, Job, Started
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SPEC = TrainingSpec(epochs=5, batch_size=1, learning_rate=0.1)


def make_job(number: int, name: str | None = None) -> Job:
    return Job(f"job_{number:04}", name, "net_1", "ds_1", SPEC, NOW)


def make_batch(number: int) -> BatchPrediction:
    return BatchPrediction(f"bp_{number}", None, "net_1", 1, "ds_1", 4, "csv", False, NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def registry(journal: Journal) -> Registry:
    return Registry(journal)


def submit(registry: Registry, *jobs: Job) -> None:
    for job in jobs:
        registry.add(registry.jobs, job)


def cancel(registry: Registry, id: str) -> Job:
    return registry.record(id, Cancelled(NOW))


@pytest.mark.parametrize("finished", [False, True])
def test_name_refers_to_the_newest_record_that_has_it(registry: Registry, finished: bool) -> None:
    submit(registry, *(make_job(number, name) for number, name in ((1, "a"), (2, "b"), (3, "a"), (4, None))))
    if finished:
        for number in range(1, 5):
            cancel(registry, f"job_{number:04}")
    for loaded in (registry, Registry(registry._journal)):
        assert loaded.jobs.resolve("a").id == "job_0003"
        assert loaded.jobs.resolve("job_0001").id == "job_0001"
    for remaining in ("job_0001", None):
        registry.remove(registry.jobs, cancel_if_unfinished(registry, "a"))
        if remaining:
            assert registry.jobs.resolve("a").id == remaining
    with pytest.raises(NotFound, match="no job with the id or name 'a'"):
        registry.jobs.resolve("a")


def cancel_if_unfinished(registry: Registry, name: str) -> Job:
    job = registry.jobs.resolve(name)
    return job if job.finished else cancel(registry, job.id)


def test_pages_are_newest_first_and_include_finished_jobs(registry: Registry) -> None:
    submit(registry, *(make_job(number) for number in range(1, 6)))
    cancel(registry, "job_0004")
    first, has_more = registry.jobs.page(None, 2)
    assert ([(job.id, job.state) for job in first], has_more) == (
        [("job_0005", "queued"), ("job_0004", "cancelled")],
        True,
    )
    last, has_more = registry.jobs.page("job_0003", 2)
    assert ([job.id for job in last], has_more) == (["job_0002", "job_0001"], False)


def test_pages_of_selected_states(registry: Registry) -> None:
    submit(registry, *(make_job(number) for number in range(1, 6)))
    for id in ("job_0002", "job_0004"):
        cancel(registry, id)

    def page(after: str | None, limit: int, *states: str) -> tuple[list[str], bool]:
        jobs, has_more = registry.jobs.page(after, limit, frozenset(states))
        return [job.id for job in jobs], has_more

    assert page(None, 1, "cancelled") == (["job_0004"], True)
    assert page("job_0004", 1, "cancelled") == (["job_0002"], False)
    assert page(None, 3, "cancelled", "queued") == (["job_0005", "job_0004", "job_0003"], True)
    assert page("job_0003", 3, "queued", "cancelled") == (["job_0002", "job_0001"], False)
    assert page(None, 3, "failed") == ([], False)


def test_finished_jobs_are_cached_up_to_a_limit(registry: Registry, journal: Journal) -> None:
    submit(registry, *(make_job(number) for number in range(1, 1101)))
    for number in range(1, 1100):
        cancel(registry, f"job_{number:04}")
    assert [job.id for job in registry.jobs] == ["job_1100"]
    assert registry.jobs.get_cached("job_0001") is None
    assert registry.jobs.get("job_0001").state == "cancelled"
    assert registry.jobs.get_cached("job_0001") is not None
    assert registry.jobs.get_cached("job_1099") is not None
    assert registry.jobs.count() == {"cancelled": 1099, "queued": 1}
    restarted = Registry(journal)
    assert restarted.jobs.get_cached("job_1099") is None
    assert restarted.jobs.get("job_1099").state == "cancelled"
    with pytest.raises(NotFound):
        restarted.jobs.get("job_9999")


def test_queue_is_ordered_by_priority_then_age_and_excludes_blocked_jobs(registry: Registry) -> None:
    blocked = replace(make_job(4), depends_on=("job_0001",))
    submit(registry, make_job(1), replace(make_job(2), priority=5), make_job(3), blocked)
    submit(registry, replace(make_job(5), priority=5), replace(make_job(6), priority=-1))
    submit(registry, replace(make_job(7), device_kind="cuda"))
    assert registry.jobs.queue("cpu") == ("job_0002", "job_0005", "job_0001", "job_0003", "job_0006")
    assert registry.jobs.queue("cuda") == ("job_0007",)
    assert registry.jobs.unfinished_dependencies(registry.jobs.get("job_0004")) == ("job_0001",)
    cancel(registry, "job_0001")
    assert registry.jobs.queue("cpu") == ("job_0002", "job_0005", "job_0003", "job_0004", "job_0006")


@pytest.mark.parametrize("points", [6, 50, 101, 1000])
def test_downsampled_history_keeps_first_last_and_extreme_epochs(registry: Registry, points: int) -> None:
    submit(registry, make_job(1))
    registry.record("job_0001", Started(NOW, "cpu"))
    costs = [1 / (1 + number) for number in range(3000)]
    costs[1234], costs[2345] = 7.0, 1e-9
    epochs = [Epoch(number, cost, validation_cost=1 - cost) for number, cost in enumerate(costs, 1)]
    registry.record("job_0001", EpochsDone(tuple(epochs)))
    sample = registry.downsampled_history("job_0001", 0, points)
    assert points / 3 < len(sample) <= points
    assert [epoch.epoch for epoch in sample] == sorted({epoch.epoch for epoch in sample})
    assert all(epochs[epoch.epoch - 1] == epoch for epoch in sample)
    assert {epochs[0], epochs[-1], epochs[1234], epochs[2345]} <= set(sample)
    assert registry.downsampled_history("job_0001", 2990, 50) == epochs[2990:]
    assert registry.downsampled_history("job_0001", 3000, 50) == []


def test_idempotency_key_is_recorded_with_what_it_created(registry: Registry, journal: Journal) -> None:
    keys = [IdempotencyKey(f"key-{number}", "fingerprint", 201) for number in range(4)]
    registry.add(registry.jobs, make_job(1), keys[0])
    registry.add_all(registry.batch_predictions, [make_batch(1), make_batch(2)], keys[1])
    registry.change(registry.batch_predictions, make_batch(1), replace(keys[2], status=202), ("bp_1", "7"))
    registry.change(registry.batch_predictions, make_batch(2), keys[3])
    for loaded in (registry, Registry(journal)):
        records = [loaded.idempotency_record(key.key, "fingerprint") for key in keys]
        assert [record and record.ids for record in records] == [
            ("job_0001",),
            ("bp_1", "bp_2"),
            ("bp_1", "7"),
            ("bp_2",),
        ]
        assert [record and record.status for record in records] == [201, 201, 202, 201]
        assert loaded.idempotency_record("another", "fingerprint") is None
        with pytest.raises(InvalidInput, match="another request") as refused:
            loaded.idempotency_record("key-0", "another fingerprint")
        assert refused.value.problems[0][0] == "Idempotency-Key"


def test_idempotency_key_expires_after_a_day(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    key = IdempotencyKey("key", "fingerprint", 201)
    registry.add(registry.jobs, make_job(1), key)
    now = time.time()
    for seconds, is_known in ((24 * 3600 - 60, True), (24 * 3600 + 60, False)):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
        assert (registry.idempotency_record("key", "fingerprint") is not None) == is_known
    registry.add(registry.jobs, make_job(2), key)
    record = registry.idempotency_record("key", "fingerprint")
    assert record is not None
    assert record.ids == ("job_0002",)


def test_record_and_idempotency_key_are_journaled_together(registry: Registry, journal: Journal) -> None:
    key = IdempotencyKey("key", "fingerprint", 201)
    registry.add(registry.jobs, make_job(1), key)
    with pytest.raises(StorageFailed):
        registry.add(registry.jobs, make_job(2), key)
    for loaded in (registry, Registry(journal)):
        assert loaded.jobs.get_or_none("job_0002") is None


def test_failed_transaction_leaves_nothing(journal: Journal) -> None:
    def fail() -> None:
        with journal.transaction():
            journal.put("job", "a", None, "", b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert journal.get_all("job", ("",)) == []
    with journal.transaction():
        journal.put("job", "a", None, "", b"x")
    assert journal.get_all("job", ("",)) == [b"x"]


def test_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(StorageFailed, match=r"damaged|format 1"):
        Journal(path)
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    with pytest.raises(Damaged, match="journal is damaged"):
        Journal(path)


def test_data_directory_has_one_owner(tmp_path: Path) -> None:
    owner = DataDir(tmp_path)
    with pytest.raises(StorageFailed, match="Another service uses the data directory"):
        DataDir(tmp_path)
    owner.close()
    DataDir(tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        DataDir(tmp_path / "file" / "data")
