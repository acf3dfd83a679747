"""A service for as long as a block lasts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from app.client import Client
from app.listening import listen

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
            [sys.executable, "-m", "app.cli", "serve", *where, "--parent", str(os.getpid())],
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
