"""Records longer than a page of the journal: SQLite would read their ends in parts of pages, which have no digest."""

from pathlib import Path

import pytest

from nabla.engine.storage.journal import Journal


@pytest.mark.parametrize("length", [100, 1000, 2000, 4000, 5000, 10_000, 100_000])
def test_long_records_are_read_back_from_the_file(length: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    body = bytes(range(256)) * (length // 256 + 1)
    journal = Journal(path)
    with journal.transaction():
        journal.put("network", "net_1", None, "", body)
        journal.keep_answer("key", "fingerprint", 1.0, body)
        journal.add_event("job_1", body, 1)
    journal.close()  # nothing is in the log or in memory any more
    journal = Journal(path)
    assert journal.body("network", "net_1") == body
    assert journal.answer("key", 0.0) == ("fingerprint", body)
    assert journal.history("job_1", 0, 1) == [body]
    journal.close()
