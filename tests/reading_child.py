"""A process that reads files into datasets with bounded memory, for tests of files that may bring it down."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.data.reading import Content, Progress, Reading, Source, read
from engine.errors import InvalidInput, TooLarge

# What reading may hold beside what the process had before: blocks, and what becomes of them.
ROOM = 512 * 2**20
# Longer than this is a finding.
PATIENCE = 60.0


class Outcome(msgspec.Struct):
    """What came of a file: a kind (`stored`, `refused`, `too large`, `died`), a sentence, and the peak of memory."""

    kind: str
    sentence: str
    bytes_more: int = 0


class _Asked(msgspec.Struct):
    paths: list[tuple[str, str, str]]
    reading: Reading


class ReadingChild:
    """Reads what it is asked for, one after the other; it is started anew when it died."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, sources: Sequence[Source], reading: Reading) -> Outcome:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.reading_child", str(self._room)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )
        asked = _Asked([(",".join(map(str, s.paths)), s.name, s.field) for s in sources], reading)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(asked) + b"\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if answer:
            return msgspec.json.decode(answer, type=Outcome)
        _, complaint = process.communicate()
        self._process = None
        return Outcome("died", f"exit status {process.returncode}: {complaint.decode(errors='replace')[-2000:]}")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


def _serve(room: int) -> None:
    before = _status("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (before + room, resource.RLIM_INFINITY))
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=_Asked)
        sources = [
            Source(tuple(Path(path) for path in paths.split(",")), name, "", _field(field))
            for paths, name, field in asked.paths
        ]
        with tempfile.TemporaryDirectory(dir=sources[0].paths[0].parent) as folder:
            outcome = _outcome(sources, asked.reading, Path(folder))
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


def _field(name: str) -> Any:
    return name


def _outcome(sources: Sequence[Source], reading: Reading, folder: Path) -> Outcome:
    def progress(_: Progress) -> None:
        pass

    before = _status("VmRSS")
    try:
        content = read(sources, reading, folder, progress)
    except TooLarge as problem:
        return Outcome("too large", str(problem), _status("VmHWM") - before)
    except InvalidInput as problem:
        return Outcome("refused", str(problem), _status("VmHWM") - before)
    assert isinstance(content, Content)
    return Outcome("stored", f"{content.rows} rows", _status("VmHWM") - before)


def _status(field: str) -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
