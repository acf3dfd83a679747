"""A sandbox for hostile files: ingests datasets and imports networks in child processes with limited memory."""

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
from typing import Literal

import msgspec

from nabla.engine.data.ingest.ingest import ingest_files
from nabla.engine.data.ingest_options import DatasetContent, FieldName, IngestOptions, Progress, SourceFile
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import ImportHints

# Memory that a file may take on top of the baseline of the process: blocks, and what is made of them.
MEMORY_LIMIT = 512 * 2**20
MAX_PARAMETERS = 10**7
# Limit of processor time; the kernel kills a process that exceeds it.
CPU_SECONDS = 60


class Outcome(msgspec.Struct):
    """The result of a file.

    Attributes:
        kind: Whether it was stored or refused; "died" for any unexpected end of the process.
        message: What was stored, or the error.
        memory_growth: Bytes by which the peak of the process's resident memory exceeds its start.
    """

    kind: Literal["stored", "refused", "too large", "died"]
    message: str
    memory_growth: int = 0


class _Request(msgspec.Struct):
    """Files to ingest as a dataset, or one file to import as a network if there are `hints`.

    Attributes:
        sources: Paths, name and field of each source.
    """

    sources: list[tuple[list[str], str, FieldName]]
    options: IngestOptions
    hints: ImportHints | None = None


class Sandbox:
    """Handles each file in a process of its own, forked from one that has everything imported."""

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        command = [sys.executable, "-m", "tests.support.sandbox", str(memory_limit)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ingest(self, sources: Sequence[SourceFile], options: IngestOptions) -> Outcome:
        """Ingest files as a dataset."""
        files = [([str(path) for path in source.paths], source.name, source.field) for source in sources]
        return self._send(_Request(files, options))

    def import_model(self, path: Path, hints: ImportHints) -> Outcome:
        """Import a file as a network of at most MAX_PARAMETERS parameters."""
        return self._send(_Request([([str(path)], path.name, "file")], IngestOptions(), hints))

    def _send(self, request: _Request) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Outcome)

    def close(self) -> None:
        """Stop the process, and wait until it has exited."""
        self._process.communicate()


def _serve(memory_limit: int) -> None:
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=_Request)
        if request.hints is not None:
            importlib.import_module("onnx")  # before the fork, so that no child spends time and memory on it
        sources = [SourceFile(tuple(map(Path, paths)), name, "", field) for paths, name, field in request.sources]
        with tempfile.TemporaryDirectory(dir=sources[0].paths[0].parent) as directory:
            outcome = _run_in_fork(sources, request, Path(directory), memory_limit)
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


def _run_in_fork(sources: Sequence[SourceFile], request: _Request, directory: Path, memory_limit: int) -> Outcome:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_DATA, (_memory_bytes("VmData") + memory_limit, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(writer, msgspec.json.encode(_run(sources, request, directory)))
        except BaseException:  # noqa: BLE001  # any exception that was not expected is a finding
            os.write(writer, msgspec.json.encode(Outcome("died", traceback.format_exc())))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123  # a descriptor
        encoded = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome("died", f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    return msgspec.json.decode(encoded, type=Outcome)


def _run(sources: Sequence[SourceFile], request: _Request, directory: Path) -> Outcome:
    def ignore_progress(_: Progress) -> None:
        pass

    baseline = _memory_bytes("VmRSS")
    try:
        if request.hints is not None:
            format, network = model_io.import_model(sources[0].paths[0], request.hints, MAX_PARAMETERS)
            model_io.save_version(directory / "1.safetensors", network)
            outcome = Outcome("stored", format)
        else:
            content = ingest_files(sources, request.options, directory, ignore_progress)
            assert isinstance(content, DatasetContent)
            outcome = Outcome("stored", f"{content.rows} rows")
    except MemoryError:
        outcome = Outcome("too large", "more memory than is available")
    except TooLarge as error:
        outcome = Outcome("too large", str(error))
    except InvalidInput as error:
        outcome = Outcome("refused", str(error))
    # The peak is read last, as freeing memory can take some, too.
    outcome.memory_growth = _memory_bytes("VmHWM") - baseline
    return outcome


def _memory_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
