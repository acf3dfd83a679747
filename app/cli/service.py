"""The service that a command speaks to: one that runs, or one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nabla.app.cli.output import note
from nabla.app.client import Client
from nabla.app.server import listen

# The very first start compiles the engine.
_SECONDS_TO_START = 300.0


@contextmanager
def local_client(folder: Path) -> Iterator[Client]:
    """Of a service as long as the block."""
    with local_service(folder) as url, Client(url, timeout=_SECONDS_TO_START) as client:
        yield client


@contextmanager
def local_service(folder: Path) -> Iterator[str]:
    """Its URL. It ends in order with the block, also when that is interrupted or ended by a signal, or the command is
    killed; jobs that are not finished then go on when there is a service on this folder again."""
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        where = ["--fd", str(listening.fileno()), "--data-dir", str(folder)]
        process = subprocess.Popen(
            [sys.executable, "-m", "nabla.app.cli.main", "serve", *where, "--parent", str(os.getpid())],
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "NABLA_LOG_LEVEL": "warning"},
            # Ctrl-C is for the command alone, which may have to ask what is to become of a job.
            process_group=0,
        )
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        signal.signal(signal.SIGTERM, before)
        process.send_signal(signal.SIGTERM)
        process.wait()


def _end(number: int, frame: FrameType | None) -> None:
    """As other programs are ended by it, but through all `finally`."""
    raise SystemExit(128 + number)


@contextmanager
def connected(url: str, local: bool) -> Iterator[Client]:
    if not local:
        with Client(url) as client:
            yield client
        return
    from nabla.app.settings import Settings

    folder = Settings().data_dir
    note(f"Starting a service on {folder.absolute()} (the very first start takes up to a minute) …")
    with local_client(folder) as client:
        yield client
