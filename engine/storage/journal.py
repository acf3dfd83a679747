"""The journal behind the registry: it has every change before anyone hears of it."""

import logging
import os
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import apsw

from nabla.engine.errors import Damaged, StorageFailed, StorageFull
from nabla.engine.storage import checksum_vfs
from nabla.engine.storage.checksum_vfs import Witness

log = logging.getLogger(__name__)

_COMMITS = """
CREATE TABLE commits (number INTEGER NOT NULL);
INSERT INTO commits VALUES (0);
"""
_CACHE_KIBIBYTES = 32_768
# So many pages may be in the log before they are taken over.
_LOG_PAGES = 1000
_FILES = checksum_vfs.CheckedFiles()


class Database:
    """One SQLite file, and beside it the number of its last commit. Every method raises StorageFailed."""

    def __init__(self, path: Path, schema: str, version: int) -> None:
        """`schema`: statements that make the tables of a new file; `version`: theirs."""
        self._path = path
        self._schema = schema
        self._version = version
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
        checksum_vfs.reserve(connection)
        for setting in (
            f"page_size={checksum_vfs.PAGE}",
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
            connection.execute(f"BEGIN; {_COMMITS} {self._schema} PRAGMA user_version={self._version}; COMMIT;")
        elif version != self._version:
            raise StorageFailed(
                f"The data folder was written by another version of Nabla (format {version}, expected {self._version})."
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
                self._take_log_over()

    def _note_log(self, connection: apsw.Connection, name: str, pages_of_log: int) -> int:
        self._log_pages = pages_of_log
        return apsw.SQLITE_OK

    def _take_log_over(self) -> None:
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

    def execute(self, statement: str, values: tuple[object, ...]) -> None:
        """Within a transaction."""
        self._connection.execute(statement, values)

    def insert(self, statement: str, values: tuple[object, ...]) -> int:
        """Within a transaction. The number of the new row."""
        self._connection.execute(statement, values)
        return self._connection.last_insert_rowid()

    def read(self, query: str, values: Any) -> list[Any]:
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


_SCHEMA_VERSION = 2
_SCHEMA = """
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


@dataclass(frozen=True)
class Entry:
    """What happened to a job: a change of its state, or the end of an epoch. Numbers rise."""

    number: int
    job_id: str
    is_epoch: bool
    body: bytes


class Journal(Database):
    """Records, events of jobs, and answers that were given. Bodies are bytes; what they mean is the registry's
    business. Every method raises StorageFailed; those that change something are called within a transaction."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA, _SCHEMA_VERSION)

    def put(self, kind: str, id: str, name: str | None, state: str, body: bytes) -> None:
        self.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET name = ?3, state = ?4, body = ?5",
            (kind, id, name, state, body),
        )

    def remove(self, kind: str, id: str) -> None:
        self.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def add_event(self, job_id: str, body: bytes, epoch: int | None = None) -> Entry:
        values = (job_id, epoch, body)
        number = self.insert("INSERT INTO events (job_id, epoch, body) VALUES (?, ?, ?)", values)
        return Entry(number, job_id, epoch is not None, body)

    def cut_history(self, job_id: str, after: int) -> None:
        """Forget the epochs of a job beyond `after`."""
        self.execute("DELETE FROM events WHERE job_id = ? AND epoch > ?", (job_id, after))

    def remove_events(self, job_id: str) -> None:
        self.execute("DELETE FROM events WHERE job_id = ?", (job_id,))

    def keep_answer(self, key: str, fingerprint: str, created_at: float, body: bytes) -> None:
        self.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, fingerprint, created_at, body))

    def forget_answers(self, before: float) -> None:
        """Those created earlier."""
        self.execute("DELETE FROM answers WHERE created_at < ?", (before,))

    def answer(self, key: str, since: float) -> tuple[str, bytes] | None:
        """(fingerprint, body) of the answer under a key, if it was created after `since`."""
        found = self.read("SELECT fingerprint, body FROM answers WHERE key = ? AND created_at >= ?", (key, since))
        return found[0] if found else None

    def body(self, kind: str, id: str) -> bytes | None:
        found = self.read("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id))
        return found[0][0] if found else None

    def newest_named(self, kind: str, name: str) -> str | None:
        """The id of the newest record of this name."""
        found = self.read("SELECT max(id) FROM records WHERE kind = ? AND name = ?", (kind, name))
        return found[0][0] if found else None

    def bodies(self, kind: str, states: tuple[str, ...]) -> list[bytes]:
        """Of all records of a kind in these states, in the order of their ids."""
        places = ", ".join("?" * len(states))
        rows = self.read(
            f"SELECT body FROM records WHERE kind = ? AND state IN ({places}) ORDER BY +id", (kind, *states)
        )
        return [body for (body,) in rows]

    def page(self, kind: str, before: str | None, limit: int, states: Set[str] = frozenset()) -> list[bytes]:
        """Bodies with ids below `before`, newest first; if any states are given, of records in these alone."""
        # A blob is above every text, so that without `before` all ids are below.
        query = "SELECT id, body FROM records WHERE kind = ? AND id < coalesce(?, x'') {} ORDER BY id DESC LIMIT ?"
        if not states:
            rows = self.read(query.format(""), (kind, before, limit))
        else:
            of_state = query.format("AND state = ?")
            found = (self.read(of_state, (kind, before, state, limit)) for state in states)
            rows = sorted(chain.from_iterable(found), reverse=True)[:limit]
        return [body for _, body in rows]

    def count(self, kind: str) -> dict[str, int]:
        """How many records there are in each state."""
        return dict(self.read("SELECT state, count(*) FROM records WHERE kind = ? GROUP BY state", (kind,)))

    def history(self, job_id: str, after: int, limit: int) -> list[bytes]:
        """Epoch records of a job with numbers above `after`, oldest first."""
        rows = self.read(
            "SELECT body FROM events WHERE job_id = ? AND epoch > ? ORDER BY epoch LIMIT ?", (job_id, after, limit)
        )
        return [body for (body,) in rows]

    def span(self, job_id: str, after: int) -> tuple[int, int] | None:
        """The first and the last epoch above `after` that a job has finished; None if there is none."""
        query = "SELECT {}(epoch) FROM events WHERE job_id = ? AND epoch > ?"
        ((first,),), ((last,),) = (self.read(query.format(which), (job_id, after)) for which in ("min", "max"))
        return None if first is None else (first, last)

    def events(self, job_id: str | None, after: int, limit: int) -> list[Entry]:
        """Events of a job, or of all, with numbers above `after`, oldest first."""
        where = "job_id = ?1 AND" if job_id is not None else "?1 IS NULL AND"
        rows = self.read(
            f"SELECT number, job_id, epoch IS NOT NULL, body FROM events WHERE {where} number > ?2 "
            "ORDER BY number LIMIT ?3",
            (job_id, after, limit),
        )
        return [Entry(number, of, bool(is_epoch), body) for number, of, is_epoch, body in rows]

    def last_event(self) -> int:
        """The highest number that an event ever had."""
        found = self.read("SELECT seq FROM sqlite_sequence WHERE name = 'events'", ())
        return int(found[0][0]) if found else 0
