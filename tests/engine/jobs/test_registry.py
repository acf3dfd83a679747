"""Finding things by id and by name, in pages; and a journal that cannot be used."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import NotFound, StorageFailed
from engine.jobs.folder import DataFolder
from engine.jobs.job import Job
from engine.jobs.journal import Journal
from engine.jobs.registry import Collection
from engine.training.spec import TrainingSpec

SPEC = TrainingSpec(epochs=5, batch_size=1, learning_rate=0.1)


def job(number: int, name: str | None) -> Job:
    return Job(f"job_{number}", name, "net_1", "ds_1", SPEC, datetime.now(UTC))


def test_a_name_stands_for_the_newest_that_has_it() -> None:
    jobs = Collection("job", Job)
    for number, name in ((1, "a"), (2, "b"), (3, "a"), (4, None)):
        jobs.publish(job(number, name))
    assert jobs.find("a").id == "job_3"
    assert jobs.find("job_1").id == "job_1"
    jobs.withdraw(jobs.find("a"))
    assert jobs.find("a").id == "job_1"
    jobs.withdraw(jobs.find("a"))
    with pytest.raises(NotFound, match="no job with the id or name 'a'"):
        jobs.find("a")


def test_pages_are_newest_first() -> None:
    jobs = Collection("job", Job)
    for number in range(1, 6):
        jobs.publish(job(number, None))
    first, more = jobs.page(None, 2)
    assert ([found.id for found in first], more) == (["job_5", "job_4"], True)
    last, more = jobs.page("job_3", 2)
    assert ([found.id for found in last], more) == (["job_2", "job_1"], False)


def test_what_was_not_written_is_said_and_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    def fail() -> None:
        with journal.transaction():
            journal.put("job", "a", b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert journal.records("job") == []
    journal.close()
    with pytest.raises(StorageFailed), journal.transaction():
        journal.put("job", "a", b"x")


def test_a_journal_of_another_format_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageFailed, match="format 99"):
        Journal(path)
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    with pytest.raises(StorageFailed, match="not a database"):
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
