"""Upgrades of the journal, each from one schema version to the next. They run in the transaction of the caller.

Bodies are upgraded as plain JSON objects with the field names of their version, which the current classes do not have.
Epochs are the same in all versions.
"""

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec

from nabla.engine.errors import StorageFailed

Record = dict[str, Any]

# Rows in memory at once.
_BATCH_ROWS = 1000


def check_version(version: int, target: int) -> None:
    """Raise StorageFailed if a journal of schema `version` cannot be upgraded to `target`."""
    if version > target or any(step not in _STEPS for step in range(version, target)):
        raise StorageFailed(
            f"The data directory was written by another version of Nabla (format {version}, expected {target})."
        )


def upgrade(connection: apsw.Connection, version: int, target: int) -> None:
    """Upgrade a journal from schema `version` to `target`."""
    for step in range(version, target):
        _STEPS[step](connection)
    connection.execute(f"PRAGMA user_version={target}")


def _upgrade_2_to_3(connection: apsw.Connection) -> None:
    """Rename fields, and store for each idempotency key the ids of what was created in place of the response."""
    for row, kind, body in _rows(connection, "records", "rowid", "kind", "true"):
        if kind in _UPGRADES_3:
            _set_body(connection, "records", "rowid", row, _UPGRADES_3[kind](msgspec.json.decode(body)))
    for row, _, body in _rows(connection, "events", "number", "job_id", "epoch IS NULL"):
        _set_body(connection, "events", "number", row, _upgrade_job(msgspec.json.decode(body)))
    connection.execute("""
        CREATE TABLE idempotency_keys (
            key TEXT PRIMARY KEY,
            fingerprint TEXT NOT NULL,
            created_at REAL NOT NULL,
            status INTEGER NOT NULL,
            ids TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
    """)
    rows: list[Any] = connection.execute("SELECT key, fingerprint, created_at, body FROM answers").fetchall()
    for key, fingerprint, created_at, response in rows:
        status, ids = _created_ids(response)
        row = (key, fingerprint, created_at, status, msgspec.json.encode(ids).decode())
        connection.execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("DROP TABLE answers")


def _rows(connection: apsw.Connection, table: str, key: str, column: str, where: str) -> Iterator[Any]:
    """Iterate over (key, column, body) of rows. They may be updated meanwhile."""
    query = f"SELECT {key}, {column}, body FROM {table} WHERE {where} AND {key} > ? ORDER BY {key} LIMIT {_BATCH_ROWS}"
    last: Any = 0
    while rows := connection.execute(query, (last,)).fetchall():
        yield from rows
        last = rows[-1][0]


def _set_body(connection: apsw.Connection, table: str, key: str, row: int, record: Record) -> None:
    connection.execute(f"UPDATE {table} SET body = ? WHERE {key} = ?", (msgspec.json.encode(record), row))


def _upgrade_network(network: Record) -> Record:
    _rename(network, "preparation", "preprocessing")
    config = network.get("preprocessing", {})
    _rename(config, "unseen", "handle_unknown")
    if config.get("handle_unknown") == "refuse":
        config["handle_unknown"] = "error"
    return network


def _upgrade_dataset(dataset: Record) -> Record:
    _rename(dataset, "answers", "target_columns")
    for column in dataset.get("features") or ():
        _rename(column, "fill", "imputation")
    return dataset


def _upgrade_upload(upload: Record) -> Record:
    _rename(upload, "pieces", "chunks")
    _rename(upload.get("reading", {}), "missing", "imputation")
    return upload


def _upgrade_job(job: Record) -> Record:
    _rename(job, "after", "depends_on")
    _rename(job, "start_from", "resume_from")
    _rename(job["spec"].get("early_stopping") or {}, "restore_best", "restore_best_weights")
    return job


def _rename(record: Record, old: str, new: str) -> None:
    """Rename a field. It may be missing: fields with a default were added without a new version."""
    if old in record:
        record[new] = record.pop(old)


def _created_ids(response: bytes) -> tuple[int, list[str]]:
    """Return status and ids of a response as version 2 stored it: a line of status and location, then the JSON body."""
    start, _, body = response.partition(b"\n")
    status, _, location = start.decode().partition(" ")
    view = msgspec.json.decode(body)
    if "data" in view:  # splits
        return int(status), [split["id"] for split in view["data"]]
    if location.endswith("/versions"):
        return int(status), [location.split("/")[3], str(view["version"])]
    return int(status), [view["id"]]


_UPGRADES_3: dict[str, Callable[[Record], Record]] = {
    "network": _upgrade_network,
    "dataset": _upgrade_dataset,
    "upload": _upgrade_upload,
    "job": _upgrade_job,
}
_STEPS: dict[int, Callable[[apsw.Connection], None]] = {2: _upgrade_2_to_3}
