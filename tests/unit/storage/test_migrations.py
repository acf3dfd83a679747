"""A journal of version 2 is upgraded once, as a whole, and nothing that was in it is lost."""

import logging
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from nabla.engine.errors import StorageFailed
from nabla.engine.storage import migrations
from nabla.engine.storage.checksum_vfs import VFS_NAME
from nabla.engine.storage.collection import Collection
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry, decode_event

DATA = Path(__file__).parents[2] / "chaos" / "data"
EXPECTED = msgspec.json.decode((DATA / "data_dir_v2.json").read_bytes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Extract a data directory that version 2 wrote, and return the path of its journal."""
    with tarfile.open(DATA / "data_dir_v2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def bodies(journal: Journal, kind: str) -> list[bytes]:
    return journal.page(kind, None, 1000)


def test_records_have_only_fields_that_the_classes_know(journal: Journal) -> None:
    registry = Registry(journal)
    collections: tuple[Collection[Any], ...] = (
        registry.networks,
        registry.datasets,
        registry.uploads,
        registry.jobs,
        registry.batch_predictions,
    )
    for collection in collections:
        assert bodies(journal, collection.kind)
        for body in bodies(journal, collection.kind):
            record = collection._decoder.decode(body)
            assert msgspec.json.decode(body) == msgspec.json.decode(msgspec.json.encode(record))
    events = registry.events(None, 0, 10_000)
    assert [event.number for event in events] == sorted({event.number for event in events})
    for event in events:
        assert msgspec.json.decode(event.body) == msgspec.json.decode(msgspec.json.encode(decode_event(event)))


def test_renamed_fields_keep_their_values(journal: Journal) -> None:
    registry = Registry(journal)
    pricing = registry.networks.resolve("pricing").preprocessing
    assert (pricing.inputs, pricing.targets, pricing.handle_unknown) == ("standardize", "standardize", "ignore")
    assert registry.networks.resolve("xor").preprocessing.handle_unknown == "error"
    clients = registry.datasets.resolve("clients")
    assert clients.target_columns == ("price",)
    assert clients.features is not None
    imputations = [column.imputation for column in clients.features]
    assert imputations == ["median", "most_frequent", "constant", None]
    upload = registry.uploads.resolve("open file")
    assert ([chunk.number for chunk in upload.chunks], upload.reading.imputation) == ([1, 3], "mean")
    first, second, waiting = (registry.jobs.resolve(name) for name in ("first", "second", "waiting"))
    assert first.spec.early_stopping is not None
    assert first.spec.early_stopping.restore_best_weights
    assert (first.stopped, first.best_epoch) == ("epochs", 40)
    assert (second.depends_on, second.resume_from) == ((first.id,), (first.id, 4))
    assert waiting.depends_on == (registry.jobs.resolve("paused").id,)
    assert [rate.learning_rate for rate in waiting.spec.new_rates] == [0.25]


def test_histories_stay(journal: Journal) -> None:
    registry = Registry(journal)
    for job_id, costs in EXPECTED["costs"].items():
        history = registry.history(job_id, 0, 1000)
        assert [[epoch.cost, epoch.validation_cost] for epoch in history] == costs


def test_idempotency_keys_keep_the_ids_of_what_was_created(journal: Journal) -> None:
    for key, ids in EXPECTED["idempotency_keys"].items():
        row = journal.idempotency_key(key, 0.0)
        assert row is not None
        assert msgspec.json.decode(row.ids) == ids
        assert row.status == (202 if key in ("job-key", "batch-key") else 201)


def test_upgrade_happens_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for times in (1, 1):
        with caplog.at_level(logging.WARNING):
            Journal(path).close()
        assert caplog.text.count("upgrading the journal from format 2 to 3") == times


def test_failed_upgrade_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: migrations.Record) -> migrations.Record:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "_upgrade_job", fail)  # after all records were upgraded, at the first event
        with pytest.raises(ZeroDivisionError):
            Journal(path)
    connection = apsw.Connection(str(path), vfs=VFS_NAME)
    assert connection.pragma("user_version") == 2
    rows: list[Any] = connection.execute("SELECT body FROM records WHERE kind = 'job'").fetchall()
    assert rows
    assert all("start_from" in msgspec.json.decode(body) for (body,) in rows)
    connection.close()
    journal = Journal(path)
    assert Registry(journal).jobs.resolve("second").depends_on
    journal.close()


@pytest.mark.parametrize("version", [1, 4, 99])
def test_unknown_versions_are_refused(path: Path, version: int) -> None:
    journal = Journal(path)
    with journal.transaction():
        journal._execute(f"PRAGMA user_version={version}", ())
    journal.close()
    content = path.read_bytes()
    with pytest.raises(StorageFailed, match=f"format {version}, expected 3"):
        Journal(path)
    assert path.read_bytes() == content
