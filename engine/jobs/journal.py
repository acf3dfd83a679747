"""The journal behind the registry: a SQLite file that has every change before anyone hears of it.

One connection owns all reading and writing, under one lock. synchronous=FULL, because NORMAL may lose the last commits
with the power. Every page has a checksum (`pages`), and the number of the last commit is kept a second time, beside the
journal (`witness`): a write-ahead log that lost its end looks like one that never had it.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from engine.errors import Damaged, StorageFailed, StorageFull
from engine.jobs import pages
from engine.jobs.witness import Witness

log = logging.getLogger(__name__)

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE commits (number INTEGER NOT NULL);
INSERT INTO commits VALUES (0);
CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    state TEXT NOT NULL,         -- of a job; else ''
    body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX records_by_name ON records (kind, name, id) WHERE name IS NOT NULL;
CREATE INDEX records_by_state ON records (kind, state, id);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    epoch INTEGER,               -- of an epoch's record; NULL for a change of state
    body BLOB NOT NULL
);
CREATE INDEX events_of_job ON events (job_id, number);
CREATE INDEX history_of_job ON events (job_id, epoch) WHERE epoch IS NOT NULL;
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,    -- seconds since 1970
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (created_at);
"""
_CACHE_KIBIBYTES = 32_768
# So many pages may be in the log before they are taken over.
_LOG_PAGES = 1000
_FILES = pages.CheckedFiles()


@dataclass(frozen=True)
class Entry:
    """What happened to a job: a change of its state, or the end of an epoch. Numbers rise."""

    number: int
    job_id: str
    is_epoch: bool
    body: bytes


class Journal:
    """Bodies are bytes; what they mean is the registry's business. Every method raises StorageFailed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._witness = Witness(path.with_suffix(".commits"))
        self.failed = False
        """A write may or may not have happened: `reopen` finds out what is on disk before anything else is written."""
        self._log_pages = 0
        self._connection = self._open()

    def _open(self) -> apsw.Connection:
        if not self._path.exists() or not self._path.stat().st_size:
            self._check_complete(0)  # SQLite would remove a log that has no database
        with _reporting():
            connection = apsw.Connection(str(self._path), vfs=_FILES.name)
            # A journal that is refused stays as it is, so that the right files can be put back.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        pages.reserve(connection)
        for setting in (
            f"page_size={pages.PAGE}",
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"cache_size=-{_CACHE_KIBIBYTES}",
            "secure_delete=ON",  # else pages that were freed at once are never written, and have no digest
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        connection.set_wal_hook(self._note_log)
        version = connection.pragma("user_version")
        if version == 0:
            self._check_complete(0)
            connection.execute(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise StorageFailed(
                f"The data folder was written by another version of Nabla (format {version}, expected "
                f"{_SCHEMA_VERSION})."
            )
        self._commits = int(connection.execute("SELECT number FROM commits").get)
        self._check_complete(self._commits)

    def _check_complete(self, commits: int) -> None:
        known = self._witness.read()
        if known is not None and known > commits:
            raise Damaged(
                f"The journal has lost its last {known - commits} changes: {self._path.name} or {self._path.name}-wal "
                f"was damaged or replaced. Put the right files back; or, to go on without these changes, remove "
                f"{self._witness.path.name}."
            )

    def reopen(self) -> None:
        """Go on with what is on disk, after a write failed. All of it is written out first, and synced."""
        with self._lock:
            self._sync_log()
            with suppress(apsw.Error):
                self._connection.close(True)
            self._connection = self._open()
            with _reporting():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.failed = False

    def _sync_log(self) -> None:
        """A change that was refused because it could not be synced may be in the log all the same. It must not be read
        before it is on disk: until then it is neither served nor acknowledged."""
        try:
            descriptor = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            pass
        except OSError as problem:
            raise StorageFailed(f"The journal could not be written: {problem.strerror}.") from problem

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is on disk when the block ends, all of it, or none if it raises."""
        with self._lock:
            if self.failed:
                raise StorageFailed("The journal could not be written, and has not been opened anew yet.")
            with _reporting():
                self._begin()
                try:
                    yield
                    self._commit()
                except BaseException as problem:
                    self.failed = isinstance(problem, apsw.IOError)
                    self._roll_back()
                    raise
            self._witness.write(self._commits)
            if self._log_pages >= _LOG_PAGES:
                self._check_point()

    def _note_log(self, connection: apsw.Connection, name: str, pages_of_log: int) -> int:
        self._log_pages = pages_of_log
        return apsw.SQLITE_OK

    def _check_point(self) -> None:
        """Take the log over into the database, so that it does not grow. That this fails does no harm: the log has
        everything. (SQLite would do it within the commit, whose success could not be told from its failure then.)"""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except apsw.Error as problem:
            log.warning("the journal's log could not be taken over yet: %s", problem)
        self._log_pages = 0

    def _begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self._connection.execute("UPDATE commits SET number = ?", (self._commits + 1,))
        self._connection.execute("COMMIT")
        self._commits += 1

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error:
                self.failed = True

    def put(self, kind: str, id: str, name: str | None, state: str, body: bytes) -> None:
        self._connection.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = ?4, body = ?5",
            (kind, id, name, state, body),
        )

    def remove(self, kind: str, id: str) -> None:
        self._connection.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def add_event(self, job_id: str, body: bytes, epoch: int | None = None) -> Entry:
        self._connection.execute("INSERT INTO events (job_id, epoch, body) VALUES (?, ?, ?)", (job_id, epoch, body))
        return Entry(self._connection.last_insert_rowid(), job_id, epoch is not None, body)

    def cut_history(self, job_id: str, after: int) -> None:
        """Forget the epochs of a job beyond `after`."""
        self._connection.execute("DELETE FROM events WHERE job_id = ? AND epoch > ?", (job_id, after))

    def remove_events(self, job_id: str) -> None:
        self._connection.execute("DELETE FROM events WHERE job_id = ?", (job_id,))

    def keep_answer(self, key: str, fingerprint: str, created_at: float, body: bytes) -> None:
        self._connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, fingerprint, created_at, body))

    def forget_answers(self, before: float) -> None:
        """Those created earlier."""
        self._connection.execute("DELETE FROM answers WHERE created_at < ?", (before,))

    def answer(self, key: str, since: float) -> tuple[str, bytes] | None:
        """(fingerprint, body) of the answer under a key, if it was created after `since`."""
        found = self._read("SELECT fingerprint, body FROM answers WHERE key = ? AND created_at >= ?", (key, since))
        return found[0] if found else None

    def body(self, kind: str, id: str) -> bytes | None:
        found = self._read("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id))
        return found[0][0] if found else None

    def newest_named(self, kind: str, name: str) -> str | None:
        """The id of the newest record of this name."""
        found = self._read("SELECT max(id) FROM records WHERE kind = ? AND name = ?", (kind, name))
        return found[0][0] if found else None

    def bodies(self, kind: str, states: tuple[str, ...]) -> list[bytes]:
        """Of all records of a kind in these states, in the order of their ids."""
        places = ", ".join("?" * len(states))
        rows = self._read(
            f"SELECT body FROM records WHERE kind = ? AND state IN ({places}) ORDER BY +id", (kind, *states)
        )
        return [body for (body,) in rows]

    def page(self, kind: str, before: str | None, limit: int) -> list[bytes]:
        """Bodies with ids below `before`, newest first."""
        rows = self._read(
            "SELECT body FROM records WHERE kind = ? AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?",
            (kind, before, limit),
        )
        return [body for (body,) in rows]

    def count(self, kind: str) -> dict[str, int]:
        """How many records there are in each state."""
        return dict(self._read("SELECT state, count(*) FROM records WHERE kind = ? GROUP BY state", (kind,)))

    def history(self, job_id: str, after: int, limit: int) -> list[bytes]:
        """Epoch records of a job with numbers above `after`, oldest first."""
        rows = self._read(
            "SELECT body FROM events WHERE job_id = ? AND epoch > ? ORDER BY epoch LIMIT ?", (job_id, after, limit)
        )
        return [body for (body,) in rows]

    def history_in_brief(self, job_id: str, after: int, points: int) -> list[bytes]:
        """At most `points` epoch records, at least 6: the first, the last, and of each of the equal parts in between
        those with the lowest and the highest costs, of training and of validation."""
        part = "FROM events WHERE job_id = :job AND epoch > :after"
        scope: dict[str, Any] = {"job": job_id, "after": after}
        ((first, last, validated),) = self._read(
            f"SELECT min(epoch), max(epoch), count(body ->> '$.validation_cost') > 0 {part}", scope
        )
        if first is None or last - first < points:
            return self.history(job_id, after, points)
        costs = ("$.cost", "$.validation_cost") if validated else ("$.cost",)
        extremes = " UNION ".join(
            f"SELECT epoch, body FROM (SELECT {pick}(body ->> '{cost}'), epoch, body {part} "
            "GROUP BY (epoch - :first) * :parts / (:last - :first + 1))"
            for cost in costs
            for pick in ("min", "max")
        )
        rows = self._read(
            f"{extremes} UNION SELECT epoch, body {part} AND epoch IN (:first, :last) ORDER BY epoch",
            {**scope, "first": first, "last": last, "parts": (points - 2) // (2 * len(costs))},
        )
        return [body for _, body in rows]

    def events(self, job_id: str | None, after: int, limit: int) -> list[Entry]:
        """Events of a job, or of all, with numbers above `after`, oldest first."""
        where = "job_id = ?1 AND" if job_id is not None else "?1 IS NULL AND"
        rows = self._read(
            f"SELECT number, job_id, epoch IS NOT NULL, body FROM events WHERE {where} number > ?2 "
            "ORDER BY number LIMIT ?3",
            (job_id, after, limit),
        )
        return [Entry(number, of, bool(is_epoch), body) for number, of, is_epoch, body in rows]

    def last_event(self) -> int:
        """The highest number that an event ever had."""
        found = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'events'", ())
        return int(found[0][0]) if found else 0

    def _read(self, query: str, values: Any) -> list[Any]:
        with self._lock, _reporting():
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """All of it goes into the database; there is no log after that."""
        with self._lock:
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._connection.close(True)
            self._witness.close()


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except apsw.FullError as problem:
        raise StorageFull("There is no space left for the journal on the disk of the data folder.") from problem
    except (apsw.CorruptError, apsw.NotADBError) as problem:
        raise Damaged(f"The journal is damaged: {problem}.") from problem
    except apsw.Error as problem:
        raise StorageFailed(f"The journal could not be read or written: {problem}.") from problem
