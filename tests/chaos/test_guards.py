"""Mutation tests of the other tests: with one guard removed from the code, the named test fails.

NABLA_CHAOS_LONG=1 tries all guards, else one whose test is quick.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import LONG

ROOT = Path(__file__).parents[2]
CRASH = "tests/chaos/test_crash_points.py::test_kill_9_at_any_point"
POWER = "tests/chaos/test_crash_points.py::test_loss_of_power_at_any_point"
DAMAGE = "tests/chaos/test_damage.py"
PAGES = "tests/unit/storage/test_checksum_vfs.py"
UPGRADE = "tests/unit/storage/test_migrations.py::test_failed_upgrade_changes_nothing"
CONTROLS = "tests/integration/test_job_controls.py::test_late_pause_requests_do_not_stop_a_resumed_job"

_REMOVE = """            with self._journal.transaction():
                self._journal.remove(collection.kind, record.id)
                self._journal.remove_events(record.id)
            collection.withdraw(record)
"""
_REMOVE_LATER = """            def later() -> None:
                with self.lock, self._journal.transaction():
                    self._journal.remove(collection.kind, record.id)
                    self._journal.remove_events(record.id)

            collection.withdraw(record)
            threading.Timer(0.1, later).start()
"""

# For each guard: the file, what to replace in it by what, and the test that has to fail then.
GUARDS: dict[str, tuple[str, dict[str, str], str]] = {
    "files are synced": ("engine/durable_files.py", {"            os.fsync(self._descriptor)\n": ""}, POWER),
    "a change is journaled before it is answered": ("engine/storage/registry.py", {_REMOVE: _REMOVE_LATER}, CRASH),
    "commands about an older attempt are ignored": (
        "engine/workers/training_main.py",
        {
            "(command.job_id, command.attempt) == (training_input.job_id, training_input.attempt)": (
                "command.job_id == training_input.job_id"
            )
        },
        CONTROLS,
    ),
    "files are verified": (
        "engine/durable_files.py",
        {"digest_in_name(path.name) != _digest(file, on_progress)": "not _digest(file, on_progress)"},
        DAMAGE,
    ),
    "pages are verified": (
        "engine/storage/checksum_vfs.py",
        {"page[-_DIGEST_BYTES:] == _digest(page[:-_DIGEST_BYTES], offset)": "True"},
        DAMAGE,
    ),
    "the digest of a page covers its offset": (
        "engine/storage/checksum_vfs.py",
        {'salt=offset.to_bytes(8, "little")': "salt=bytes(8)"},
        PAGES,
    ),
    "pages of the log are verified": (
        "engine/storage/checksum_vfs.py",
        {"self._digests.get(offset) != _digest(data, offset)": "False"},
        PAGES,
    ),
    "a log that lost its end is refused": ("engine/storage/journal.py", {"known > commits": "False"}, DAMAGE),
    "directories are synced": (
        "engine/durable_files.py",
        {"    try:\n        os.fsync(descriptor)": "    try:\n        pass"},
        POWER,
    ),
    "the journal is synced": ("engine/storage/journal.py", {'"synchronous=FULL"': '"synchronous=OFF"'}, POWER),
    "an upgrade of the journal is one transaction": (
        "engine/storage/journal.py",
        {"with connection:  # a transaction": "if True:"},
        UPGRADE,
    ),
}


@pytest.mark.parametrize("guard", GUARDS if LONG else ["files are synced"])
def test_code_without_a_guard_fails_a_test(guard: str) -> None:
    file, changes, test = GUARDS[guard]
    source = ROOT / "nabla" / file
    assert all(source.read_text().count(text) == 1 for text in changes)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("source_patch")), str(ROOT)]),
        "CHAOS_FILE": str(source),
        "CHAOS_CHANGES": json.dumps(changes),
        "NABLA_CHAOS_LONG": "",
    }
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, process.stdout + process.stderr
