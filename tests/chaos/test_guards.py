"""The tests are tested: a build with one guard removed is caught by their short form. NABLA_CHAOS_LONG=1 tries all."""

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
CONTROLS = "tests/integration/test_job_controls.py::test_pauses_that_come_late_do_not_stop_a_job_that_was_resumed"

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

# The file, what stands there and what is put in its place, and the test that notices it.
GUARDS: dict[str, tuple[str, dict[str, str], str]] = {
    "files are not synced": ("engine/durable_files.py", {"            os.fsync(self._descriptor)\n": ""}, POWER),
    "the answer comes before the journal": ("engine/storage/registry.py", {_REMOVE: _REMOVE_LATER}, CRASH),
    "words about an older attempt are taken": (
        "engine/workers/training_main.py",
        {"(word.job_id, word.attempt) == (run.job_id, run.attempt)": "word.job_id == run.job_id"},
        CONTROLS,
    ),
    "files are not checked": ("engine/durable_files.py", {'path.name.split(".")[1] != found': "not found"}, DAMAGE),
    "pages are not checked": (
        "engine/storage/checksum_vfs.py",
        {"found[-_DIGEST:] != _page_digest(page, found[:-_DIGEST])": "False"},
        DAMAGE,
    ),
    "a log that lost its end is taken as it is": ("engine/storage/journal.py", {"known > commits": "False"}, DAMAGE),
    "folders are not synced": (
        "engine/durable_files.py",
        {"    try:\n        os.fsync(descriptor)": "    try:\n        pass"},
        POWER,
    ),
    "the journal is not synced": ("engine/storage/journal.py", {'"synchronous=FULL"': '"synchronous=OFF"'}, POWER),
}


@pytest.mark.parametrize("guard", GUARDS if LONG else [*GUARDS][:4])
def test_a_build_without_a_guard_is_caught(guard: str) -> None:
    file, changes, test = GUARDS[guard]
    source = ROOT / "nabla" / file
    assert all(source.read_text().count(there) == 1 for there in changes)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("without")), str(ROOT)]),
        "CHAOS_FILE": str(source),
        "CHAOS_CHANGES": json.dumps(changes),
        "NABLA_CHAOS_LONG": "",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout + ended.stderr
