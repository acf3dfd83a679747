"""A process that reads files into datasets, or as networks, with bounded memory, for tests of files that may bring it
down."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nabla.engine.data.ingest.ingest import read
from nabla.engine.data.ingest_options import Content, Progress, Reading, Source
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import Hints

# What reading may hold beside what the process had before: blocks, and what becomes of them.
ROOM = 512 * 2**20
MOST_PARAMETERS = 10**7
# Of a processor. What takes longer is killed.
SECONDS = 60


class Outcome(msgspec.Struct):
    """What came of a file: a kind (`stored`, `refused`, `too large`, `died`), a sentence, and the peak of memory."""

    kind: str
    sentence: str
    bytes_more: int = 0


class _Asked(msgspec.Struct):
    """`hints`: what is said of a network; the other files are datasets."""

    paths: list[tuple[list[str], str, str]]
    reading: Reading
    hints: Hints | None = None


class ReadingChild:
    """Reads each file in a process of its own, forked from one that has everything loaded."""

    def __init__(self, room: int = ROOM) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reading_child", str(room)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def read(self, sources: Sequence[Source], reading: Reading) -> Outcome:
        return self._ask(_Asked([([str(path) for path in s.paths], s.name, s.field) for s in sources], reading))

    def read_network(self, path: Path, hints: Hints) -> Outcome:
        """One of at most MOST_PARAMETERS."""
        return self._ask(_Asked([([str(path)], path.name, "file")], Reading(), hints))

    def _ask(self, asked: _Asked) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Outcome)

    def close(self) -> None:
        self._process.communicate()


def _serve(room: int) -> None:
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=_Asked)
        if asked.hints is not None:
            importlib.import_module("onnx")  # here, so that those that are forked have it
        sources = [Source(tuple(map(Path, paths)), name, "", _field(field)) for paths, name, field in asked.paths]
        with tempfile.TemporaryDirectory(dir=sources[0].paths[0].parent) as folder:
            outcome = _forked(sources, asked, Path(folder), room)
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


def _forked(sources: Sequence[Source], asked: _Asked, folder: Path, room: int) -> Outcome:
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(told)
            resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + room, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(tell, msgspec.json.encode(_outcome(sources, asked, folder)))
        except BaseException:  # noqa: BLE001  # whatever it is, it is a finding
            os.write(tell, msgspec.json.encode(Outcome("died", traceback.format_exc())))
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as answer:  # noqa: PTH123  # a descriptor
        text = answer.read()
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return Outcome("died", f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    return msgspec.json.decode(text, type=Outcome)


def _field(name: str) -> Any:
    return name


def _outcome(sources: Sequence[Source], asked: _Asked, folder: Path) -> Outcome:
    def progress(_: Progress) -> None:
        pass

    before = _status("VmRSS")
    try:
        if asked.hints is not None:
            format, network = model_io.read(sources[0].paths[0], asked.hints, MOST_PARAMETERS)
            model_io.keep(folder / "1.safetensors", network)
            found = Outcome("stored", format)
        else:
            content = read(sources, asked.reading, folder, progress)
            assert isinstance(content, Content)
            found = Outcome("stored", f"{content.rows} rows")
    except MemoryError:
        found = Outcome("too large", "more memory than there is")
    except TooLarge as problem:
        found = Outcome("too large", str(problem))
    except InvalidInput as problem:
        found = Outcome("refused", str(problem))
    # Measured when what took the memory is let go: that takes some, too.
    found.bytes_more = _status("VmHWM") - before
    return found


def _status(field: str) -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
