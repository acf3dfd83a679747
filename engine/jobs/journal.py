"""The journal behind the registry: it has every change before anyone hears of it."""

from collections.abc import Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from engine.jobs.database import Database

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
