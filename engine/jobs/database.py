"""The SQLite file behind the journal: what is committed is on disk, and what is damaged is found.

One connection owns all reading and writing, under one lock. synchronous=FULL, because NORMAL may lose the last commits
with the power. Every page has a checksum (`pages`), and the number of the last commit is kept a second time, beside the
file (`witness`): a write-ahead log that lost its end looks like one that never had it.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from engine.errors import Damaged, StorageFailed, StorageFull
from engine.jobs import pages
from engine.jobs.witness import Witness

log = logging.getLogger(__name__)

_COMMITS = """
CREATE TABLE commits (number INTEGER NOT NULL);
INSERT INTO commits VALUES (0);
"""
_CACHE_KIBIBYTES = 32_768
# So many pages may be in the log before they are taken over.
_LOG_PAGES = 1000
_FILES = pages.CheckedFiles()


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
