"""The journal behind the registry: a SQLite file that has every change before anyone hears of it.

One connection owns all reading and writing, under one lock: SQLite before 3.51.3 can damage a write-ahead log that
two connections checkpoint at once. synchronous=FULL, because NORMAL may lose the last commits with the power.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StorageFailed

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE records (kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    epoch INTEGER,               -- of an epoch's record; NULL for a change of state
    body BLOB NOT NULL
);
CREATE INDEX events_of_job ON events (job_id, number);
CREATE INDEX history_of_job ON events (job_id, epoch) WHERE epoch IS NOT NULL;
"""


class Journal:
    """Bodies are bytes; what they mean is the registry's business. Every method raises StorageFailed."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        with _reporting():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise StorageFailed(
                f"The data folder was written by another version of Nabla (format {version}, expected "
                f"{_SCHEMA_VERSION})."
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is on disk when the block ends, all of it, or none if it raises."""
        with self._lock, _reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def put(self, kind: str, id: str, body: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, id, body))

    def remove(self, kind: str, id: str) -> None:
        self._connection.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def add_event(self, job_id: str, body: bytes, epoch: int | None = None) -> None:
        self._connection.execute("INSERT INTO events (job_id, epoch, body) VALUES (?, ?, ?)", (job_id, epoch, body))

    def cut_history(self, job_id: str, after: int) -> None:
        """Forget the epochs of a job beyond `after`."""
        self._connection.execute("DELETE FROM events WHERE job_id = ? AND epoch > ?", (job_id, after))

    def remove_events(self, job_id: str) -> None:
        self._connection.execute("DELETE FROM events WHERE job_id = ?", (job_id,))

    def records(self, kind: str) -> list[bytes]:
        """All bodies of a kind, in the order of their ids."""
        with self._lock, _reporting():
            rows = self._connection.execute("SELECT body FROM records WHERE kind = ? ORDER BY id", (kind,))
            return [body for (body,) in rows]

    def history(self, job_id: str, after: int, limit: int) -> list[bytes]:
        """Epoch records of a job with numbers above `after`, oldest first."""
        with self._lock, _reporting():
            rows = self._connection.execute(
                "SELECT body FROM events WHERE job_id = ? AND epoch > ? ORDER BY epoch LIMIT ?",
                (job_id, after, limit),
            )
            return [body for (body,) in rows]

    def events(self, job_id: str, after: int, limit: int) -> list[tuple[int, bool, bytes]]:
        """(number, is an epoch, body) of a job's events with numbers above `after`, oldest first."""
        with self._lock, _reporting():
            rows = self._connection.execute(
                "SELECT number, epoch IS NOT NULL, body FROM events WHERE job_id = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (job_id, after, limit),
            )
            return [(number, bool(is_epoch), body) for number, is_epoch, body in rows]

    def close(self) -> None:
        with self._lock:
            self._connection.close()


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise StorageFailed(f"The journal could not be read or written: {problem}.") from problem
