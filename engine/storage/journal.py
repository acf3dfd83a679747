"""The journal: the SQLite file to which every change is written before the registry publishes it."""

import hashlib
import logging
import os
import struct
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import apsw

from nabla.engine.errors import Damaged, StorageFailed, StorageFull
from nabla.engine.storage import checksum_vfs, migrations

log = logging.getLogger(__name__)

_SCHEMA_VERSION = 3
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
    epoch INTEGER,               -- NULL for a change of state
    body BLOB NOT NULL
);
CREATE INDEX events_of_job ON events (job_id, number);
CREATE INDEX history_of_job ON events (job_id, epoch) WHERE epoch IS NOT NULL;
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,    -- seconds since 1970
    status INTEGER NOT NULL,     -- of the HTTP response
    ids TEXT NOT NULL            -- of what was created: a JSON array
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
"""
_CACHE_KIBIBYTES = 32_768
# Length from which on the write-ahead log is checkpointed.
_MAX_WAL_PAGES = 1000
_VFS = checksum_vfs.ChecksumVfs()


@dataclass(frozen=True)
class JournalEntry:
    """An event of a job: the end of an epoch, or a change of its state. Numbers increase, and are never reused."""

    number: int
    job_id: str
    is_epoch: bool
    body: bytes


@dataclass(frozen=True)
class IdempotencyRow:
    """A completed request. `ids`: JSON, as the registry wrote it."""

    fingerprint: str
    status: int
    ids: str


class Journal:
    """Records, events of jobs, and idempotency keys. The bodies are bytes; the registry encodes and decodes them.

    The number of the last commit is in a file of its own, so that a journal that lost its latest changes is rejected.

    All methods raise StorageFailed. Those that change something must be called within `transaction`. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal; create or upgrade it if necessary.

        Raises:
            Damaged: It is damaged, or has lost changes.
            StorageFailed: It cannot be read, or was written by another version that cannot be upgraded.
        """
        self._path = path
        self._lock = threading.RLock()
        self._commit_counter = CommitCounter(path.with_suffix(".commits"))
        self.failed = False
        """Whether a write failed that may have reached the disk. Then only `reopen` is possible, which reads it."""
        self._wal_pages = 0
        self._connection = self._open()

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the changes of the block durable together when it ends, or none of them if it raises."""
        with self._lock:
            if self.failed:
                raise StorageFailed("The journal could not be written, and has not been reopened yet.")
            with _storage_errors():
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._commit_counter.require_in_place()
                    self._commit()
                except BaseException as error:
                    self.failed = isinstance(error, apsw.IOError)
                    self._roll_back()
                    raise
            self._commit_counter.write(self._commits)
            if self._wal_pages >= _MAX_WAL_PAGES:
                self._checkpoint()

    def reopen(self) -> None:
        """Reopen the journal after a failed write, and continue with what is on disk, which is synced first."""
        with self._lock:
            self._sync_wal()
            with suppress(apsw.Error):
                self._connection.close(True)
            self._connection = self._open()
            with _storage_errors():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.failed = False

    def close(self) -> None:
        """Checkpoint the log and close the file."""
        with self._lock, _storage_errors():
            self._commit_counter.close()
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._connection.close(True)

    # Records

    def put(self, kind: str, id: str, name: str | None, state: str, body: bytes) -> None:
        """Insert or replace a record."""
        self._execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET name = ?3, state = ?4, body = ?5",
            (kind, id, name, state, body),
        )

    def remove(self, kind: str, id: str) -> None:
        """Delete a record."""
        self._execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, id))

    def get(self, kind: str, id: str) -> bytes | None:
        """Return the body of a record."""
        rows = self._query("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id))
        return rows[0][0] if rows else None

    def get_all(self, kind: str, states: tuple[str, ...]) -> list[bytes]:
        """Return the bodies of all records of a kind in these states, in the order of their ids."""
        marks = ", ".join("?" * len(states))
        rows = self._query(
            f"SELECT body FROM records WHERE kind = ? AND state IN ({marks}) ORDER BY +id", (kind, *states)
        )
        return [body for (body,) in rows]

    def ids_named(self, kind: str, name: str) -> tuple[str, ...]:
        """Return the ids of the records with a name, oldest first."""
        rows = self._query("SELECT id FROM records WHERE kind = ? AND name = ? ORDER BY id", (kind, name))
        return tuple(id for (id,) in rows)

    def page(self, kind: str, before: str | None, limit: int, states: Set[str] = frozenset()) -> list[bytes]:
        """Return the bodies of records with ids below `before`, newest first, in any or in these states."""
        # A blob sorts after every text, so without `before` all ids are below.
        query = "SELECT id, body FROM records WHERE kind = ? AND id < coalesce(?, x'') {} ORDER BY id DESC LIMIT ?"
        if not states:
            rows = self._query(query.format(""), (kind, before, limit))
        else:
            # One query for each state can use the index.
            by_state = (self._query(query.format("AND state = ?"), (kind, before, state, limit)) for state in states)
            rows = sorted(chain.from_iterable(by_state), reverse=True)[:limit]
        return [body for _, body in rows]

    def count_by_state(self, kind: str) -> dict[str, int]:
        """Return how many records of a kind there are in each state."""
        return dict(self._query("SELECT state, count(*) FROM records WHERE kind = ? GROUP BY state", (kind,)))

    # Events

    def add_event(self, job_id: str, body: bytes, epoch: int | None = None) -> JournalEntry:
        """Append an event: of an epoch, or else of a change of state."""
        self._execute("INSERT INTO events (job_id, epoch, body) VALUES (?, ?, ?)", (job_id, epoch, body))
        return JournalEntry(self._connection.last_insert_rowid(), job_id, epoch is not None, body)

    def truncate_history(self, job_id: str, last: int) -> None:
        """Delete the epochs of a job after epoch `last`."""
        self._execute("DELETE FROM events WHERE job_id = ? AND epoch > ?", (job_id, last))

    def remove_events(self, job_id: str) -> None:
        """Delete all events of a job."""
        self._execute("DELETE FROM events WHERE job_id = ?", (job_id,))

    def history(self, job_id: str, after: int, limit: int) -> list[bytes]:
        """Return the bodies of epochs of a job after epoch `after`, oldest first."""
        query = "SELECT body FROM events WHERE job_id = ? AND epoch > ? ORDER BY epoch LIMIT ?"
        return [body for (body,) in self._query(query, (job_id, after, limit))]

    def history_range(self, job_id: str, after: int) -> tuple[int, int] | None:
        """Return the first and the last epoch of a job after epoch `after`; None if there is none."""
        query = "SELECT {}(epoch) FROM events WHERE job_id = ? AND epoch > ?"
        # Two queries: SQLite uses the index for one extreme, not for both.
        ((first,),), ((last,),) = (self._query(query.format(which), (job_id, after)) for which in ("min", "max"))
        return None if first is None else (first, last)

    def events(self, job_id: str | None, after: int, limit: int) -> list[JournalEntry]:
        """Return events of a job, or for None of all jobs, with numbers above `after`, oldest first."""
        where = "job_id = ?1 AND" if job_id is not None else "?1 IS NULL AND"
        rows = self._query(
            f"SELECT number, job_id, epoch IS NOT NULL, body FROM events WHERE {where} number > ?2 "
            "ORDER BY number LIMIT ?3",
            (job_id, after, limit),
        )
        return [JournalEntry(number, owner, bool(is_epoch), body) for number, owner, is_epoch, body in rows]

    def last_event_number(self) -> int:
        """Return the highest number that an event ever had; 0 if there was none."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'events'", ())
        return int(rows[0][0]) if rows else 0

    # Idempotency keys

    def add_idempotency_key(self, key: str, fingerprint: str, created_at: float, status: int, ids: str) -> None:
        """Insert a key."""
        row = (key, fingerprint, created_at, status, ids)
        self._execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?)", row)

    def remove_idempotency_keys(self, before: float) -> None:
        """Delete the keys that were created before a time."""
        self._execute("DELETE FROM idempotency_keys WHERE created_at < ?", (before,))

    def idempotency_key(self, key: str, since: float) -> IdempotencyRow | None:
        """Return the request that a key was used for, if it was created at `since` or later."""
        query = "SELECT fingerprint, status, ids FROM idempotency_keys WHERE key = ? AND created_at >= ?"
        rows = self._query(query, (key, since))
        return IdempotencyRow(*rows[0]) if rows else None

    # The SQLite file

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        self._connection.execute(statement, values)

    def _query(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, _storage_errors():
            return self._connection.execute(query, values).fetchall()

    def _open(self) -> apsw.Connection:
        if not self._path.exists() or not self._path.stat().st_size:
            self._check_complete(0)  # SQLite would remove a log without a database
        with _storage_errors():
            connection = apsw.Connection(str(self._path), vfs=checksum_vfs.VFS_NAME)
            # A rejected journal stays as it is, so that the right files can be restored.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                self._configure(connection)
                self._create_or_upgrade(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _configure(self, connection: apsw.Connection) -> None:
        checksum_vfs.reserve_checksum_bytes(connection)
        for setting in (
            f"page_size={checksum_vfs.PAGE_BYTES}",
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL may lose the last commits in a power failure
            f"cache_size=-{_CACHE_KIBIBYTES}",
            "secure_delete=ON",  # else a page that is freed at once is never written, and has no digest
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        connection.set_wal_hook(self._note_wal_pages)

    def _create_or_upgrade(self, connection: apsw.Connection) -> None:
        version = connection.pragma("user_version")
        if version == 0:
            self._check_complete(0)
            connection.execute(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
            self._commits = 0
            return
        migrations.check_version(version, _SCHEMA_VERSION)
        self._commits = int(connection.execute("SELECT number FROM commits").get)
        self._check_complete(self._commits)
        if version != _SCHEMA_VERSION:
            self._upgrade(connection, version)

    def _upgrade(self, connection: apsw.Connection, version: int) -> None:
        log.warning("upgrading the journal from format %d to %d", version, _SCHEMA_VERSION)
        with connection:  # a transaction
            migrations.upgrade(connection, version, _SCHEMA_VERSION)

    def _check_complete(self, commits: int) -> None:
        known = self._commit_counter.read()
        if known is not None and known > commits:
            raise Damaged(
                f"The journal has lost its last {known - commits} changes: {self._path.name} or {self._path.name}-wal "
                f"was damaged or replaced. Restore the right files; or, to continue without these changes, remove "
                f"{self._commit_counter.path.name}."
            )

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

    def _note_wal_pages(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the log into the database, so that it does not grow. A failure does no harm: the log has everything.

        SQLite could do this within a commit, but then its failure could not be distinguished from one of the commit.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except apsw.Error as error:
            log.warning("the journal's log could not be checkpointed yet: %s", error)
        self._wal_pages = 0

    def _sync_wal(self) -> None:
        """Sync the log: it may have a change whose sync failed, which must not be read before it is on disk."""
        try:
            descriptor = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageFailed(f"The journal could not be written: {error.strerror}.") from error


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except apsw.FullError as error:
        raise StorageFull("There is no space left for the journal on the disk of the data directory.") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Damaged(f"The journal is damaged: {error}.") from error
    except apsw.Error as error:
        raise StorageFailed(f"The journal could not be read or written: {error}.") from error


_NUMBER = struct.Struct("<Q")
_DIGEST_BYTES = 8
_CELL_BYTES = _NUMBER.size + _DIGEST_BYTES


def require_in_place(descriptor: int, path: Path) -> None:
    """Raise StorageFailed if the file at `path` is no longer the one that is open as `descriptor`.

    What is written into a directory that was moved, removed or hidden by a mount is not found at the next start.
    """
    opened = os.fstat(descriptor)
    with suppress(OSError):
        found = path.stat(follow_symlinks=False)
        if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino):
            return
    raise StorageFailed(f"The data directory {path.parent} was moved, removed, replaced or unmounted.")


class CommitCounter:
    """A file with the number of the journal's last commit.

    It has two cells, each a number and its digest, which are written in turn: a torn write leaves the other one.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create it if it does not exist. Raises StorageFailed."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageFailed(f"The file {path.name} cannot be opened: {error.strerror}.") from error

    def read(self) -> int | None:
        """Return the number of the last commit; None if it is unknown."""
        content = os.pread(self._descriptor, 2 * _CELL_BYTES, 0)
        cells = [content[start : start + _CELL_BYTES] for start in range(0, len(content), _CELL_BYTES)]
        cells = [cell for cell in cells if cell != bytes(_CELL_BYTES)]  # zeros: not written yet
        numbers = [number for cell in cells if (number := _decode_cell(cell)) is not None]
        if len(numbers) < len(cells):
            log.warning("%s is partly damaged, so lost commits of the journal may go undetected", self.path.name)
        return max(numbers, default=None)

    def require_in_place(self) -> None:
        """Raise StorageFailed if the file is no longer where it was opened."""
        require_in_place(self._descriptor, self.path)

    def write(self, number: int) -> None:
        """Write a number; a failure is logged."""
        content = _NUMBER.pack(number)
        try:
            os.pwrite(self._descriptor, content + _cell_digest(content), number % 2 * _CELL_BYTES)
        except OSError as error:
            log.warning("%s cannot be written: %s", self.path.name, error.strerror)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _cell_digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _decode_cell(cell: bytes) -> int | None:
    content, digest = cell[: _NUMBER.size], cell[_NUMBER.size :]
    if len(cell) != _CELL_BYTES or digest != _cell_digest(content):
        return None
    return int(_NUMBER.unpack(content)[0])
