"""Finding things by id and by name, in pages; what stays in memory; and a data folder that cannot be used."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nabla.engine.errors import Damaged, NotFound, StorageFailed
from nabla.engine.records.job import Cancelled, EpochsDone, Job, Started
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SPEC = TrainingSpec(epochs=5, batch_size=1, learning_rate=0.1)


def job(number: int, name: str | None = None) -> Job:
    return Job(f"job_{number:04}", name, "net_1", "ds_1", SPEC, NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def registry(journal: Journal) -> Registry:
    return Registry(journal)


def submit(registry: Registry, *jobs: Job) -> None:
    for one in jobs:
        registry.add(registry.jobs, one)


def end(registry: Registry, id: str) -> Job:
    return registry.record(id, Cancelled(NOW))


@pytest.mark.parametrize("finished", [False, True])
def test_a_name_stands_for_the_newest_that_has_it(registry: Registry, finished: bool) -> None:
    submit(registry, *(job(number, name) for number, name in ((1, "a"), (2, "b"), (3, "a"), (4, None))))
    if finished:
        for number in range(1, 5):
            end(registry, f"job_{number:04}")
    for found in (registry, Registry(registry._journal)):
        assert found.jobs.find("a").id == "job_0003"
        assert found.jobs.find("job_0001").id == "job_0001"
    for left in ("job_0001", None):
        registry.remove(registry.jobs, end_if_needed(registry, "a"))
        if left:
            assert registry.jobs.find("a").id == left
    with pytest.raises(NotFound, match="no job with the id or name 'a'"):
        registry.jobs.find("a")


def end_if_needed(registry: Registry, name: str) -> Job:
    found = registry.jobs.find(name)
    return found if found.finished else end(registry, found.id)


def test_pages_are_newest_first_and_know_the_finished(registry: Registry) -> None:
    submit(registry, *(job(number) for number in range(1, 6)))
    end(registry, "job_0004")
    first, more = registry.jobs.page(None, 2)
    assert ([(found.id, found.state) for found in first], more) == (
        [("job_0005", "queued"), ("job_0004", "cancelled")],
        True,
    )
    last, more = registry.jobs.page("job_0003", 2)
    assert ([found.id for found in last], more) == (["job_0002", "job_0001"], False)


def test_pages_of_some_states(registry: Registry) -> None:
    submit(registry, *(job(number) for number in range(1, 6)))
    for ended in ("job_0002", "job_0004"):
        end(registry, ended)

    def page(after: str | None, limit: int, *states: str) -> tuple[list[str], bool]:
        jobs, more = registry.jobs.page(after, limit, frozenset(states))
        return [found.id for found in jobs], more

    assert page(None, 1, "cancelled") == (["job_0004"], True)
    assert page("job_0004", 1, "cancelled") == (["job_0002"], False)
    assert page(None, 3, "cancelled", "queued") == (["job_0005", "job_0004", "job_0003"], True)
    assert page("job_0003", 3, "queued", "cancelled") == (["job_0002", "job_0001"], False)
    assert page(None, 3, "failed") == ([], False)


def test_only_jobs_that_are_not_finished_are_all_in_memory(registry: Registry, journal: Journal) -> None:
    submit(registry, *(job(number) for number in range(1, 1101)))
    for number in range(1, 1100):
        end(registry, f"job_{number:04}")
    assert [waiting.id for waiting in registry.jobs] == ["job_1100"]
    assert registry.jobs.at_hand("job_0001") is None
    assert registry.jobs.get("job_0001").state == "cancelled"
    assert registry.jobs.at_hand("job_0001") is not None
    assert registry.jobs.at_hand("job_1099") is not None
    assert registry.jobs.count() == {"cancelled": 1099, "queued": 1}
    restarted = Registry(journal)
    assert restarted.jobs.at_hand("job_1099") is None
    assert restarted.jobs.get("job_1099").state == "cancelled"
    with pytest.raises(NotFound):
        restarted.jobs.get("job_9999")


def test_the_queue_goes_by_priority_then_by_age_and_knows_who_waits_for_whom(registry: Registry) -> None:
    submit(registry, job(1), replace(job(2), priority=5), job(3), replace(job(4), depends_on=("job_0001",)))
    submit(registry, replace(job(5), priority=5), replace(job(6), priority=-1), replace(job(7), device_kind="cuda"))
    assert registry.jobs.queue("cpu") == ("job_0002", "job_0005", "job_0001", "job_0003", "job_0006")
    assert registry.jobs.queue("cuda") == ("job_0007",)
    assert registry.jobs.unfinished_before(registry.jobs.get("job_0004")) == ("job_0001",)
    end(registry, "job_0001")
    assert registry.jobs.queue("cpu") == ("job_0002", "job_0005", "job_0003", "job_0004", "job_0006")


@pytest.mark.parametrize("points", [6, 50, 101, 1000])
def test_a_history_in_brief_keeps_first_last_and_extremes(registry: Registry, points: int) -> None:
    submit(registry, job(1))
    registry.record("job_0001", Started(NOW, "cpu"))
    costs = [1 / (1 + number) for number in range(3000)]
    costs[1234], costs[2345] = 7.0, 1e-9
    epochs = [Epoch(number, cost, validation_cost=1 - cost) for number, cost in enumerate(costs, 1)]
    registry.record("job_0001", EpochsDone(tuple(epochs)))
    brief = registry.history_in_brief("job_0001", 0, points)
    assert len(brief) <= points
    assert len(brief) > points / 3
    assert [epoch.epoch for epoch in brief] == sorted({epoch.epoch for epoch in brief})
    assert all(epochs[epoch.epoch - 1] == epoch for epoch in brief)
    assert {epochs[0], epochs[-1], epochs[1234], epochs[2345]} <= set(brief)
    assert registry.history_in_brief("job_0001", 2990, 50) == epochs[2990:]
    assert registry.history_in_brief("job_0001", 3000, 50) == []


def test_what_was_not_written_is_said_and_forgotten(journal: Journal) -> None:
    def fail() -> None:
        with journal.transaction():
            journal.put("job", "a", None, "", b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert journal.bodies("job", ("",)) == []
    with journal.transaction():
        journal.put("job", "a", None, "", b"x")
    assert journal.bodies("job", ("",)) == [b"x"]


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(StorageFailed, match=r"damaged|format 1"):
        Journal(path)
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    with pytest.raises(Damaged, match="journal is damaged"):
        Journal(path)


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    owner = DataFolder(tmp_path)
    with pytest.raises(StorageFailed, match="Another service uses the data folder"):
        DataFolder(tmp_path)
    owner.close()
    DataFolder(tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        DataFolder(tmp_path / "file" / "data")
