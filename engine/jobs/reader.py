"""The process that reads files that were handed in, so that whatever is in them takes no more than its own memory, and
ends no more than its own life.

Started by `Readers` as `python -m engine.jobs.reader DESCRIPTOR BYTES`.
"""

import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from engine import durable
from engine.data.profile import profile
from engine.data.reading.files import read
from engine.data.sources import Progress
from engine.data.splitting import split
from engine.errors import NablaError, TooLarge
from engine.exchange import files
from engine.jobs.channel import Channel
from engine.jobs.errands import (
    Advanced,
    CopiedOut,
    CopyOut,
    Divide,
    Errand,
    Failed,
    FromReader,
    Look,
    Looked,
    Read,
    Result,
    Stored,
    TakeIn,
    TakenIn,
)
from engine.jobs.priority import give_way_to_answers

# Progress is told so often.
_SECONDS_BETWEEN_SIGNS = 0.2


class Reader:
    """One errand at a time; a thread of its own listens, so that the end of the service is noticed while it reads."""

    def __init__(self, channel: Channel[Errand]) -> None:
        self._channel = channel
        self._errands: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        self._said_at = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._errands.put(self._channel.receive())
            except (EOFError, OSError):
                os._exit(0)  # the service is gone

    def work(self) -> None:
        """As long as the service lives."""
        while True:
            self._say(self._answer(self._errands.get()))

    def _say(self, message: FromReader) -> None:
        try:
            self._channel.send(message)
        except OSError:
            os._exit(0)

    def _answer(self, errand: Errand) -> FromReader:
        """Everything that can go wrong ends here, as a kind and a sentence."""
        try:
            return self._carry_out(errand)
        except NablaError as problem:
            return Failed.because_of(problem)
        except MemoryError:
            return Failed.because_of(_beyond_memory(errand))
        except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this errand and not the process
            sys.excepthook(type(problem), problem, problem.__traceback__)  # onto the service's standard error
            return Failed("internal", "Reading met an error of the service; its log has the details.")

    def _carry_out(self, errand: Errand) -> Result:
        match errand:
            case Look(dataset=dataset, folder=folder):
                return Looked(profile(dataset, Path(folder), self._advanced))
            case Divide(dataset=dataset, folder=folder, parts=parts, seed=seed, stratified=stratified):
                return Stored(split(dataset, Path(folder), parts, seed, stratified, self._advanced))
            case Read(sources=sources, reading=reading, folder=folder, check=check):
                if check:
                    for path in (path for source in sources for path in source.paths):
                        durable.check(path)
                return Stored((read(sources, reading, Path(folder), self._advanced),))
            case TakeIn():
                return _take_in(errand)
            case CopyOut():
                version = files.stored(Path(errand.weights), errand.architecture, errand.rule, errand.classes)
                files.write(Path(errand.path), version, errand.format)
                return CopiedOut()

    def _advanced(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SECONDS_BETWEEN_SIGNS:
            self._said_at = now
            self._say(Advanced(progress))


def _take_in(errand: TakeIn) -> TakenIn:
    format, network = files.read(Path(errand.path), errand.hints, errand.most_parameters)
    columns = None
    if network.preparation is not None and network.preparation.columns is not None:
        columns = tuple((column.name, column.type) for column in network.preparation.columns)
    file = files.keep(Path(errand.weights), network).name
    return TakenIn(format, file, network.network.architecture, network.rule, network.classes, columns)


def _beyond_memory(errand: Errand) -> TooLarge:
    match errand:
        case CopyOut():
            message = "Writing this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("format", message)
        case TakeIn():
            message = "Reading this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("file", message)
        case _:
            message = "Reading this takes more memory than there is; hand in less at once, or in another format."
            return TooLarge("file", message)


def limit_memory(bytes_more: int) -> None:
    """No more than so much on top of what the process has now. Files that are mapped do not count."""
    now = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    most = int(now.split()[1]) * 1024 + bytes_more
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main(arguments: list[str]) -> None:
    descriptor, memory = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    give_way_to_answers()
    limit_memory(memory)
    Reader(Channel(socket.socket(fileno=descriptor), Errand)).work()


if __name__ == "__main__":
    main(sys.argv[1:])
