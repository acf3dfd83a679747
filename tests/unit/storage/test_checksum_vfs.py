"""Damaged pages are found when they are read: bits flipped, zeroed, or taken from elsewhere."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import apsw
import apsw.sqlite_extra
import pytest

from nabla.engine.errors import Damaged
from nabla.engine.storage.checksum_vfs import PAGE_BYTES
from nabla.engine.storage.journal import Journal

LENGTHS = [100, 1000, 2000, 4000, 5000, 10_000, 100_000]
BODY = bytes(range(256)) * 400  # some 25 pages, most of which have nothing but a part of it
Damage = Callable[[bytes, bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "flipped": lambda page, other: page[:100] + bytes([page[100] ^ 1]) + page[101:],
    "zeroed": lambda page, other: bytes(len(page)),
    "misplaced": lambda page, other: other,
}


@pytest.mark.parametrize("length", LENGTHS)
def test_long_records_are_read_back_from_the_file(length: int, tmp_path: Path) -> None:
    """SQLite would read the end of a long record as a part of its page, without the digest."""
    path = tmp_path / "journal.sqlite"
    body = bytes(range(256)) * (length // 256 + 1)
    journal = Journal(path)
    with journal.transaction():
        journal.put("network", "net_1", None, "", body)
        journal.add_idempotency_key("key", "fingerprint", 1.0, 201, body.hex())
        journal.add_event("job_1", body, 1)
    journal.close()  # nothing is in the log or in memory any more
    journal = Journal(path)
    assert journal.get("network", "net_1") == body
    row = journal.idempotency_key("key", 0.0)
    assert row is not None
    assert (row.fingerprint, row.status, row.ids) == ("fingerprint", 201, body.hex())
    assert journal.history("job_1", 0, 1) == [body]
    journal.close()


def damage_file(path: Path, damage: Damage) -> None:
    """Damage the page with the middle of the body. The other page that it may get has another part of it."""
    content = bytearray(path.read_bytes())
    start = next(start for start in pages_of_body(content) if start > len(content) // 2)
    other = next(iter(pages_of_body(content)))
    page, before = content[start : start + PAGE_BYTES], content[other : other + PAGE_BYTES]
    content[start : start + PAGE_BYTES] = damage(bytes(page), bytes(before))
    path.write_bytes(content)


def pages_of_body(content: bytearray) -> list[int]:
    """Offsets of the pages that hold a part of the body from their start to their end."""
    part = BODY[: PAGE_BYTES // 2]
    return [
        start
        for start in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if part[:256] in content[start : start + 600] and part[:256] in content[start + 3000 : start + 4000]
    ]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_page_of_the_database_is_found(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    with journal.transaction():
        journal.put("network", "net_1", None, "", BODY)
    journal.close()
    damage_file(path, DAMAGES[kind])
    journal = Journal(path)
    with pytest.raises(Damaged, match="wrong checksum"):
        journal.get("network", "net_1")
    journal.close()


def test_page_of_the_log_that_is_damaged_later_is_not_copied_into_the_database(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    with journal.transaction():
        journal.put("network", "net_1", None, "", BODY)
    log = path.with_name(f"{path.name}-wal")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(Damaged, match="of the log has a wrong checksum"):
        journal.close()  # which copies the log into the database
    with pytest.raises(Damaged, match="lost its last 1 changes"):
        Journal(path)


def open_with_cksumvfs(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs="cksmvfs")
    reserved = ctypes.c_int(8)
    connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(reserved))
    for setting in (f"page_size={PAGE_BYTES}", "locking_mode=EXCLUSIVE", "journal_mode=WAL"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    return connection


@pytest.mark.parametrize(("kind", "is_found"), [("flipped", True), ("misplaced", False)])
def test_sqlites_cksumvfs_does_not_find_misplaced_pages(kind: str, is_found: bool, tmp_path: Path) -> None:
    """Why it cannot replace the checksums here."""
    try:
        apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
    except (AttributeError, ValueError, OSError, apsw.Error) as error:
        pytest.skip(f"this build of apsw has no cksumvfs: {error}")
    apsw.set_default_vfs("unix")  # loading the extension has made it the default
    path = tmp_path / "checked.sqlite"
    connection = open_with_cksumvfs(path)
    connection.execute("CREATE TABLE records (body BLOB NOT NULL)")
    connection.execute("INSERT INTO records VALUES (?)", (BODY,))
    connection.close()
    damage_file(path, DAMAGES[kind])
    connection = open_with_cksumvfs(path)
    if is_found:
        with pytest.raises(apsw.IOError):
            connection.execute("SELECT body FROM records").fetchall()
    else:
        ((body,),) = connection.execute("SELECT body FROM records").fetchall()
        assert body != BODY
    connection.close()
